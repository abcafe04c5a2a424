"""Of what is said in words: params, tags, texts, notes, console lines, datasets."""

from __future__ import annotations

import json
from typing import Any

from tracelet.events import (
    ConsoleLine,
    DatasetUsed,
    HParamsLogged,
    LayoutSet,
    MetricsLogged,
    NoteSet,
    ParamsLogged,
    TagsSet,
    TextLogged,
)
from tracelet.testing.conformance._drive import TIME, Drive, Suite


def _documents(texts: list[str]) -> list[Any]:
    """The texts that are JSON."""
    return [json.loads(text) for text in texts if text.startswith("{")]


class Words(Suite):
    """Words."""

    async def test_params_and_tags_arrive(self, drive: Drive) -> None:
        """Parameters and tags are found under their names; delivering parameters again is no conflict."""
        self.requires(ParamsLogged, TagsSet)
        session = await drive.start()
        params = ParamsLogged(TIME, {"lr": 0.001, "name": "adam", "on": True, "nothing": None, "sizes": [1, 2]})
        await session.export(params, TagsSet(TIME, {"stage": "first"}), params, TagsSet(TIME, {"stage": "second"}))
        found = await drive.read()
        assert found.params["lr"] == "0.001"
        assert found.params["name"] == "adam"
        assert set(found.params) >= {"on", "nothing", "sizes"}
        assert found.tags["stage"] == "second"

    async def test_hostile_params_and_tags_cost_nothing(self, drive: Drive) -> None:
        """Names and values that no backend likes don't keep their neighbours from arriving."""
        self.requires(ParamsLogged, TagsSet)
        session = await drive.start()
        names = ["", " ", "a/b", "a.b", "größe", "nul\0", "x" * 1_000, "a/b/c", "$", "."]
        await session.export(
            ParamsLogged(TIME, {**dict.fromkeys(names, "x" * 20_000), "good": 1}),
            TagsSet(TIME, {**dict.fromkeys(names, "x" * 20_000), "good": "yes"}),
            ParamsLogged(TIME, {"huge": 2**70, "nan": float("nan"), "nested": [[1, None], ["a"]]}),
        )
        found = await drive.read()
        assert found.params["good"] == "1"
        assert found.tags["good"] == "yes"
        assert "nested" in found.params

    async def test_texts_arrive(self, drive: Drive) -> None:
        """Texts arrive whole, of the run and of a step, several of one name too."""
        self.requires(TextLogged)
        session = await drive.start()
        texts = ["of the run", "größer\nals eine Zeile", "second", "x" * 100_000]
        await session.export(
            TextLogged(TIME, "note", texts[0]),
            TextLogged(TIME, "sample", texts[1], 1),
            TextLogged(TIME, "sample", texts[2], 2),
            TextLogged(TIME, "a/b c@d", texts[3]),
        )
        assert sorted((await drive.read()).texts) == sorted(texts)

    async def test_the_last_note_counts(self, drive: Drive) -> None:
        """A note replaces an earlier one."""
        self.requires(NoteSet)
        session = await drive.start()
        degraded = await session.export(NoteSet(TIME, "first"), NoteSet(TIME + 1, "# second\n\nwith *style*"))
        self.check_degraded(NoteSet, degraded, 2)
        assert (await drive.read()).note == "# second\n\nwith *style*"

    async def test_console_lines_arrive_in_order(self, drive: Drive) -> None:
        """What was printed arrives whole, in order, over several batches."""
        self.requires(ConsoleLine)
        session = await drive.start()
        degraded = await session.export(
            *(ConsoleLine(TIME + at, f"line {at}", "stderr" if at == 3 else "stdout") for at in range(10))
        )
        self.check_degraded(ConsoleLine, degraded, 10)
        await session.export(ConsoleLine(TIME + 10, "größe\nand the next"))
        expected = [*(f"line {at}" for at in range(10)), "größe", "and the next"]
        assert (await drive.read()).console == expected

    async def test_datasets_arrive(self, drive: Drive) -> None:
        """Datasets that the run read are named; reading one again is no conflict."""
        self.requires(DatasetUsed)
        session = await drive.start()
        digits = DatasetUsed(
            TIME, "digits", "https://example.org/digits.csv", "abc123", "training", {"x": "f"}, {"rows": 9}
        )
        degraded = await session.export(digits, DatasetUsed(TIME, "other"))
        self.check_degraded(DatasetUsed, degraded, 2)
        await session.export(digits)
        assert sorted((await drive.read()).datasets) == ["digits", "other"]

    async def test_trials_arrive(self, drive: Drive) -> None:
        """A trial's hyperparameters are the run's, and what else there is of it is told, of each trial by its name."""
        self.requires(HParamsLogged)
        session = await drive.start()
        values = {"lr": 0.001, "sizes": [1, 2], "nothing": None, "best": float("inf")}
        degraded = await session.export(
            HParamsLogged(TIME, {"depth": 3}),
            HParamsLogged(TIME, {"width": 64}, ("acc", "val/loss"), {"width": [32, 64]}, "wide"),
        )
        self.check_degraded(HParamsLogged, degraded, 2)
        await session.export(HParamsLogged(TIME, values, name="größe/2"))
        found = await drive.read()
        assert found.params.items() >= {"depth": "3", "width": "64", "lr": "0.001"}.items()
        assert sorted(_documents(found.texts), key=lambda trial: str(trial["name"])) == [
            {"name": "", "values": {"depth": 3}, "metrics": [], "domains": {}},
            {"name": "größe/2", "values": values | {"best": "inf"}, "metrics": [], "domains": {}},
            {"name": "wide", "values": {"width": 64}, "metrics": ["acc", "val/loss"], "domains": {"width": [32, 64]}},
        ]

    async def test_layouts_arrive(self, drive: Drive) -> None:
        """Every chart of an arrangement is told, and a later arrangement adds its own."""
        self.requires(LayoutSet)
        session = await drive.start()
        first = {"losses": {"both": ("Multiline", ["loss/.*"]), "band": ("Margin", ["loss", "low", "high"])}}
        later = {"losses": {"third": ("Multiline", ["x"])}, "größen/2": {"": ("Multiline", ["y", "z"])}}
        degraded = await session.export(LayoutSet(TIME, first))
        self.check_degraded(LayoutSet, degraded, 1)
        await session.export(LayoutSet(TIME + 1, later), LayoutSet(TIME + 2, {}))
        expected: list[dict[str, Any]] = [
            {"category": category, "title": title, "kind": kind, "metrics": names}
            for layout in (first, later)
            for category, charts in layout.items()
            for title, (kind, names) in charts.items()
        ]
        found = _documents((await drive.read()).texts)
        assert sorted(found, key=lambda chart: str(chart["title"])) == sorted(
            expected, key=lambda chart: chart["title"]
        )

    async def test_one_name_for_everything(self, drive: Drive) -> None:
        """A metric, a parameter, a tag and a text may share a name."""
        self.requires(MetricsLogged, ParamsLogged, TagsSet, TextLogged)
        session = await drive.start()
        await session.export(
            MetricsLogged(TIME, {"same": 0.5}, 1),
            ParamsLogged(TIME, {"same": "parameter"}),
            TagsSet(TIME, {"same": "tag"}),
            TextLogged(TIME, "same", "text", 1),
        )
        found = await drive.read()
        assert ("same", 0.5, 1) in found.points
        assert found.params["same"] == "parameter"
        assert found.tags["same"] == "tag"
        assert "text" in found.texts
