"""Public usage, for type checkers only: it is never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, assert_type

import msgspec

import tracelet
from tracelet import (
    AsyncRun,
    Backend,
    BackendStatus,
    Batch,
    Delivery,
    Feed,
    Idempotency,
    Opened,
    Outcome,
    Run,
    RunInfo,
    RunStatus,
    Secret,
    State,
)
from tracelet.backend import Support, fallback, mapped, native
from tracelet.errors import Denied, Rejected, RunClosed, TraceletError, Transient, Undelivered
from tracelet.events import ArtifactLogged, Event, MetricsLogged, ParamsLogged
from tracelet.tensorboard import SummaryWriter
from tracelet.testing import RecordingBackend

# Synchronous code.


def train() -> None:
    run = tracelet.start_logging(
        backend=["mlflow", "jsonl"],
        exp_name="mnist",
        project="vision",
        config={"lr": 3e-4, "layers": [64, 64], "optimizer": {"name": "adam"}},
        tags={"stage": "draft"},
        resume="allow",
        run_id="a",
        host="thread",
        directory=Path("runs"),
        strict=True,
        mode="offline",
        all_ranks=True,
        quota="10GB",
        capture={"console": False},
    )
    assert_type(run, Run)
    run.log_metric("loss", 0.5)
    run.log_metric("loss", 1, step=2, context={"subset": "val", "rank": 0, "last": True}, time=1.0)
    run.log_metrics({"accuracy": 0.9, "epoch": 1}, step=3)
    run.log_params({"depth": 3})
    run.set_tags({"stage": "final"})
    run.log_text("note", "done", step=1)
    run.log_artifact(Path("model.pt"), "models/model.pt", copy=False)
    run.set_note("# Why")
    run.log_console("epoch 1", "stderr")
    run.log_image("sample", object(), 1, layout="CHW", caption=["a", "b"], context={"subset": "val"}, time=1.0)
    run.log_figure("confusion", object(), step=1)
    run.log_histogram("weights", [0.5, 1.0], bins=30)
    run.log_histogram("weights", counts=[1, 2], edges=[0, 1, 2])
    run.log_histogram("weights", [0.5, 1.0], bins="auto", max_bins=9)
    run.log_tensor("weights", [[0.5]], 1)
    run.log_hparams({"lr": 0.1}, {"accuracy": 0.9}, 3, domains={"lr": [0.1, 0.2]}, name="trial")
    run.set_layout({"training": {"losses": ("Multiline", ["loss/.*"]), "band": ("Margin", ["mean", "low", "high"])}})
    assert_type(run.subscribe(MetricsLogged), Feed[MetricsLogged])
    assert_type(run.subscribe(), Feed[Event])
    run.log_metric("loss", 0.5, defer=True)
    run.log_audio("tone", object(), sample_rate=8_000, caption="a tone")
    run.log_video("clip", Path("clip.mp4"), fps=25)
    run.log_table("rows", [[1, 2]], columns=["a", "b"])
    run.log_curve("lr", [1, 2], [3, 4], x_label="x", y_label="y")
    run.log_pr_curve("pr", [0, 1], [0.1, 0.9], thresholds=11)
    run.log_roc_curve("roc", [0, 1], [0.1, 0.9], weights=[1, 2])
    run.log_mesh("bunny", [[0, 0, 0]], colors=[[255, 0, 0]], faces=[[0, 0, 0]])
    run.log_embedding("words", [[0.5, 1.0]], labels=["a"])
    run.log_graph("net", {"nodes": ["a"], "edges": []})
    run.log_model(Path("model"), "classifier", step=3, framework="pytorch", metadata={"accuracy": 0.5}, copy=False)
    run.register_model("digits", model="classifier", alias=["champion"], description="the best")
    run.use_dataset("s3://bucket/x", "digits", digest="abc", role="training")
    with run.child("fold-1") as child:
        assert_type(child, Run)
    assert_type(run.flush(timeout=1.0, durable=True), bool)
    assert_type(run.id, str)
    assert_type(run.directory, Path)
    assert_type(run.urls, dict[str, str])
    assert_type(run.active, bool)
    run.finish("failed")
    run.finish(Outcome.COMPLETED, timeout=1.0)
    tracelet.stop_logging()


def train_in_a_block(options: Mapping[str, Mapping[str, object]]) -> None:
    with tracelet.start_logging(options) as run:
        assert_type(run, Run)
    with tracelet.start_logging({"mlflow": {"tracking_uri": "http://host:5000", "delivery": {"linger": 1.0}}}):
        assert_type(tracelet.active_run(), Run | AsyncRun | None)


def account(run: Run) -> int:
    status = run.status()
    assert_type(status, RunStatus)
    assert_type(status.pending, dict[str, int])
    mlflow = status.backends["mlflow"]
    assert_type(mlflow, BackendStatus)
    assert_type(mlflow.dropped, dict[str, int])
    return mlflow.delivered + sum(mlflow.dropped.values()) + mlflow.dead_lettered + mlflow.pending


def late(run: Run) -> None:
    try:
        run.log_metric("loss", 0.5)
    except RunClosed as error:
        assert_type(error, RunClosed)
    except TraceletError:
        raise


# Misuse that a type checker finds.


def misuse(run: Run) -> None:
    run.log_metric("loss", "high")  # type: ignore[arg-type]
    run.log_metric(1, 0.5)  # type: ignore[arg-type]
    run.log_console("x", "stdin")  # type: ignore[arg-type]
    run.log_histogram("h", bins=None)  # type: ignore[arg-type]
    run.log_metric("loss", 0.5, context={"subset": object()})  # type: ignore[dict-item]
    tracelet.start_logging(resume="perhaps")  # type: ignore[arg-type]
    tracelet.start_logging(quotta=3)  # type: ignore[call-arg]


# Asynchronous code.


async def act() -> None:
    async with tracelet.open_run("mlflow", exp_name="agent", project="rl", host="loop") as run:
        assert_type(run, AsyncRun)
        run.log_metric("reward", 1.0, step=3)
        async with run.child("episode") as child:
            assert_type(child, AsyncRun)
        assert_type(await run.flush(timeout=1.0), bool)
        await run.finish(Outcome.KILLED)


# TensorBoard.


def board() -> None:
    with SummaryWriter("runs/mine", comment="c", flush_secs=10) as writer:
        assert_type(writer, SummaryWriter)
        writer.add_scalar("loss", 0.5, 1, walltime=1.0)
        writer.add_scalars("loss", {"train": 0.5, "val": 0.6}, global_step=1)
        writer.flush()


# A plugin.


class MineOptions(msgspec.Struct, forbid_unknown_fields=True):
    url: str = "http://host"
    token: Annotated[str | None, Secret] = None


class Mine:
    delivery = Delivery(batch_size=100, linger=0.1, when_behind="drop_oldest")
    handles: Mapping[type[Event], Support] = {
        MetricsLogged: native("charts"),
        ParamsLogged: mapped("a table"),
        ArtifactLogged: fallback("its name"),
    }
    idempotency = Idempotency.KEYED
    Options = MineOptions

    def __init__(self, options: MineOptions, run: RunInfo) -> None:
        self._options, self._run = options, run

    async def open(self, state: State | None) -> Opened:
        if self._options.token is None:
            raise Denied("no token")
        self._run.save_state({"id": self._run.id})
        if self._run.parent is not None:
            assert_type(self._run.parent.state, State | None)
        return Opened(state or {}, url=self._options.url)

    async def export(self, batch: Batch) -> None:
        for index, event in enumerate(batch.events):
            match event:
                case MetricsLogged(values=values, step=step, context=context):
                    assert_type(values, dict[str, int | float])
                    assert_type(step, int)
                    batch.degrade(index, f"{context} has no place")
                case ArtifactLogged(path=path):
                    assert_type(await self._run.blocking(len, path), int)
                case _:
                    raise Rejected("no such kind", indexes=[index])
        raise Transient("later", retry_after=1.0)

    async def finish(self, outcome: Outcome, time: float) -> None:
        assert_type(outcome, Outcome)
        raise Undelivered("the uploader died", {("0000", "stream"): 3})

    async def close(self) -> None: ...


def make(run: RunInfo) -> list[Backend]:
    return [Mine(MineOptions(), run), RecordingBackend(on_export=_fail)]


async def _fail(batch: Batch) -> None:
    raise Transient("later")


async def with_objects(backend: Backend) -> None:
    async with tracelet.open_run([backend, "mlflow", RecordingBackend()]):
        pass
    tracelet.start_logging(backend, host="thread")
