"""The journal: the record of a run on the local disk, and the queue between training and delivery."""

from tracelet.journal.blobs import files_in, measured
from tracelet.journal.cursor import Cursor, CursorRecord, LogCount, WriterEnd, holder, read_cursor
from tracelet.journal.directory import RunDirectory, RunRecord, file_name, log_key, make_store, new_run_id
from tracelet.journal.process import Process
from tracelet.journal.reader import Frames, LogReader, Position, Tally, tally
from tracelet.journal.recorder import DELETED, Recorder
from tracelet.journal.segment import frame_size
from tracelet.journal.writer import LogWriter

__all__ = [
    "DELETED",
    "Cursor",
    "CursorRecord",
    "Frames",
    "LogCount",
    "LogReader",
    "LogWriter",
    "Position",
    "Process",
    "Recorder",
    "RunDirectory",
    "RunRecord",
    "Tally",
    "WriterEnd",
    "file_name",
    "files_in",
    "frame_size",
    "holder",
    "log_key",
    "make_store",
    "measured",
    "new_run_id",
    "read_cursor",
    "tally",
]
