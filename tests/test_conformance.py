"""The conformance suite itself: each of its tests fails for a backend that does what the test is about wrongly."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tracelet.testing.conformance import BackendConformance
from tracelet.testing.conformance._faults import Faults

HEAD = """
import msgspec, pytest
from pathlib import Path
from typing import Any
import tracelet_jsonl
from tracelet_jsonl import JsonLines, JsonLinesOptions
from tracelet_jsonl.readback import read
from tracelet import media
from tracelet.backend import Batch, Idempotency, Opened, fallback, mapped, native
from tracelet.events import *
from tracelet.testing.conformance import BackendConformance

class Broken(JsonLines):
    def change(self, event):
        return event

    async def export(self, batch):
        changed = [self.change(event) for event in batch.events]
        kept = [(event, number) for event, number in zip(changed, batch.sequences) if event is not None]
        if kept:
            inner = Batch(batch.writer, batch.lane, [event for event, _ in kept], [number for _, number in kept])
            await super().export(inner)
            for number, reason in inner.degraded.items():
                batch.degrade(list(batch.sequences).index(number), reason)

class Suite(BackendConformance):
    def make_options(self, tmp_path):
        return JsonLinesOptions(path=str(tmp_path / "events.jsonl"))

    async def read(self, options, run_id):
        return read(options, run_id)
"""

REPLACE = """
    def change(self, event):
        if isinstance(event, {kind}):
            return msgspec.structs.replace(event, {fields})
        return event
"""

REWRITE = """
    def change(self, event):
        if not isinstance(event, {kind}) or event.format != "{format}":
            return event
        import numpy as np
        array = np.load(event.path)
        path = event.path + ".other"
        changed = {change}
        with open(path, "wb") as file:
            np.savez(file, **changed) if isinstance(changed, dict) else np.save(file, changed)
        return msgspec.structs.replace(event, path=path)
"""

FAULTS = {
    "test_a_second_open_finds_the_run": """
    async def open(self, state):
        self._write([{"kind": "opened", "name": "again", "project": "", "parent": None}])
        return await super().open(state)
""",
    "test_a_crash_before_the_state_was_saved_makes_no_second_run": """
    async def open(self, state):
        if state is None:
            self._write([{"kind": "opened", "name": "again", "project": "", "parent": None}])
        return await super().open(state)
""",
    "test_a_finished_run_can_go_on": """
    async def open(self, state):
        opened = await super().open(state)
        if any(line["kind"] == "closed" for line in self._lines()):
            raise ValueError("it is closed")
        return opened
""",
    "test_it_finishes_with_each_outcome": """
    async def finish(self, outcome, time):
        await super().finish(outcome, 0.0)
""",
    "test_closing_twice_is_fine": """
    async def close(self):
        del self._path
""",
    "test_a_child_is_shown_under_its_parent": """
    def __init__(self, options, run):
        super().__init__(options, msgspec.structs.replace(run, parent=None))
""",
    "test_a_parent_that_is_not_there_costs_nothing": """
    def __init__(self, options, run):
        super().__init__(options, run)
        if run.parent:
            run.parent.state["id"]
""",
    "test_a_killed_delivery_loses_nothing": """
    async def open(self, state):
        opened = await super().open(state)
        for writer in ("0000", "0001") if state else ():  # it takes for delivered what came after the kill
            self._last[(writer, "stream")] = 300
        return Opened(state={"last": "0"}, url=opened.url)
""",
    "test_metrics_arrive": REPLACE.format(kind="MetricsLogged", fields="step=abs(event.step)"),
    "test_numbers_that_are_none_arrive": """
    def change(self, event):
        if isinstance(event, MetricsLogged):
            values = {name: 0.0 if value != value else value for name, value in event.values.items()}
            return msgspec.structs.replace(event, values=values)
        return event
""",
    "test_hostile_names_lose_nothing": """
    def change(self, event):
        if isinstance(event, MetricsLogged):
            return msgspec.structs.replace(event, values={n[:250].strip(): v for n, v in event.values.items()})
        return event
""",
    "test_contexts_keep_points_apart": """
    def change(self, event):
        return None if isinstance(event, MetricsLogged) and len(event.context) == 2 else event
