"""The conformance suite over the example plugin."""

from pathlib import Path
from typing import Any

from tracelet_jsonl import JsonLines, JsonLinesOptions
from tracelet_jsonl.readback import read

from tracelet.testing.conformance import BackendConformance, Recorded


class TestJsonLines(BackendConformance):
    backend = JsonLines

    def make_options(self, tmp_path: Path) -> JsonLinesOptions:
        return JsonLinesOptions(path=str(tmp_path / "events.jsonl"))

    async def read(self, options: Any, run_id: str) -> Recorded:
        return read(options, run_id)
