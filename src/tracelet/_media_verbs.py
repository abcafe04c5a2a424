"""The verbs for what is shown: images, figures, sound, video, tables, meshes, embeddings, tensors, graphs.

What is passed is written to a file before a verb returns, so that it may change afterwards; nothing is encoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tracelet import _payloads, _values
from tracelet._file_verbs import FileVerbs
from tracelet._payloads import Payload
from tracelet._verbs import _now
from tracelet.events import (
    AudioLogged,
    Context,
    EmbeddingLogged,
    FigureLogged,
    GraphLogged,
    ImageLogged,
    MediaLogged,
    MeshLogged,
    Scalar,
    TableLogged,
    TensorLogged,
    VideoLogged,
)
from tracelet.journal import Recorder

M = TypeVar("M", bound=MediaLogged)


class MediaVerbs(FileVerbs):
    """What can be shown; see `Run`.

    In all of these, `name`, `step`, `context` and `time` are as in `log_metric`, but counted apart from the metrics; a
    path is of a file that is copied before the verb returns. What has no sense (an empty image) or can't be written is
    a counted loss and a warning, not an exception (but with `strict`).

    Raises, all of these:
        TypeError: an argument has the wrong type.
        RunClosed: the run is finished.
        OSError, ValueError, ImportError: with `strict`, something can't be read or written, has no sense, or needs
            NumPy or matplotlib where there is none.
    """

    def log_image(
        self,
        name: str,
        image: Any,
        step: int | None = None,
        *,
        layout: str | None = None,
        caption: str | Sequence[str] = (),
        boxes: Any = None,
        labels: str | Sequence[str] = (),
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show an image, or several of one size.

        Args:
            image: an array or tensor, a PIL image, a path, an encoded image's bytes, or a sequence of arrays or PIL
                images. Floats are taken as 0 to 1, integers as 0 to 255.
            layout: of an array, the order of its axes, as in "HWC", "CHW", "HW" or "NCHW"; None guesses from the shape
                (and where both fit, takes tensors as "CHW" and arrays as "HWC").
            caption: one, or one per image.
            boxes: what is to be seen where: (n, 4), the left, top, right and bottom of each in pixels.
            labels: what is in the boxes.
        """
        captions = _values.strings(caption, "caption")
        words = _values.strings(labels, "labels")
        self._show(
            ImageLogged,
            (name, step, context, time),
            lambda: _payloads.image(image, None if layout is None else _values.string(layout, "layout")),
            lambda payload: {
                "layout": payload.layout,
                "captions": captions,
                "boxes": () if boxes is None else _payloads.boxes(boxes),
                "labels": words,
            },
        )

    def log_figure(
        self,
        name: str,
        figure: Any,
        step: int | None = None,
        *,
        layout: str | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a plot, or several of one size.

        Args:
            figure: a matplotlib figure or a sequence of them (drawn before this returns), an array of the pixels of
                what was drawn already, a plotly figure, or the path of an image.
            layout: of an array, as in `log_image`.
        """
        order = None if layout is None else _values.string(layout, "layout")
        self._show(FigureLogged, (name, step, context, time), lambda: _payloads.figure(figure, order))

    def log_audio(
        self,
        name: str,
        audio: Any,
        step: int | None = None,
        *,
        sample_rate: int = 44_100,
        caption: str = "",
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Let people hear something.

        Args:
            audio: an array or tensor (samples,) or (samples, channels) of floats from -1 to 1 or 16-bit integers; a
                path; or an encoded file's bytes.
            sample_rate: of an array, in Hz.
        """
        rate = positive(sample_rate, "sample_rate")
        words = _values.string(caption, "caption")
        self._show(
            AudioLogged,
            (name, step, context, time),
            lambda: _payloads.audio(audio),
            lambda _: {"sample_rate": rate, "caption": words},
        )

    def log_video(
        self,
        name: str,
        video: Any,
        step: int | None = None,
        *,
        fps: float = 4.0,
        layout: str | None = None,
        caption: str = "",
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a video.

        Args:
            video: an array or tensor of frames, a path, or an encoded file's bytes.
            fps: of an array, frames per second.
            layout: of an array, as in "THWC" or "NTCHW"; None guesses, as for images.
        """
        rate = _values.seconds(fps, "fps")
        if not 0.001 <= rate <= 1_000_000:
            raise TypeError(f"fps must be from 0.001 to 1,000,000, found {fps!r}")
        words = _values.string(caption, "caption")
        self._show(
            VideoLogged,
            (name, step, context, time),
            lambda: _payloads.video(video, None if layout is None else _values.string(layout, "layout")),
            lambda payload: {"layout": payload.layout, "fps": rate, "caption": words},
        )

    def log_table(
        self,
        name: str,
        table: Any,
        step: int | None = None,
        *,
        columns: Sequence[Any] | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a table.

        Args:
            table: a pandas or polars frame, a mapping of columns, a sequence of mappings, or rows. Cells are numbers,
                strings, bools or None; all else becomes text.
            columns: the names, for rows, or in place of the table's own.
        """
        self._show(TableLogged, (name, step, context, time), lambda: _payloads.table(table, columns))

    def log_mesh(
        self,
        name: str,
        vertices: Any,
        step: int | None = None,
        *,
        colors: Any = None,
        faces: Any = None,
        config: Mapping[str, Any] | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show points in space, or with `faces` a mesh.

        Args:
            vertices: (n, 3).
            colors: (n, 3), integers from 0 to 255.
            faces: (m, 3), the numbers of three vertices each.
            config: how to show it (camera, lights, material), as TensorBoard takes it.
        """
        shown = _values.mapping(config or {}, "config")
        self._show(
            MeshLogged,
            (name, step, context, time),
            lambda: _payloads.mesh(vertices, colors, faces),
            lambda _: {"config": _payloads.document(shown)},
        )

    def log_embedding(
        self,
        name: str,
        vectors: Any,
        step: int | None = None,
        *,
        labels: Sequence[Any] | None = None,
        columns: Sequence[Any] | None = None,
        images: Any = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show vectors that stand for things.

        Args:
            vectors: (n, d).
            labels: what the n things are called; or, with `columns`, n rows of what is known of them.
            columns: the names of the columns of `labels`.
            images: n pictures of the things, (n, height, width), (n, height, width, channels) or (n, channels, height,
                width).
        """
        self._show(
            EmbeddingLogged,
            (name, step, context, time),
            lambda: _payloads.embedding(vectors, labels, columns, images),
            lambda payload: {"layout": payload.layout},
        )

    def log_tensor(
        self,
        name: str,
        tensor: Any,
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Keep an array or tensor of numbers, of any shape, as it is."""
        self._show(TensorLogged, (name, step, context, time), lambda: _payloads.tensor(tensor))

    def log_graph(
        self,
        name: str,
        graph: Any,
        step: int | None = None,
        *,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show how a model computes.

        Args:
            graph: a torch module, whose parts and their parts are shown; a networkx graph; a mapping of "nodes"
                (names, or mappings with "id", "op" and "label") and "edges" (pairs of names); or a path.
        """
        self._show(GraphLogged, (name, step, context, time), lambda: _payloads.graph(graph))

    def _show(
        self,
        kind: type[M],
        where: Where,
        prepare: Callable[[], Payload],
        more: Callable[[Payload], dict[str, Any]] = lambda _: {},
    ) -> None:
        """Write the payload to a file, and say that it is there."""
        name, step, context, time = where
        label = _values.string(name, "name")
        pairs: Context = () if context is None else _values.context_pairs(context)
        given = None if step is None else _values.integer(step, "step")
        moment = _now() if time is None else _values.seconds(time, "time")

        def record(recorder: Recorder) -> None:
            payload = prepare()
            if isinstance(payload.content, Path):
                place = recorder.copy_in(payload.content, expendable=True)
            else:
                place = recorder.write_in(payload.content, payload.format)
            stat = (self.directory / place).stat()
            at = self._count((kind, label, pairs)) if given is None else given
            file = (label, str(place), stat.st_size, stat.st_mtime_ns, True, at, pairs, payload.format)
            self._publish(kind(moment, *file, **more(payload)), bulk=True)

        self._record(f"log_{kind.__name__.removesuffix('Logged').lower()}({label!r:.80})", record)


def positive(value: Any, argument: str) -> int:
    """An integer of at least 1. Raises TypeError."""
    number = _values.integer(value, argument)
    if number < 1:
        raise TypeError(f"{argument} must be at least 1, found {number}")
    return number


Where = tuple[str, int | None, Mapping[str, Scalar] | None, float | None]
"""A name, a step, a context and a time, as they were given."""
