"""A SummaryWriter that writes to the active run: for code that needs neither torch nor TensorBoard."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import tracelet.run
from tracelet.tensorboard import _converters as convert
from tracelet.tensorboard import _rules as rules
from tracelet.tensorboard._file_writer import FileWriter
from tracelet.tensorboard._logdirs import context_of

if TYPE_CHECKING:
    from typing import Self

    from tracelet.tensorboard._converters import Converter

_logger = logging.getLogger("tracelet")


class SummaryWriter:
    """Logs to the active run through the methods of torch's and tensorboardX's SummaryWriter.

    Takes the arguments of both constructors, and of torch's methods in torch's order, with tensorboardX's names for
    them as keywords. No directory and no file is made, but with `write_tensorboard`: the log directory only tells the
    points of several writers apart, by their context. Misuse raises what torch's writer raises; without an active run
    the calls have no effect, and the first one logs a warning. What is written after `close()` is logged as before it.

    In all methods:

    - `tag` is the name.
    - `global_step` is anything that `int()` takes; None counts the calls of each tag.
    - `walltime` is in seconds since the epoch; None is now.
    - Arrays are NumPy's, or tensors on any device, which are waited for. They may change after the call.
    - RunClosed is raised when the active run was finished.

    Args:
        log_dir: `logdir` is the same; by default runs/<date>_<time>_<host>, followed by `comment`.
        purge_step, max_queue, flush_secs, filename_suffix, write_to_disk, comet_config: about event files; without
            `write_tensorboard` they have no effect.
        write_tensorboard: also write event files for TensorBoard, by torch's or tensorboardX's own writer.

    Raises:
        ImportError: with `write_tensorboard`, there is neither torch with tensorboard nor tensorboardX.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        write_to_disk: bool = True,
        *,
        logdir: str | os.PathLike[str] | None = None,
        comet_config: Mapping[str, Any] | None = None,
        write_tensorboard: bool = False,
    ) -> None:
        self.log_dir = log_dir or logdir or _default_log_dir(comment)
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] | None = None
        self._warned = False
        self._files = None
        self._get_file_writer()
        if write_tensorboard:
            from tracelet.tensorboard._event_files import EventFiles

            self._files = EventFiles(
                log_dir=os.fspath(self.log_dir),
                purge_step=purge_step,
                max_queue=max_queue,
                flush_secs=flush_secs,
                filename_suffix=filename_suffix,
            )

    @property
    def logdir(self) -> str | os.PathLike[str]:
        """The log directory, by tensorboardX's name."""
        return self.log_dir

    def get_logdir(self) -> str | os.PathLike[str]:
        """The log directory, by torch's name."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
        display_name: str | None = None,
        summary_description: str | None = None,
    ) -> None:
        """Log a metric.

        Args:
            scalar_value: a number, or an array or tensor with one element.
            new_style, double_precision, display_name, summary_description: about event files.

        Raises:
            NotImplementedError, AssertionError, ValueError, TypeError: for a value that isn't one number (None; an
                array with more elements; a string that doesn't spell a number; a complex number).
        """
        if self._files is None and type(scalar_value) is float and type(global_step) is int and walltime is None:
            run = tracelet.run.active_run()  # the usual call is the one that has to be fast
            if run is not None:
                context = context_of(run, self.log_dir)
                if context is None and not convert.metadata_of(self):
                    run.log_metric(tag, scalar_value, global_step)
                    return
        rules.scalar(scalar_value)
        self._say(
            convert.add_scalar,
            tag=tag,
            scalar_value=scalar_value,
            global_step=global_step,
            walltime=walltime,
            new_style=new_style,
            double_precision=double_precision,
            display_name=display_name,
            summary_description=summary_description,
        )

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Log several metrics at one step, named `main_tag/tag`; values and errors as in `add_scalar`."""
        for value in tag_scalar_dict.values():
            rules.scalar(value)
        self._say(
            convert.add_scalars,
            main_tag=main_tag,
            tag_scalar_dict=tag_scalar_dict,
            global_step=global_step,
            walltime=walltime,
        )

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        """State a trial: hyperparameters, and the metrics that measure its success.

        Args:
            hparam_dict: bools, numbers, strings, None, or tensors with one element.
            metric_dict: numbers; logged as metrics of these names.
            hparam_domain_discrete: what a hyperparameter could have been.
            run_name: of the trial; `name` is the same.

        Raises:
            TypeError: no dicts, or a domain that doesn't fit its hyperparameter.
            ValueError: a hyperparameter of another type.
        """
        rules.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        for value in metric_dict.values():
            rules.scalar(value)
        self._say(
            convert.add_hparams,
            hparam_dict=hparam_dict,
            metric_dict=metric_dict,
            hparam_domain_discrete=hparam_domain_discrete,
            run_name=run_name or name,
            global_step=global_step,
        )

    def add_tensor(
        self,
        tag: str,
        tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Keep a tensor, or an array, of any shape.

        Raises:
            AttributeError: neither.
        """
        rules.tensor(tensor)
        self._say(convert.add_tensor, tag=tag, tensor=tensor, global_step=global_step, walltime=walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: Any = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Show how values are distributed.

        Args:
            values: of any shape.
            bins: a number of bins, their edges, "tensorflow", or a rule of `numpy.histogram_bin_edges`.
            max_bins: neighbouring bins are put together until there are about so many.

        Raises:
            NotImplementedError: no array, tensor or number.
            ValueError, TypeError: no values, or bins that aren't any.
        """
        rules.histogram(values, bins)
        self._say(
            convert.add_histogram,
            tag=tag,
            values=values,
            global_step=global_step,
            bins=bins,
            walltime=walltime,
            max_bins=max_bins,
        )

    def add_histogram_raw(
        self,
        tag: str,
        min: float,  # noqa: A002
        max: float,  # noqa: A002
        num: int,
        sum: float,  # noqa: A002
        sum_squares: float,
        bucket_limits: Any,
        bucket_counts: Any,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Show a histogram that is counted already.

        Args:
            min, max: the smallest and the largest value.
            num, sum, sum_squares: of the values; for TensorBoard.
            bucket_limits: the upper end of each bin.
            bucket_counts: as many.

        Raises:
            ValueError: not as many counts as limits.
        """
        rules.histogram_raw(bucket_limits, bucket_counts)
        self._say(
            convert.add_histogram_raw,
            tag=tag,
            min=min,
            max=max,
            num=num,
            sum=sum,
            sum_squares=sum_squares,
            bucket_limits=bucket_limits,
            bucket_counts=bucket_counts,
            global_step=global_step,
            walltime=walltime,
        )

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Show an image.

        Args:
            img_tensor: 8-bit integers are taken as 0 to 255, all else as 0 to 1.
            dataformats: the order of the axes: H and W, perhaps C (1, 3 or 4 channels), perhaps N (several images).

        Raises:
            NotImplementedError: no array or tensor.
            AssertionError: the shape doesn't fit.
            TypeError: another number of channels.
        """
        rules.image(img_tensor, dataformats)
        self._say(
            convert.add_image,
            tag=tag,
            img_tensor=img_tensor,
            global_step=global_step,
            walltime=walltime,
            dataformats=dataformats,
        )

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Show several images of one size; see `add_image`."""
        rules.image(img_tensor, dataformats)
        self._say(
            convert.add_images,
            tag=tag,
            img_tensor=img_tensor,
            global_step=global_step,
            walltime=walltime,
            dataformats=dataformats,
        )

    def add_image_with_boxes(
        self,
        tag: str,
        img_tensor: Any,
        box_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        rescale: float = 1,
        dataformats: str = "CHW",
        labels: Any = None,
    ) -> None:
        """Show an image with boxes; see `add_image`.

        Args:
            box_tensor: (n, 4): left, top, right, bottom, in pixels of the image.
            rescale: about event files.
            labels: n strings, or one; another number of them is left out.

        Raises:
            As `add_image`; and IndexError: no boxes.
        """
        rules.image(img_tensor, dataformats)
        rules.boxes(box_tensor)
        self._say(
            convert.add_image_with_boxes,
            tag=tag,
            img_tensor=img_tensor,
            box_tensor=box_tensor,
            global_step=global_step,
            walltime=walltime,
            rescale=rescale,
            dataformats=dataformats,
            labels=labels,
        )

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: Any = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """Show a figure of matplotlib, or a list of figures of one size, which are drawn before this returns.

        Args:
            close: close the figures in pyplot afterwards.

        Raises:
            AttributeError: no figure of matplotlib.
        """
        rules.figure(figure)
        self._say(convert.add_figure, tag=tag, figure=figure, global_step=global_step, close=close, walltime=walltime)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if close and pyplot is not None:
            for one in figure if isinstance(figure, list) else [figure]:
                pyplot.close(one)

    def add_video(
        self,
        tag: str,
        vid_tensor: Any,
        global_step: Any = None,
        fps: float = 4,
        walltime: float | None = None,
        dataformats: str = "NTCHW",
    ) -> None:
        """Show a video; several in one array are shown one after the other.

        Args:
            vid_tensor: 8-bit integers are taken as 0 to 255, all else as 0 to 1.
            fps: frames per second.
            dataformats: the order of the five axes.

        Raises:
            NotImplementedError: no array or tensor.
            ValueError: not five axes.
        """
        rules.video(vid_tensor)
        self._say(
            convert.add_video,
            tag=tag,
            vid_tensor=vid_tensor,
            global_step=global_step,
            fps=fps,
            walltime=walltime,
            dataformats=dataformats,
        )

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: Any = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """Let people hear something.

        Args:
            snd_tensor: (1, samples) or (samples,), from -1 to 1.
            sample_rate: in Hz.

        Raises:
            NotImplementedError: no array or tensor.
            AssertionError, ValueError: more than one channel; no samples.
        """
        rules.audio(snd_tensor)
        self._say(
            convert.add_audio,
            tag=tag,
            snd_tensor=snd_tensor,
            global_step=global_step,
            sample_rate=sample_rate,
            walltime=walltime,
        )

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Write a text.

        Raises:
            AttributeError: no text.
        """
        rules.text(text_string)
        self._say(convert.add_text, tag=tag, text_string=text_string, global_step=global_step, walltime=walltime)

    def add_graph(
        self,
        model: Any,
        input_to_model: Any = None,
        verbose: bool = False,
        use_strict_trace: bool = True,
    ) -> None:
        """Show the parts of a torch module, and theirs. It isn't traced: the other arguments are about event files."""
        self._say(
            convert.add_graph,
            model=model,
            input_to_model=input_to_model,
            verbose=verbose,
            use_strict_trace=use_strict_trace,
        )

    def add_embedding(
        self,
        mat: Any,
        metadata: Sequence[Any] | None = None,
        label_img: Any = None,
        global_step: Any = None,
        tag: str = "default",
        metadata_header: Sequence[str] | None = None,
    ) -> None:
        """Show vectors that stand for things.

        Args:
            mat: (n, d).
            metadata: n labels; or with `metadata_header` n rows.
            label_img: n images, (n, C, H, W).
            metadata_header: the names of the columns.

        Raises:
            NotImplementedError: no array or tensor.
            AssertionError: not (n, d), or not n labels or images.
        """
        rules.embedding(mat, metadata, label_img, metadata_header)
        self._say(
            convert.add_embedding,
            mat=mat,
            metadata=metadata,
            label_img=label_img,
            global_step=global_step,
            tag=tag,
            metadata_header=metadata_header,
        )

    def add_pr_curve(
        self,
        tag: str,
        labels: Any,
        predictions: Any,
        global_step: Any = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Show a classifier's precision over its recall.

        Args:
            labels: 0 or 1.
            predictions: from 0 to 1.
            num_thresholds: how many points the curve has, 127 at most.
            weights: of the examples.

        Raises:
            NotImplementedError: no array or tensor.
            ValueError: not as many predictions as labels.
        """
        rules.pr_curve(labels, predictions)
        self._say(
            convert.add_pr_curve,
            tag=tag,
            labels=labels,
            predictions=predictions,
            global_step=global_step,
            num_thresholds=num_thresholds,
            weights=weights,
            walltime=walltime,
        )

    def add_pr_curve_raw(
        self,
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
        walltime: float | None = None,
    ) -> None:
        """Show precision over recall, computed already at ascending thresholds that are evenly spaced in [0, 1].

        Raises:
            ValueError: not as many numbers in each.
        """
        rules.pr_curve_raw(
            true_positive_counts,
            false_positive_counts,
            true_negative_counts,
            false_negative_counts,
            precision,
            recall,
        )
        self._say(
            convert.add_pr_curve_raw,
            tag=tag,
            true_positive_counts=true_positive_counts,
            false_positive_counts=false_positive_counts,
            true_negative_counts=true_negative_counts,
            false_negative_counts=false_negative_counts,
            precision=precision,
            recall=recall,
            global_step=global_step,
            num_thresholds=num_thresholds,
            weights=weights,
            walltime=walltime,
        )

    def add_custom_scalars(
        self,
        layout: Mapping[str, Mapping[str, Sequence[Any]]],
    ) -> None:
        """Arrange charts: by category and title `["Multiline", tags]` or `["Margin", [value, lower, upper]]`.

        Raises:
            AttributeError: no mapping of mappings.
            AssertionError: a margin chart without three tags.
        """
        rules.custom_scalars(layout)
        self._say(convert.add_custom_scalars, layout=layout)

    def add_custom_scalars_multilinechart(
        self,
        tags: Sequence[str],
        category: str = "default",
        title: str = "untitled",
    ) -> None:
        """Arrange one chart of several metrics."""
        self._say(convert.add_custom_scalars_multilinechart, tags=tags, category=category, title=title)

    def add_custom_scalars_marginchart(
        self,
        tags: Sequence[str],
        category: str = "default",
        title: str = "untitled",
    ) -> None:
        """Arrange one chart of a value, its lower and its upper bound.

        Raises:
            AssertionError: not three tags.
        """
        rules.margin(tags)
        self._say(convert.add_custom_scalars_marginchart, tags=tags, category=category, title=title)

    def add_mesh(
        self,
        tag: str,
        vertices: Any,
        colors: Any = None,
        faces: Any = None,
        config_dict: Mapping[str, Any] | None = None,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Show meshes, or points in space.

        Args:
            vertices: (B, N, 3).
            colors: (B, N, 3), integers from 0 to 255 or floats from 0 to 1.
            faces: (B, M, 3), the numbers of vertices.
            config_dict: how to show them, in the words of three.js.

        Raises:
            TypeError: no array or tensor.
            ValueError: not three axes, of which the last has three numbers.
        """
        rules.mesh(vertices, colors, faces)
        self._say(
            convert.add_mesh,
            tag=tag,
            vertices=vertices,
            colors=colors,
            faces=faces,
            config_dict=config_dict,
            global_step=global_step,
            walltime=walltime,
        )

    def add_onnx_graph(self, prototxt: Any = None, *, onnx_model_file: Any = None) -> None:
        """Keep the file of a model; `onnx_model_file` is the same.

        Raises:
            FileNotFoundError: there is none.
        """
        path = onnx_model_file if prototxt is None else prototxt
        rules.graph_file(path)
        self._say(convert.add_onnx_graph, prototxt=path)

    def add_openvino_graph(self, xmlname: Any) -> None:
        """Keep the file of a model; see `add_onnx_graph`."""
        rules.graph_file(xmlname)
        self._say(convert.add_openvino_graph, xmlname=xmlname)

    @contextmanager
    def use_metadata(self, *, global_step: Any = None, walltime: float | None = None) -> Iterator[Self]:
        """Step and time of the calls inside of the block that say none themselves, as tensorboardX has it.

        Raises:
            AssertionError: neither is given, or there is such a block around this one.
        """
        writer = self._get_file_writer()
        if writer._default_metadata or (global_step is None and walltime is None):
            raise AssertionError("use_metadata needs global_step or walltime, and can't be nested")
        writer._default_metadata = {"global_step": global_step, "walltime": walltime}
        try:
            yield self
        finally:
            writer._default_metadata = {}

    def flush(self) -> None:
        """Write event files, if there are any. What was logged is in the run's journal already; `Run.flush` waits for
        the backends."""
        if self._files is not None:
            self._files.flush()

    def close(self) -> None:
        """Close event files, if there are any. The run goes on, and so may the writer."""
        if self._files is not None:
            self._files.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _get_file_writer(self) -> FileWriter:
        """What takes TensorBoard's own events, as in torch and tensorboardX."""
        if self.file_writer is None:
            self.file_writer = FileWriter(os.fspath(self.log_dir))
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
        return self.file_writer

    def _say(self, converter: Converter, **arguments: Any) -> None:
        if self._files is not None:
            self._files.tell(converter.__name__, arguments)
        run = tracelet.run.active_run()
        if run is not None:
            converter(run, self, context_of(run, self.log_dir), **arguments)
        elif not self._warned:
            self._warned = True
            _logger.warning(
                "there is no active run: what SummaryWriter(%r) is given is not recorded. "
                "Call tracelet.start_logging() before",
                os.fspath(self.log_dir),
            )


def _default_log_dir(comment: str) -> str:
    now = datetime.now().strftime("%b%d_%H-%M-%S")  # noqa: DTZ005  (local time, as in TensorBoard's own)
    return os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
