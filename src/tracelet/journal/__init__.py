"""The journal: the record of a run on the local disk, and the queue between training and delivery."""

from tracelet.journal.blobs import copy_in
from tracelet.journal.cursor import Cursor, CursorRecord, LogCount, holder, read_cursor
from tracelet.journal.directory import RunDirectory, RunRecord, log_key, new_run_id
from tracelet.journal.reader import Frames, LogReader, Position, Tally, tally
from tracelet.journal.writer import LogWriter

__all__ = [
    "Cursor",
    "CursorRecord",
    "Frames",
    "LogCount",
    "LogReader",
    "LogWriter",
    "Position",
    "RunDirectory",
    "RunRecord",
    "Tally",
    "copy_in",
    "holder",
    "log_key",
    "new_run_id",
    "read_cursor",
    "tally",
]
