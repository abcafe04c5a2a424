"""Reads back what the file has of a run: for the conformance tests, and for `tracelet demo`."""

from pathlib import Path
from typing import Any

import msgspec

from tracelet import media
from tracelet.backend import Outcome
from tracelet.events import LANES, Event, MediaLogged, ParamsLogged, TextLogged
from tracelet.readback import Recorded, Shown
from tracelet.substitutes import substitutes
from tracelet_jsonl import JsonLinesOptions


def read(options: JsonLinesOptions, run_id: str) -> Recorded:
    """The run's lines, put together. Raises LookupError if there are none."""
    lines = map(msgspec.json.decode, Path(options.path).read_bytes().splitlines())
    own = [line for line in lines if line["run"] == run_id]
    if not own:
        raise LookupError(f"{options.path} has no run {run_id}")
    found = Recorded(runs=sum(line["kind"] == "opened" for line in own))
    for line in own:
        match line["kind"]:
            case "MetricsLogged":
                found.points += [
                    (_in_context(line, name), _number(v), line["step"]) for name, v in line["values"].items()
                ]
            case "ParamsLogged":
                found.params |= {name: str(value) for name, value in line["values"].items()}
            case "TagsSet":
                found.tags |= line["values"]
            case "TextLogged":
                found.texts.append(line["text"])
            case "HParamsLogged" | "LayoutSet":
                for said in substitutes(_event(line)):
                    if isinstance(said, ParamsLogged):
                        found.params |= {name: str(value) for name, value in said.values.items()}
                    elif isinstance(said, TextLogged):
                        found.texts.append(said.text)
            case "NoteSet":
                found.note = line["text"]
            case "ConsoleLine":
                found.console += line["text"].split("\n")
            case "DatasetUsed":
                found.datasets = sorted({*found.datasets, line["name"]})
            case "ArtifactLogged":
                found.artifacts[line["name"]] = Path(line["path"]).read_bytes()
            case "ModelLogged":
                found.models[line["name"]] = _files(Path(line["path"]))
            case "ModelRegistered":
                found.registered[line["name"]] = line["aliases"]
            case "opened":
                found.parent = line["parent"]
            case "closed":
                found.outcome, found.ended = Outcome(line["outcome"]), line["time"]
            case kind if issubclass(_KINDS[kind], MediaLogged):
                found.media.append(_shown(line))
    return found


_KINDS = {kind.__name__: kind for kind in LANES}


def _shown(line: dict[str, Any]) -> Shown:
    """The medium of a line, whose file is read as `tracelet.media` does."""
    event = _event(line)
    assert isinstance(event, MediaLogged)
    return Shown(
        type(event), _in_context(line, line["name"]), line["step"], [file.data for file in media.as_files(event)]
    )


def _event(line: dict[str, Any]) -> Event:
    kind = _KINDS[line["kind"]]
    return kind(**{field: line[field] for field in kind.__struct_fields__})


def _files(path: Path) -> dict[str, bytes]:
    """The files of a model, by their path within it."""
    return {
        ("" if file == path else str(file.relative_to(path))): file.read_bytes()
        for file in [path, *path.rglob("*")]
        if file.is_file()
    }


def _in_context(line: dict[str, Any], name: str) -> str:
    return name if not line["context"] else f"{name} {line['context']}"


def _number(value: Any) -> int | float:
    return value if isinstance(value, int) else float(value)
