"""From a call of a SummaryWriter's method to the events it stands for: one converter for each method.

A converter takes the run, the writer and the context of its log directory, then the arguments exactly as the writer's
method takes them, so that Python itself binds them. The parameters are those of torch's writer; where tensorboardX's
differ in their order, `_flavours` has a converter of its own. What later versions of theirs add is let through.
TensorBoard's words end here: tag becomes name, global_step step, and walltime time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tracelet.tensorboard import _values as values

if TYPE_CHECKING:
    from tracelet.run import AsyncRun, Run
    from tracelet.tensorboard._logdirs import Context

    Logger: TypeAlias = Run | AsyncRun

Converter: TypeAlias = Callable[..., None]

GRAPH = "graph"
"""What graphs are called, to which TensorBoard gives no tags."""


def add_scalar(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    scalar_value: Any,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """One metric. Where the run reads values on a device later, a tensor is left to it."""
    value = scalar_value if run.defers and values.is_single(scalar_value) else values.number(scalar_value)
    run.log_metric(tag, value, **_where(writer, context, global_step, walltime))


def add_scalars(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    main_tag: str,
    tag_scalar_dict: Mapping[str, Any],
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """One event with a metric `main_tag/tag` for each entry; none for no entries."""
    metrics = {f"{main_tag}/{tag}": values.number(value) for tag, value in tag_scalar_dict.items()}
    if metrics:
        run.log_metrics(metrics, **_where(writer, context, global_step, walltime))


def add_hparams(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    hparam_dict: Mapping[str, Any],
    metric_dict: Mapping[str, Any],
    hparam_domain_discrete: Mapping[str, Any] | None = None,
    run_name: str | None = None,
    global_step: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A trial, and its metrics under their own names.

    The original adds these as scalars of a nested writer, in a log directory named after the second. Seen as such, each
    call would bring a context of its own.
    """
    run.log_hparams(
        {name: values.parameter(value) for name, value in hparam_dict.items()},
        {name: values.number(value) for name, value in metric_dict.items()},
        domains=hparam_domain_discrete,
        name=run_name or "",
        **_where(writer, context, global_step, None),
    )


