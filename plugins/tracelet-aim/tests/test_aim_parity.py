"""What the plugin writes past Aim's public interface is what Aim would write; an Aim that differs fails here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aim_driver import NOW, Driver
from tracelet_aim.readback import open_run

from tracelet.events import ImageLogged, MetricsLogged
from tracelet.testing.conformance import HOSTILE_NAMES

pytestmark = pytest.mark.anyio

EVENTS = [
    MetricsLogged(NOW, {"loss": 0.5, "count": 3}, 5),
    MetricsLogged(NOW + 1, {"loss": 0.25, "count": 4}, 3),
    MetricsLogged(NOW + 2, {"loss": float("nan"), "mixed": 1}, 7),
    MetricsLogged(NOW + 3, {"loss": float("inf"), "mixed": 1.5}, 9),
    MetricsLogged(NOW + 4, {"loss": -1.0, "mixed": -2}, 11),
    MetricsLogged(NOW + 5, {"loss": 1.0}, 5, (("n", 1), ("on", True), ("part", 0.5), ("subset", "val"), ("z", None))),
    MetricsLogged(NOW + 6, {name: 1.0 for name in HOSTILE_NAMES if name}, 2**62),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _items(driver: Driver) -> dict[str, dict[bytes, bytes]]:
    session: Any = driver.backend._session
    return {
        name: dict(session.repo.request_container(name, session.hash, read_only=False).items())
        for name in ("meta", "seqs")
    }


@pytest.mark.parametrize("batches", [1, len(EVENTS)])
async def test_batches_are_stored_as_aim_stores_points(
    drive: Callable[..., Driver], tmp_path: Path, batches: int
) -> None:
    """Byte for byte, in both of the run's containers, whatever the size of the batches."""
    ours = drive()
    aims = drive(str(tmp_path / "other"), id=ours.info.id, project=ours.info.project)
    for driver in (ours, aims):
        await driver.open()
    size = len(EVENTS) // batches
    for start in range(0, len(EVENTS), size):
        await ours.export(*EVENTS[start : start + size])
    session: Any = aims.backend._session
    for event in EVENTS:
        for name, value in event.values.items():
            session.run._tracker._track(value, event.time, name, event.step, None, context=dict(event.context))
    stored, expected = _items(ours), _items(aims)
    uri = session.run.meta_run_tree["artifacts_uri"].encode()
    for name in stored:
        assert {key: value for key, value in stored[name].items() if b"artifacts_uri" not in key} == {
            key: value for key, value in expected[name].items() if uri not in value
        }


async def test_a_run_goes_on_with_its_sequences(drive: Callable[..., Driver]) -> None:
    """After a start in a new session, the last value, the extremes and the type are those of all points."""
    first = drive()
    state = await first.open()
    await first.export(MetricsLogged(NOW, {"m": 1, "n": 2.0}, 10))
    await first.backend.close()
    second = drive(id=first.info.id)
    await second.open(state)
    await second.export(MetricsLogged(NOW, {"m": 0.5, "n": 3.0}, 5))
    traces = open_run(second.options.path, second.hash).meta_run_tree["traces"]
    (fields,) = (value for context in traces.values() for name, value in context.items() if name == "m")
    assert fields == {
        "dtype": "number",
        "first": 1,
        "first_step": 10,
        "last": 1,
        "last_step": 10,
        "max": 1,
        "min": 0.5,
        "version": 2,
    }


async def test_event_time_is_kept(drive: Callable[..., Driver], tmp_path: Path) -> None:
    """Points and objects have the time of the event, not that of delivery."""
    driver = drive()
    await driver.open()
    path = tmp_path / "image.png"
    _png(path)
    await driver.export(MetricsLogged(NOW, {"m": 0.5}, 1))
    await driver.export(ImageLogged(NOW + 1, "i", str(path), path.stat().st_size, 0, format="png", step=2))
    run = open_run(driver.options.path, driver.hash)
    metric = run.get_metric("m", _no_context())
    assert metric.data.items_list() == ([1], [[0.5], [pytest.approx(float("nan"), nan_ok=True)], [NOW]])
    images = run.get_image_sequence("i", _no_context())
    assert list(images.timestamps.values()) == [NOW + 1]


async def test_queries_find_the_run(drive: Callable[..., Driver]) -> None:
    """A finished run is in the index, and Aim's query language sees metrics, contexts and names."""
    from aim import Repo

    from tracelet.backend import Outcome

    driver = drive()
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"loss": 0.5}, 1, (("subset", "val"),)))
    await driver.backend.finish(Outcome.COMPLETED, NOW + 9)
    await driver.backend.close()
    repo = Repo.from_path(driver.options.path)
    query = f"run.name == 'a run' and run.experiment == '{driver.info.project}' and metric.context.subset == 'val'"
    (metric,) = [metric for part in repo.query_metrics(query, report_mode=0).iter_runs() for metric in part.iter()]
    assert (metric.name, metric.values.values_list()) == ("loss", [0.5])


def test_objects_are_stored_as_aim_stores_them(tmp_path: Path) -> None:
    """An image or a figure made of bytes has the fields that Aim's constructors give it."""
    import plotly.graph_objects
    from aim import Figure, Image
    from tracelet_aim import _objects

    path = tmp_path / "image.png"
    _png(path)
    made, aims = _objects.image(path.read_bytes(), "caption"), Image(str(path), "caption")
    names = ("caption", "format", "height", "mode", "source", "width")
    fields = {name: made.storage[name] for name in names}
    assert fields | {"format": fields["format"].upper()} == {name: aims.storage[name] for name in names}
    assert set(made.storage.keys()) == set(aims.storage.keys())
    assert made.to_pil_image().tobytes() == aims.to_pil_image().tobytes()
    plot = plotly.graph_objects.Figure({"data": [{"type": "scatter", "x": [1], "y": [2]}]})
    figure, drawn = _objects.figure(plot.to_json()), Figure(plot)
    assert set(figure.storage.keys()) == set(drawn.storage.keys())
    assert figure.data == drawn.data
    assert {figure.storage[name] == drawn.storage[name] for name in ("source", "format")} == {True}


def _png(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3, 2), (10, 20, 30)).save(path)


def _no_context() -> Any:
    from aim.storage.context import Context

    return Context({})
