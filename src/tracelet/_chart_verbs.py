"""The verbs for charts: histograms, curves, trials that are compared, and how charts are arranged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracelet import _payloads, _values
from tracelet._media_verbs import MediaVerbs, Where, positive
from tracelet._verbs import _now
from tracelet.events import CurveLogged, HistogramLogged, HParamsLogged, LayoutSet, Number, Scalar

_RULES = ("tensorflow", "auto", "doane", "fd", "rice", "scott", "sqrt", "stone", "sturges")
_CHARTS = {"Multiline": None, "Margin": 3}


class ChartVerbs(MediaVerbs):
    """What is drawn of numbers; arguments and errors are as in `MediaVerbs`; see `Run`."""

    def log_histogram(
        self,
        name: str,
        values: Any = None,
        step: int | None = None,
        *,
        counts: Any = None,
        edges: Any = None,
        bins: int | str | Sequence[float] = 64,
        max_bins: int | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show how values are distributed: an array or tensor of any shape; or n `counts` and n + 1 `edges`.

        Args:
            bins: how many equal bins to sort values into; or the edges of bins; or a rule that chooses them:
                "tensorflow" (TensorBoard's), or one of `numpy.histogram_bin_edges`, for instance "auto".
            max_bins: neighbouring bins are put together until there are about so many.
        """
        at_most = 0 if max_bins is None else positive(max_bins, "max_bins")
        rule, number, given = "", 64, edges
        if isinstance(bins, str):
            rule = str(bins)  # NumPy has strings of its own
            if rule not in _RULES:
                raise TypeError(f"bins must be a number, edges, or one of {', '.join(_RULES)}, found {bins!r}")
        elif hasattr(bins, "__len__"):
            given = bins if edges is None else edges
        else:
            number = positive(bins, "bins")
        self._show(
            HistogramLogged,
            (name, step, context, time),
            lambda: _payloads.histogram(values, counts, given),
            lambda _: {"bins": number, "rule": rule, "max_bins": at_most},
        )

    def log_curve(
        self,
        name: str,
        x: Any,
        y: Any,
        step: int | None = None,
        *,
        x_label: str = "",
        y_label: str = "",
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a line through points, whose coordinates are two arrays of one length."""
        labels = {"x_label": _values.string(x_label, "x_label"), "y_label": _values.string(y_label, "y_label")}
        self._show(CurveLogged, (name, step, context, time), lambda: _payloads.line(x, y), lambda _: labels)

    def log_pr_curve(
        self,
        name: str,
        labels: Any = None,
        predictions: Any = None,
        step: int | None = None,
        *,
        weights: Any = None,
        thresholds: int = 127,
        precision: Any = None,
        recall: Any = None,
        counts: Mapping[str, Any] | None = None,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a classifier's precision over its recall, from labels and predictions or as computed already.

        Args:
            labels: what is true, 0 or 1.
            predictions: how sure the classifier is of 1, from 0 to 1.
            weights: of the examples.
            thresholds: how many points the curve has.
            precision, recall: in place of the others, the points at ascending thresholds, evenly spaced from 0 to 1.
            counts: at these thresholds, "true_positives", "false_positives", "true_negatives", "false_negatives".
        """
        where = (name, step, context, time)
        if precision is None and recall is None:
            self._classified("pr", where, labels, predictions, weights, thresholds)
            return
        if labels is not None or predictions is not None:
            raise TypeError("a curve is of labels and predictions, or has precision and recall: found both")
        known = _values.mapping(counts or {}, "counts")
        self._show(
            CurveLogged, where, lambda: _payloads.precision_recall(precision, recall, known), lambda _: {"curve": "pr"}
        )

    def log_roc_curve(
        self,
        name: str,
        labels: Any,
        predictions: Any,
        step: int | None = None,
        *,
        weights: Any = None,
        thresholds: int = 127,
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """Show a classifier's true over its false positive rate; see `log_pr_curve`."""
        self._classified("roc", (name, step, context, time), labels, predictions, weights, thresholds)

    def log_hparams(
        self,
        values: Mapping[str, Any],
        metrics: Mapping[str, Number] | None = None,
        step: int | None = None,
        *,
        domains: Mapping[str, Sequence[Any]] | None = None,
        name: str = "",
        context: Mapping[str, Scalar] | None = None,
        time: float | None = None,
    ) -> None:
        """State a trial: its hyperparameters, and the metrics that measure its success.

        For the run's own hyperparameters `log_params` is enough. Trials that deserve runs of their own are children
        (`Run.child`).

        Args:
            values: as in `log_params`.
            metrics: they are logged as by `log_metrics`, too, with step, context and time.
            domains: what a hyperparameter could have been, by its name.
            name: of the trial, if the run has several.

        Raises:
            TypeError: an argument has the wrong type.
            RunClosed: the run is finished.
        """
        results = _values.mapping(metrics or {}, "metrics")
        choices = _values.mapping(domains or {}, "domains")
        trial = HParamsLogged(
            _now() if time is None else _values.seconds(time, "time"),
            _values.parameters(_values.mapping(values, "values")),
            tuple(_values.string(metric, "a name in metrics") for metric in results),
            {
                _values.string(key, "a name in domains"): [
                    _values.parameter(value) for value in _several(choice, f"domains[{key!r:.80}]")
                ]
                for key, choice in choices.items()
            },
            _values.string(name, "name"),
        )
        if results:  # before the trial: if they are none, nothing of it is said
            self.log_metrics(results, step, context=context, time=time)
        self._publish(trial)

    def set_layout(self, charts: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Arrange charts of metrics.

        Args:
            charts: categories, with charts by title: `("Multiline", names)`, where names are regular expressions as
                TensorBoard takes them, or `("Margin", (value, lower, upper))`.

        Raises:
            TypeError: an argument has the wrong type, or a chart is none of these.
            RunClosed: the run is finished.
        """
        layout = {
            _values.string(category, "a category"): {
                _values.string(title, "a title"): _chart(chart)
                for title, chart in _values.mapping(titles, f"charts[{category!r:.80}]").items()
            }
            for category, titles in _values.mapping(charts, "charts").items()
        }
        self._publish(LayoutSet(_now(), layout))

    def _classified(
        self, curve: str, where: Where, labels: Any, predictions: Any, weights: Any, thresholds: int
    ) -> None:
        fields = {"curve": curve, "thresholds": positive(thresholds, "thresholds")}
        self._show(CurveLogged, where, lambda: _payloads.classified(labels, predictions, weights), lambda _: fields)


def _several(given: Any, argument: str) -> Iterable[Any]:
    """What is no single string. Raises TypeError."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{argument} must be several, found {given!r:.80}")
    return given


def _chart(given: Any) -> tuple[str, list[str]]:
    try:
        kind, names = given
        tags = [_values.string(name, "a metric's name") for name in _several(names, "names")]
        count = _CHARTS[kind]
    except (TypeError, ValueError, KeyError) as error:
        raise TypeError(f"a chart must be ('Multiline' or 'Margin', names of metrics), found {given!r:.200}") from error
    if count is not None and len(tags) != count:
        raise TypeError(f"a {kind} chart has {count} metrics: value, lower and upper bound; found {len(tags)}")
    return kind, tags
