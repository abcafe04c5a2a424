"""A run of an Aim repository, opened for writing. All of it is blocking."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aim.sdk.errors import MissingRunError
from aim.sdk.repo import Repo
from aim.sdk.repo_utils import get_repo
from aim.sdk.run import Run

from tracelet.backend import Outcome, RunInfo, State
from tracelet_aim import _remote
from tracelet_aim._errors import gone
from tracelet_aim._options import Options
from tracelet_aim._sequences import Sequences
from tracelet_aim._store import LocalStore, RemoteStore, Store

log = logging.getLogger("tracelet.delivery")

ATTRIBUTE = "tracelet"
_UNLISTED = 2.0  # Aim remembers for half a second which runs there are
_CHECK = 30.0


class Session:
    """The run, its attributes as they are, and the way to its sequences.

    Attributes:
        hash: the run's, which follows from Tracelet's id: opening a run a second time can't make another one.
        attributes: what the run's attributes are, kept up to date by `set`.
    """

    def __init__(self, options: Options, info: RunInfo, state: State | None) -> None:
        self.hash = hash_of(info.id) if state is None else state["hash"]
        self._options = options
        self._checked = 0.0
        self.repo: Repo = _remote.connect(options.path) if options.is_remote else get_repo(options.path)
        try:
            self._open(info, known=state is not None)
        except BaseException:
            if options.is_remote:
                _remote.detach(self.repo._client)
            raise

    def _open(self, info: RunInfo, known: bool) -> None:
        options = self._options
        if known and self.hash not in _hashes(self.repo):
            raise gone(options.path)
        self.run = run = _open_run(self.repo, self.hash, info.started)
        if options.is_remote:
            _remote.calm(run)
        run._resources.set_run_end_time = _nothing  # closing a run is not ending it; see `finish`
        self.store: Store = RemoteStore(run) if options.is_remote else LocalStore(run)
        self.sequences = Sequences(run, self.store)
        self.attributes: dict[str, Any] = run.get((), {})
        if "run_id" not in self.attributes.get(ATTRIBUTE, {}):
            self._describe(info)
        uri = options.artifacts_uri
        if uri is not None and run.meta_run_tree.get("artifacts_uri", None) != uri:
            run.set_artifacts_uri(uri)

    def _describe(self, info: RunInfo) -> None:
        """What a new run is given; its own id last, so that a crash in between has it done again."""
        self.run.name = info.name
        self.run.experiment = info.project
        if info.parent is not None:
            state = info.parent.state or {}
            parent = {"id": info.parent.id, "name": info.parent.name, "hash": state.get("hash")}
            self.set((ATTRIBUTE, "parent"), parent)
        self.set((ATTRIBUTE, "run_id"), info.id)

    def set(self, path: tuple[str, ...], value: Any) -> None:
        """Set an attribute of the run (`run[path] = value` to Aim's users)."""
        self.run.set(path, value)
        *folders, last = path
        place = self.attributes
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value

    def get(self, path: tuple[str, ...]) -> Any:
        """An attribute of the run; None if there is none."""
        place: Any = self.attributes
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        return place

    def require_run(self) -> None:
        """Raises Denied if the run was deleted. What was written to a deleted run is lost, without a word from Aim."""
        if not self.repo.is_remote_repo:
            if not os.path.exists(os.path.join(self.repo.path, "meta", "chunks", self.hash, "CURRENT")):
                raise gone(self._options.path)
        elif time.monotonic() - self._checked > _CHECK:
            if self.hash not in _hashes(self.repo):
                raise gone(self._options.path)
            self._checked = time.monotonic()

    def finish(self, outcome: Outcome, ended: float) -> None:
        """Record the end, and make the run visible to everybody who reads the repository's index."""
        self._checked = 0.0
        self.require_run()
        self.set((ATTRIBUTE, "outcome"), outcome.value)
        self.run.meta_run_tree["end_time"] = ended
        if outcome is Outcome.COMPLETED:
            self.run.report_successful_finish(block=True)
        self.index()

    def index(self) -> None:
        """Copy the run's metadata into the repository's index, where queries look for it."""
        index = self.repo._get_index_tree("meta", 5).view(())
        self.run.meta_run_tree.finalize(index=index)

    def close(self, lost: bool = False) -> None:
        """Let go of the run and its lock. `lost`: the connection is broken, so say nothing to the server."""
        run, store, client = self.run, self.store, self.repo._client
        del self.store, self.sequences, self.run
        if client is None:
            run.close()
            if lost:
                store.abandon()
            return
        try:
            if not lost:
                _remote.silence(client)
                run.close()
                del run
                self.repo.close()
        except Exception as error:  # noqa: BLE001 - the server notices by itself that nobody is there any more
            log.debug("aim: the server did not let go: %s", error)
        finally:
            _remote.detach(client)


def hash_of(run_id: str) -> str:
    """The hash, in Aim's form, of a run in Tracelet's."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:24]


def _hashes(repo: Repo) -> list[str]:
    """The runs that there are now: `list_all_runs` answers from half a second ago."""
    if repo.is_remote_repo:
        found: list[str] = repo._remote_repo_proxy.list_all_runs()
        return found
    try:
        return os.listdir(os.path.join(repo.path, "meta", "chunks"))
    except FileNotFoundError:
        return []


def _open_run(repo: Repo, hash_: str, started: float) -> Run:
    """The run of that hash, created if need be: what Aim does when it copies a run to another repository."""
    container = repo.request_tree("meta", hash_, read_only=False)
    created = datetime.fromtimestamp(started, tz=UTC)
    repo.request_props(hash_, False, created if repo.is_remote_repo else created.replace(tzinfo=None))
    if not repo.is_remote_repo:
        _drop_own_lock(repo, hash_)
    deadline = time.monotonic() + _UNLISTED
    while True:
        try:
            run = Run(
                hash_,
                repo=repo,
                system_tracking_interval=None,
                log_system_params=False,
                capture_terminal_logs=False,
            )
        except MissingRunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            del container
            return run


def _drop_own_lock(repo: Repo, hash_: str) -> None:
    """Take away the lock that an earlier session of this very process left; Aim would wait for it."""
    path = Path(repo.path, "locks", f"{hash_}.softlock")
    try:
        _, pid, *_ = path.read_text().split("-")
    except (OSError, ValueError):
        return
    if pid == str(os.getpid()):
        path.unlink(missing_ok=True)


def _nothing() -> None:
    pass
