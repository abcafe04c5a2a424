"""A task in a folder, in the form of the SDK's offline mode, for `Task.import_offline_session` to take.

The SDK can't go on with an offline session of an ended process, so its files are written here: `task.json` (the task,
and the models to be made), `metrics.jsonl` and `log.jsonl` (a JSON list of events on each line), the uploaded files in
`data/`, the models' in `models/`; and, when the run has ended, all of it in one archive beside the folder.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from tracelet.backend import Opened, Outcome, RunInfo, State
from tracelet.errors import Rejected, Transient
from tracelet_clearml import _names as names
from tracelet_clearml._convert import PROPERTIES
from tracelet_clearml._errors import Unreadable
from tracelet_clearml._lines import SentLines
from tracelet_clearml._options import Options
from tracelet_clearml._records import AnyRecord, Artifact, Line, NewModel, Param, Registration
from tracelet_clearml._server import RUN_TAG
from tracelet_clearml._store import Uploaded

_LONGEST_LINE = 8 << 20

P = ParamSpec("P")
T = TypeVar("T")


class OfflineTask:
    """Keeps a run as an offline session. The folder's name is made of the run's id, so that it is found again."""

    def __init__(self, options: Options, info: RunInfo) -> None:
        self._info = info
        self._options = options
        self._task = f"offline-{info.id.replace('-', '')}"
        self._folder = root_of(options) / self._task
        self._record: dict[str, Any] = {}
        self._lines = SentLines(certain=False)

    @property
    def task(self) -> str:
        return self._task

    async def open(self, state: State | None) -> Opened:
        await self._do(self._open)
        return Opened({"task_id": self._task, "folder": str(self._folder)}, self._folder.as_uri())

    async def add_records(self, records: Sequence[AnyRecord]) -> None:
        await self._do(self._append, "metrics.jsonl", records)

    async def add_lines(self, lines: Sequence[Line]) -> None:
        await self._do(self._add_lines, lines)

    async def set_params(self, params: Sequence[Param]) -> None:
        sections = self._record["hyperparams"]
        for param in params:
            sections.setdefault(param.section, {})[param.name] = msgspec.to_builtins(param)
        await self._do(self._save)

    async def properties(self) -> dict[str, str]:
        section = self._record["hyperparams"].get(PROPERTIES, {})
        return {name: str(param["value"]) for name, param in section.items()}

    async def change_tags(self, add: Sequence[str], remove: Sequence[str]) -> None:
        self._record["tags"] = sorted({*self._record["tags"], *add} - {*remove})
        await self._do(self._save)

    async def set_comment(self, text: str) -> None:
        self._record["comment"] = text
        await self._do(self._save)

    async def upload(self, folder: str, parts: Sequence[str], source: bytes | Path) -> Uploaded:
        project = names.component(self._record["project_name"])
        key = "/".join((project, f"{names.component(self._record['name'])}.{self._task}", folder, *parts))
        target = self._folder / "data" / key
        await self._do(_copy, source, target)
        return Uploaded(key, str(target))

    async def add_artifact(self, artifact: Artifact) -> None:
        artifacts = self._record["execution"].setdefault("artifacts", [])
        artifacts[:] = [known for known in artifacts if known["key"] != artifact.key]
        artifacts.append(msgspec.to_builtins(artifact) | {"mode": "output"})
        await self._do(self._save)

    async def add_model(self, model: NewModel) -> None:
        """As the SDK's OutputModel keeps one offline; the import makes a model of it, and uploads its file.

        The import takes the entry's name from the file, and knows no metadata, which becomes the description.
        """
        name = names.component(model.entry) + (".zip" if model.package else "")
        target = self._folder / "models" / model.identity.rpartition(":")[2] / name
        await self._do(_copy, model.file, target)
        entry = {
            "init": {
                "name": model.entry,
                "tags": [],
                "comment": "".join(f"{about.key}: {about.value}\n" for about in model.metadata.values()),
                "framework": model.framework or None,
                "config_text": None,
                "config_dict": None,
                "label_enumeration": None,
            },
            "weights": {
                "weights_filename": str(target),
                "upload_uri": None,
                "target_filename": None,
                "register_uri": None,
                "iteration": model.iteration,
                "update_comment": False,
                "is_package": model.package,
            },
            "output_uri": self._options.output_uri,
            "id": f"offline-{model.identity}",
            "entry": model.entry,
        }
        models = self._record["offline_output_models"]
        models[:] = [known for known in models if known["id"] != entry["id"]]
        models.append(entry)
        await self._do(self._save)

    async def register(self, registration: Registration) -> None:
        entries = [model for model in self._record["offline_output_models"] if model["entry"] == registration.entry]
        if not entries:
            raise Rejected(f"the task has no model {registration.entry!r} to register as {registration.name!r}")
        init = entries[-1]["init"]
        init |= {"name": registration.name, "tags": sorted({*init["tags"], *registration.tags})}
        if registration.comment:
            init["comment"] = registration.comment
        await self._do(self._save)

    async def finish(self, outcome: Outcome, time: float) -> None:
        """The import completes every task; how the run really ended is a user property."""
        ended = datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
        await self.set_params([Param(PROPERTIES, "tracelet.outcome", f"{outcome.value}, {ended}", "str")])
        await self._do(self._pack)

    async def aclose(self) -> None:
        """Nothing: no file is kept open."""

    # In the thread for blocking calls.

    async def _do(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        def guarded() -> T:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                raise Transient(f"{self._folder}: {error}") from error

        return await self._info.blocking(guarded)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "task.json"
        if path.exists():
            self._record = msgspec.json.decode(path.read_bytes())
        else:
            self._record = self._new()
            self._save()
        for name in ("metrics.jsonl", "log.jsonl"):
            _mend(self._folder / name)

    def _new(self) -> dict[str, Any]:
        parent = self._info.parent
        known = parent.state.get("task_id", "") if parent is not None and parent.state is not None else ""
        record: dict[str, Any] = {
            "id": self._task,
            "name": names.task(self._info.name),
            "type": self._options.task_type,
            "project_name": names.padded(names.project(self._info.project)),
            "status": "created",
            "comment": "",
            "tags": [],
            "system_tags": ["development", RUN_TAG + self._info.id],
            "hyperparams": {},
            "execution": {},
            "offline_folder": str(self._folder),
            "offline_output_models": [],
        }
        if known and not known.startswith("offline-"):
            record["parent"] = known
        elif known and parent is not None:
            about = Param(PROPERTIES, "tracelet.parent", known, "str", f"the parent run: {parent.name}")
            record["hyperparams"][PROPERTIES] = {about.name: msgspec.to_builtins(about)}
        return record

    def _save(self) -> None:
        temporary = self._folder / "task.json.new"
        temporary.write_bytes(msgspec.json.encode(self._record))
        os.replace(temporary, self._folder / "task.json")

    def _append(self, name: str, records: Sequence[msgspec.Struct]) -> None:
        """Each line becomes one request of the import, which must not be too large."""
        lines: list[list[bytes]] = [[]]
        size = 0
        for record in records:
            encoded = msgspec.json.encode(record)
            if lines[-1] and size + len(encoded) > _LONGEST_LINE:
                lines.append([])
                size = 0
            lines[-1].append(encoded)
            size += len(encoded)
        with (self._folder / name).open("ab") as file:
            file.write(b"".join(b"[" + b",".join(line) + b"]\n" for line in lines))

    def _add_lines(self, lines: Sequence[Line]) -> None:
        """After a crash it is unknown which lines were written, and the file is asked."""
        there = set() if self._lines.certain else self._known_lines()
        self._lines.certain = False
        if missing := self._lines.missing(lines, there):
            self._append("log.jsonl", missing)
        self._lines.arrived(lines)

    def _known_lines(self) -> set[str]:
        path = self._folder / "log.jsonl"
        if not path.exists():
            return set()
        with path.open("rb") as file:
            return {str(line["variant"]) for batch in file for line in msgspec.json.decode(batch)}

    def _pack(self) -> None:
        archive = self._folder.with_name(f"{self._task}.zip")
        temporary = archive.with_name(f"{archive.name}.new")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as packed:
            for file in sorted(self._folder.rglob("*")):
                if file.is_file():
                    packed.write(file, file.relative_to(self._folder).as_posix())
        os.replace(temporary, archive)


def root_of(options: Options) -> Path:
    """The folder that has the sessions: the options', else the SDK's own."""
    if options.offline_folder:
        return Path(options.offline_folder)
    from clearml.config import get_offline_dir

    return Path(str(get_offline_dir()))


def _mend(path: Path) -> None:
    """Cut off the half line that a crash may have left."""
    if path.exists():
        with path.open("r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)


def _copy(source: bytes | Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name[:200]}.new")
    if isinstance(source, bytes):
        temporary.write_bytes(source)
    else:
        try:
            source.open("rb").close()
        except OSError as error:
            raise Unreadable(f"{source}: {error.strerror}") from error
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