def add_tensor(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A tensor."""
    run.log_tensor(tag, tensor, **_where(writer, context, global_step, walltime))


def add_histogram(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    values: Any,
    global_step: Any = None,
    bins: Any = "tensorflow",
    walltime: Any = None,
    max_bins: int | None = None,
    *_: Any,
    **__: Any,
) -> None:
    """A histogram of the values themselves, which are counted at delivery, by the same rule."""
    where = _where(writer, context, global_step, walltime)
    run.log_histogram(tag, _several(values), bins=bins, max_bins=max_bins, **where)


def add_histogram_raw(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    min: float,  # noqa: A002 - the names are torch's
    max: float,  # noqa: A002
    num: int,
    sum: float,  # noqa: A002
    sum_squares: float,
    bucket_limits: Any,
    bucket_counts: Any,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A histogram that is counted already."""
    counts, edges = values.buckets(min, max, bucket_limits, bucket_counts)
    run.log_histogram(tag, counts=counts, edges=edges, **_where(writer, context, global_step, walltime))


def add_image(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    img_tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    dataformats: str = "CHW",
    *_: Any,
    **__: Any,
) -> None:
    """An image, or several."""
    where = _where(writer, context, global_step, walltime)
    run.log_image(tag, values.pixels(img_tensor), layout=dataformats, **where)


def add_images(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    img_tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    dataformats: str = "NCHW",
    *_: Any,
    **__: Any,
) -> None:
    """Images, each by itself; TensorBoard shows a grid. tensorboardX takes a list, but in these two layouts only."""
    if isinstance(img_tensor, list):
        if dataformats.upper() not in ("CHW", "HWC"):
            return
        img_tensor = [values.pixels(one) for one in img_tensor]
    else:
        img_tensor = values.pixels(img_tensor)
    run.log_image(tag, img_tensor, layout=dataformats, **_where(writer, context, global_step, walltime))


def add_image_with_boxes(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    img_tensor: Any,
    box_tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    rescale: float = 1,
    dataformats: str = "CHW",
    labels: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """An image, in its own size whatever `rescale` is, with boxes. Labels that aren't as many are left out."""
    words = [labels] if isinstance(labels, str) else [] if labels is None else [str(label) for label in labels]
    run.log_image(
        tag,
        values.pixels(img_tensor),
        layout=dataformats,
        boxes=values.array(box_tensor)[:, :4],
        labels=words if len(words) == len(box_tensor) else (),
        **_where(writer, context, global_step, walltime),
    )


def add_figure(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    figure: Any,
    global_step: Any = None,
    close: bool = True,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A plot, or several; drawn here, if the original's drawing could not be had."""
    run.log_figure(tag, figure, **_where(writer, context, global_step, walltime))


def add_drawn_figure(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    img_tensor: Any,
    global_step: Any = None,
    walltime: Any = None,
    dataformats: str = "CHW",
    *_: Any,
    **__: Any,
) -> None:
    """A plot, or several, as `add_figure` has drawn them for `add_image`."""
    run.log_figure(tag, img_tensor, layout=dataformats, **_where(writer, context, global_step, walltime))


def add_video(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    vid_tensor: Any,
    global_step: Any = None,
    fps: float = 4,
    walltime: Any = None,
    dataformats: str = "NTCHW",
    *_: Any,
    **__: Any,
) -> None:
    """Videos, one after the other; TensorBoard shows a grid."""
    where = _where(writer, context, global_step, walltime)
    run.log_video(tag, values.pixels(vid_tensor), fps=fps, layout=dataformats, **where)


def add_audio(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    snd_tensor: Any,
    global_step: Any = None,
    sample_rate: int = 44100,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """Sound."""
    where = _where(writer, context, global_step, walltime)
    run.log_audio(tag, values.samples(snd_tensor), sample_rate=int(sample_rate), **where)


def add_text(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    text_string: str,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A text."""
    run.log_text(tag, text_string, **_where(writer, context, global_step, walltime))


def add_graph(
    run: Logger, writer: object, context: Context | None, /, model: Any, input_to_model: Any = None, *_: Any, **__: Any
) -> None:
    """The parts of a model, and their parts. The operations that tracing finds are in TensorBoard's files only."""
    run.log_graph(GRAPH, model, **_where(writer, context, None, None))


def add_onnx_graph(run: Logger, writer: object, context: Context | None, /, prototxt: Any, *_: Any, **__: Any) -> None:
    """The file of a model, as it is."""
    run.log_graph(GRAPH, Path(prototxt), **_where(writer, context, None, None))


def add_openvino_graph(
    run: Logger, writer: object, context: Context | None, /, xmlname: Any, *_: Any, **__: Any
) -> None:
    """The file of a model, as it is."""
    run.log_graph(GRAPH, Path(xmlname), **_where(writer, context, None, None))


def add_embedding(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    mat: Any,
    metadata: Sequence[Any] | None = None,
    label_img: Any = None,
    global_step: Any = None,
    tag: str = "default",
    metadata_header: Sequence[str] | None = None,
    *_: Any,
    **__: Any,
) -> None:
    """Vectors, what they are called, and their pictures."""
    columns = list(metadata_header) if metadata_header and metadata is not None else None
    labels = None if metadata is None else list(metadata)
    run.log_embedding(
        tag,
        mat,
        labels=labels if columns is None or labels is None else [list(row) for row in labels],
        columns=columns,
        images=None if label_img is None else values.channels_last(values.pixels(label_img)),
        **_where(writer, context, global_step, None),
    )


def add_pr_curve(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    labels: Any,
    predictions: Any,
    global_step: Any = None,
    num_thresholds: int = 127,
    weights: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """Precision over recall. TensorBoard has 127 thresholds at most."""
    where = _where(writer, context, global_step, walltime)
    thresholds = min(num_thresholds, 127)
    weights = values.alike(weights, labels)
    run.log_pr_curve(tag, labels, predictions, weights=weights, thresholds=thresholds, **where)


def add_pr_curve_raw(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    true_positive_counts: Any,
    false_positive_counts: Any,
    true_negative_counts: Any,
    false_negative_counts: Any,
    precision: Any,
    recall: Any,
    global_step: Any = None,
    num_thresholds: int = 127,
    weights: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """Precision over recall, as they are computed already."""
    counts = {
        "true_positives": true_positive_counts,
        "false_positives": false_positive_counts,
        "true_negatives": true_negative_counts,
        "false_negatives": false_negative_counts,
    }
    where = _where(writer, context, global_step, walltime)
    run.log_pr_curve(tag, precision=precision, recall=recall, counts=counts, **where)


def add_custom_scalars(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    layout: Mapping[str, Mapping[str, Sequence[Any]]],
    *_: Any,
    **__: Any,
) -> None:
    """An arrangement of charts; what isn't a margin chart has many lines."""
    run.set_layout(
        {
            category: {
                title: ("Margin" if chart[0] == "Margin" else "Multiline", _tags(chart[1]))
                for title, chart in charts.items()
            }
            for category, charts in layout.items()
        }
    )


def add_custom_scalars_multilinechart(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tags: Sequence[str],
    category: str = "default",
    title: str = "untitled",
    *_: Any,
    **__: Any,
) -> None:
    """One chart of many lines."""
    run.set_layout({category: {title: ("Multiline", _tags(tags))}})


def add_custom_scalars_marginchart(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tags: Sequence[str],
    category: str = "default",
    title: str = "untitled",
    *_: Any,
    **__: Any,
) -> None:
    """One chart of a value between its bounds."""
    run.set_layout({category: {title: ("Margin", _tags(tags))}})


def add_mesh(
    run: Logger,
    writer: object,
    context: Context | None,
    /,
    tag: str,
    vertices: Any,
    colors: Any = None,
    faces: Any = None,
    config_dict: Mapping[str, Any] | None = None,
    global_step: Any = None,
    walltime: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    """A mesh; of several in a batch each, named `tag/0`, `tag/1` and so on."""
    where = _where(writer, context, global_step, walltime)
    points = values.array(vertices)
    for number, one in enumerate(points):
        run.log_mesh(
            tag if len(points) == 1 else f"{tag}/{number}",
            one,
            colors=values.of_batch(values.shades(colors), number),
            faces=values.of_batch(None if faces is None else values.array(faces), number),
            config=config_dict,
            **where,
        )


def _tags(given: Any) -> list[str]:
    """Names of metrics. TypeError: they can be read but once, and the original has done so."""
    if not hasattr(given, "__len__"):
        raise TypeError(f"tags must be a sequence, found {type(given)}")
    return list(given)


def metadata_of(writer: Any) -> Mapping[str, Any] | None:
    """What tensorboardX's `use_metadata` says at the moment."""
    return getattr(getattr(writer, "file_writer", None), "_default_metadata", None)


def _where(writer: object, context: Context | None, global_step: Any, walltime: Any) -> dict[str, Any]:
    """Step, time and context, as the verbs take them.

    tensorboardX's `use_metadata` says step and time for the calls inside of it that say none themselves.
    """
    metadata = metadata_of(writer)
    if metadata:
        global_step = metadata.get("global_step") if global_step is None else global_step
        walltime = metadata.get("walltime") if walltime is None else walltime
    return {"step": values.step(global_step), "context": context, "time": values.time(walltime)}


def _several(given: Any) -> Any:
    """Values as the verbs take them, which have no use for NumPy's matrices and single numbers."""
    return given if hasattr(given, "shape") or isinstance(given, Sequence) else [given]


METHODS: Mapping[str, Converter] = {
    converter.__name__: converter
    for converter in (
        add_scalar,
        add_scalars,
        add_hparams,
        add_tensor,
        add_histogram,
        add_histogram_raw,
        add_image,
        add_images,
        add_image_with_boxes,
        add_figure,
        add_video,
        add_audio,
        add_text,
        add_graph,
        add_onnx_graph,
        add_embedding,
        add_pr_curve,
        add_pr_curve_raw,
        add_custom_scalars,
        add_custom_scalars_multilinechart,
        add_custom_scalars_marginchart,
        add_mesh,
    )
}
"""The converters by the names of torch's methods."""