""",
    "test_a_large_batch_arrives": """
    def change(self, event):
        if isinstance(event, MetricsLogged) and len(event.values) > 1_000:
            return msgspec.structs.replace(event, values=dict(list(event.values.items())[:1_000]))
        return event
""",
    "test_an_event_without_values_is_nothing": """
    def change(self, event):
        if isinstance(event, MetricsLogged) and not event.values:
            raise ValueError("nothing")
        return event
""",
    "test_delivering_again_does_what_is_declared": """
    async def export(self, batch):
        self._last.clear()
        await super().export(batch)
""",
    "test_params_and_tags_arrive": REPLACE.format(
        kind="ParamsLogged", fields="values={n: str(v).upper() for n, v in event.values.items()}"
    ),
    "test_hostile_params_and_tags_cost_nothing": """
    def change(self, event):
        if isinstance(event, ParamsLogged | TagsSet) and "" in event.values:
            return None
        return event
""",
    "test_texts_arrive": REPLACE.format(kind="TextLogged", fields="text=event.text[:65_000]"),
    "test_the_last_note_counts": """
    def change(self, event):
        return None if isinstance(event, NoteSet) and event.text.startswith("#") else event
""",
    "test_console_lines_arrive_in_order": REPLACE.format(
        kind="ConsoleLine", fields='text=event.text.replace("\\n", " ")'
    ),
    "test_datasets_arrive": """
    def change(self, event):
        return None if isinstance(event, DatasetUsed) and not event.source else event
""",
    "test_trials_arrive": REPLACE.format(kind="HParamsLogged", fields="domains={}"),
    "test_layouts_arrive": """
    def change(self, event):
        if isinstance(event, LayoutSet):
            charts = {category: dict(list(charts.items())[:1]) for category, charts in event.charts.items()}
            return msgspec.structs.replace(event, charts=charts)
        return event
""",
    "test_one_name_for_everything": """
    def change(self, event):
        return None if isinstance(event, TagsSet) and "same" in event.values else event
""",
    "test_artifacts_arrive": """
    def change(self, event):
        return None if isinstance(event, ArtifactLogged) and not event.size else event
""",
    "test_models_arrive": """
    def change(self, event):
        return None if isinstance(event, ModelLogged) and Path(event.path).is_dir() else event
""",
    "test_a_model_is_registered": REPLACE.format(kind="ModelRegistered", fields="aliases=event.aliases[:1]"),
    "test_registering_again_makes_no_second_version": """
    def change(self, event):
        if isinstance(event, ModelRegistered):
            self.times = getattr(type(self), "times", 0) + 1
            type(self).times = self.times
            if self.times > 1:
                return msgspec.structs.replace(event, aliases=(*event.aliases, "again"))
        return event

    async def export(self, batch):
        self._last.clear()
        await super().export(batch)
""",
    "test_media_arrive": """
    def change(self, event):
        return msgspec.structs.replace(event, step=event.step + 1) if isinstance(event, TableLogged) else event
""",
    "test_delivering_everything_again_shows_it_once": """
    async def export(self, batch):
        if batch.lane == "bulk":
            self._last.clear()
        await super().export(batch)
""",
    "test_contexts_keep_media_apart": """
    def change(self, event):
        return None if isinstance(event, ImageLogged) and event.context else event
""",
    "test_one_name_for_a_metric_and_an_image": """
    def change(self, event):
        return None if isinstance(event, ImageLogged) and event.name == "same" else event
""",
    "test_hostile_names_of_media_lose_nothing": """
    def change(self, event):
        return None if isinstance(event, ImageLogged) and ".." in event.name else event
""",
    "test_options_are_resolved_once": """
    class Options(msgspec.Struct):
        path: str = ""

        def __post_init__(self):
            self.path += "/again"
""",
    "test_it_declares_what_the_core_needs": """
    handles = {**JsonLines.handles, int: native("nowhere")}
""",
}

WRONG = {
    "a histogram with other bins": (
        "test_media_arrive",
        """
    def change(self, event):
        return msgspec.structs.replace(event, bins=event.bins + 1) if isinstance(event, HistogramLogged) else event
""",
    ),
    "an image with other pixels": (
        "test_media_arrive",
        """
    def change(self, event):
        if isinstance(event, ImageLogged) and event.layout == "HWC":
            return msgspec.structs.replace(event, layout="WHC")
        return event
