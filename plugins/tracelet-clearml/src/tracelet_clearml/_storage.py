"""Where files go: ClearML's file server by httpx, and buckets and folders by the SDK's storage drivers."""

from __future__ import annotations

import mimetypes
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from tracelet.backend import BlockingCalls
from tracelet.errors import Transient
from tracelet_clearml._api import Api
from tracelet_clearml._errors import Unreadable
from tracelet_clearml._store import Uploaded

_PIECE = 1 << 20


class Storage:
    """Keeps a task's files.

    Args:
        output_uri: None for the file server.
        folder: the task's own path.
    """

    def __init__(self, output_uri: str | None, files: str, folder: str, api: Api, blocking: BlockingCalls) -> None:
        self._base = output_uri or files
        self._is_server = self._base == files
        self._folder = folder
        self._api = api
        self._blocking = blocking

    async def put(self, path: str, source: bytes | Path) -> Uploaded:
        """Keep a file, in place of what was under the path."""
        key = f"{self._folder}/{path}"
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        if not self._is_server:
            return Uploaded(key, await self._blocking(_store, source, f"{self._base}/{key}"))
        if isinstance(source, bytes):
            await self._api.upload(key, _whole(source), len(source), kind)
        else:
            file = await self._blocking(_open, source)
            try:
                size = await self._blocking(file.seek, 0, 2)
                await self._blocking(file.seek, 0)
                await self._api.upload(key, self._pieces(file, size), size, kind)
            finally:
                file.close()
        return Uploaded(key, f"{self._base}/{quote(key)}")

    async def _pieces(self, file: IO[bytes], size: int) -> AsyncIterator[bytes]:
        """As many bytes as were promised: a file that is still written to may have more."""
        while size > 0 and (piece := await self._blocking(file.read, min(_PIECE, size))):
            size -= len(piece)
            yield piece


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def _store(source: bytes | Path, url: str) -> str:
    """Through the SDK, which raises what the last attempt raised. Blocking."""
    from clearml.storage import StorageManager

    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile(prefix="tracelet-clearml-") as file:
            file.write(source)
            file.flush()
            return _store(Path(file.name), url)
    try:
        StorageManager.upload_file(str(source), url, wait_for_upload=True, retries=1)
    except ImportError as error:
        raise Unreadable(f"{url}: {error}: install the extra of clearml for this storage") from error
    except Exception as error:
        raise Transient(f"{url}: {type(error).__name__}: {error}") from error
    return url
