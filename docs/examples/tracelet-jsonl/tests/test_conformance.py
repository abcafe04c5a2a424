"""The conformance suite over the example plugin, and what it does beyond that."""

from pathlib import Path
from typing import Any

import msgspec
from tracelet_jsonl import JsonLines, JsonLinesOptions

from tracelet.backend import Outcome
from tracelet.testing.conformance import BackendConformance, Recorded


class TestJsonLines(BackendConformance):
    backend = JsonLines

    def make_options(self, tmp_path: Path) -> JsonLinesOptions:
        return JsonLinesOptions(path=str(tmp_path / "events.jsonl"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        lines = map(msgspec.json.decode, Path(options.path).read_bytes().splitlines())
        own = [line for line in lines if line["run"] == run_id]
        found = Recorded(runs=sum(line["kind"] == "opened" for line in own))
        for line in own:
            match line["kind"]:
                case "MetricsLogged":
                    found.points += [
                        (_shown(line, name), _number(v), line["step"]) for name, v in line["values"].items()
                    ]
                case "ParamsLogged":
                    found.params |= {name: str(value) for name, value in line["values"].items()}
                case "TagsSet":
                    found.tags |= line["values"]
                case "TextLogged":
                    found.texts.append(line["text"])
                case "ArtifactLogged":
                    found.artifacts[line["name"]] = Path(line["path"]).read_bytes()
                case "closed":
                    found.outcome, found.ended = Outcome(line["outcome"]), line["time"]
        return found


def _shown(line: dict[str, Any], name: str) -> str:
    return name if not line["context"] else f"{name} {line['context']}"


def _number(value: Any) -> int | float:
    return value if isinstance(value, int) else float(value)