""",
    ),
    "trials that share their text": (
        "test_trials_arrive",
        REPLACE.format(kind="HParamsLogged", fields="name=''"),
    ),
    "boxes that are not drawn": ("test_media_arrive", REPLACE.format(kind="ImageLogged", fields="boxes=()")),
    "labels that are not drawn": ("test_media_arrive", REPLACE.format(kind="ImageLogged", fields="labels=()")),
    "a rule for bins that is ignored": ("test_media_arrive", REPLACE.format(kind="HistogramLogged", fields="rule=''")),
    "bins that are not put together": (
        "test_media_arrive",
        REPLACE.format(kind="HistogramLogged", fields="max_bins=0"),
    ),
    "a mesh without its config": ("test_media_arrive", REPLACE.format(kind="MeshLogged", fields="config=''")),
    "two figures of three": (
        "test_media_arrive",
        REWRITE.format(kind="FigureLogged", format="npy", change="array[:2] if array.ndim == 4 else array"),
    ),
    "a tensor of another type": (
        "test_media_arrive",
        REWRITE.format(kind="TensorLogged", format="npy", change="array.astype('float64')"),
    ),
    "an embedding without its images": (
        "test_media_arrive",
        REWRITE.format(
            kind="EmbeddingLogged", format="npz", change="{k: v for k, v in array.items() if k != 'images'}"
        ),
    ),
    "an embedding without its columns": (
        "test_media_arrive",
        REWRITE.format(
            kind="EmbeddingLogged",
            format="npz",
            change="{k: v for k, v in array.items() if k not in ('columns', 'labels')}",
        ),
    ),
    "a curve without its counts": (
        "test_media_arrive",
        REWRITE.format(
            kind="CurveLogged",
            format="npz",
            change="{k: v for k, v in array.items() if not k.endswith(('positives', 'negatives'))}",
        ),
    ),
    "a fallback that is not counted": (
        "test_datasets_arrive",
        """
    handles = {**JsonLines.handles, DatasetUsed: fallback("declared, and not counted")}
""",
    ),
    "degraded without a reason to": (
        "test_artifacts_arrive",
        """
    async def export(self, batch):
        await super().export(batch)
        batch.degrade(0, "no reason")
""",
    ),
    "an SDK that is imported with the plugin": ("test_importing_the_plugin_imports_no_sdk", ""),
}
"""Each with the test that has to fail."""

CASES = {name: (name, code) for name, code in FAULTS.items()} | WRONG


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """How the test went that has to fail, by case: all of them in one run of pytest."""
    place = tmp_path_factory.mktemp("suite")
    code, tests = HEAD, []
    for number, (name, (test, body)) in enumerate(CASES.items()):
        sdks = "('json',)" if "SDK" in name else "()"
        code += f"\nclass Faulty{number}(Broken):{body or ' ...'}\n"
        code += f"\nclass TestCase{number}(Suite):\n    backend = Faulty{number}\n    sdks = {sdks}\n"
        if "class Options" in body:
            code += f"    def make_options(self, tmp_path):\n        return Faulty{number}.Options()\n"
        tests.append(f"test_cases.py::TestCase{number}::{test}")
    (place / "test_cases.py").write_text(code)
    (place / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", *tests]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for case in ElementTree.parse(place / "report.xml").iter("testcase"):
        children = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found.setdefault(case.attrib["classname"].rpartition("TestCase")[2], set()).update(children or ["passed"])
    return {name: found.get(str(number), set()) for number, name in enumerate(CASES)}


CONFTEST = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.mark.parametrize("case", CASES)
def test_a_fault_makes_its_test_fail(outcomes: dict[str, set[str]], case: str) -> None:
    """What a backend does wrongly, or declares untruly, is found by the test that is about it."""
    assert "failure" in outcomes[case], outcomes[case]


def test_every_test_of_the_suite_can_fail() -> None:
    """Each test that runs for a backend without a server has a case above."""
    own = {name for name in dir(BackendConformance) if name.startswith("test_")}
    faults = {name for name in own if getattr(Faults, name, None) is not None and name in vars(Faults)}
    assert own - faults == {test for test, _ in CASES.values()}
