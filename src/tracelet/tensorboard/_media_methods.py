"""The methods of our SummaryWriter for what is shown: pictures, sound, distributions, vectors, graphs, curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracelet.tensorboard import _converters as convert
from tracelet.tensorboard import _rules as rules

if TYPE_CHECKING:
    from tracelet.tensorboard._converters import Converter


class MediaMethods:
    """See `SummaryWriter`."""

    def _say(self, converter: Converter, **arguments: Any) -> None:
        raise NotImplementedError

    def add_tensor(
        self,
        tag: str,
        tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Keep a tensor, or an array, of any shape.

        Raises:
            AttributeError: `tensor` is neither.
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
        found = rules.histogram(values, bins)
        self._say(
            convert.add_histogram,
            tag=tag,
            values=found,
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
            img_tensor: unsigned 8-bit integers are taken as 0 to 255, all else as 0 to 1.
            dataformats: the order of the axes: H and W, perhaps C (1 to 4 channels), perhaps N (several images).

        Raises:
            NotImplementedError: no array or tensor.
            AssertionError: the shape doesn't fit.
            TypeError: another number of channels.
        """
        pixels = rules.image(img_tensor, dataformats)
        self._say(
            convert.add_image,
            tag=tag,
            img_tensor=pixels,
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
        pixels = rules.image(img_tensor, dataformats)
        self._say(
            convert.add_images,
            tag=tag,
            img_tensor=pixels,
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
        pixels = rules.image(img_tensor, dataformats)
        found = rules.boxes(box_tensor)
        self._say(
            convert.add_image_with_boxes,
            tag=tag,
            img_tensor=pixels,
            box_tensor=found,
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
            vid_tensor: unsigned 8-bit integers are taken as 0 to 255, all else as 0 to 1.
            fps: frames per second.
            dataformats: the order of the five axes.

        Raises:
            NotImplementedError: no array or tensor.
            ValueError: not five axes.
        """
        frames = rules.video(vid_tensor)
        self._say(
            convert.add_video,
            tag=tag,
            vid_tensor=frames,
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
        sound = rules.audio(snd_tensor)
        self._say(
            convert.add_audio,
            tag=tag,
            snd_tensor=sound,
            global_step=global_step,
            sample_rate=sample_rate,
            walltime=walltime,
        )

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
        vectors = rules.embedding(mat, metadata, label_img, metadata_header)
        self._say(
            convert.add_embedding,
            mat=vectors,
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
        true, guessed = rules.pr_curve(labels, predictions)
        self._say(
            convert.add_pr_curve,
            tag=tag,
            labels=true,
            predictions=guessed,
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
            colors: (B, N, 3), integers from 0 to 255, or floats from 0 to 1 (or to 255, if one is beyond 1).
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
