"""Metrics over the labels that are not missing."""

import types

import keras
from keras import ops

from keras_mtl.backend.keras_internals import CompileMetrics
from keras_mtl.backend.keras_internals import apply_mask
from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.losses.missing_labels import expand_to_rank
from keras_mtl.losses.missing_labels import label_rank
from keras_mtl.losses.missing_labels import reduce_present
from keras_mtl.losses.missing_labels import split_missing
from keras_mtl.losses.missing_labels import void_scalar


class PresentLabelMetrics(CompileMetrics):
    """The compiled metrics, over the labels that are not missing.

    Metrics that are functions, and those of Keras, leave out missing labels. A
    `Metric` of the user's own gets the labels as they are; in
    `weighted_metrics` it gets the weight 0 for those that are missing.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        if not self.built:
            given = {name: y_true[name] for name in _given(y_true)}
            self.build({**y_pred, **given}, y_pred)
        sample_weight = sample_weight or {}
        for name, true, pred in zip(
            self._resolved_output_names,
            self._flatten_y(y_true),
            self._flatten_y(y_pred),
        ):
            if true is None and self.metrics_of(name):
                raise ValueError(
                    f"Expected labels for the output {name!r}, which has "
                    f"metrics. Received: labels for {_given(y_true)}"
                )
            self.update_output(name, true, pred, sample_weight.get(name))

    def result(self):
        if not (
            self.built or self._user_metrics or self._user_weighted_metrics
        ):
            # A `train_step` of the user's own may update no metrics.
            return {}
        return super().result()

    def update_output(self, name, y_true, y_pred, sample_weight=None):
        """Updates the metrics of one output alone."""
        plain, weighted = self._lists_of(name)
        for metric in plain:
            if _is_of_keras(metric):
                _update(metric, y_true, y_pred)
            else:
                metric.update_state(y_true, y_pred)
        for metric in weighted:
            _update(metric, y_true, y_pred, sample_weight)

    def metrics_of(self, name):
        """Returns the list of the metrics of an output."""
        return sum(self._lists_of(name), [])

    def by_key(self, outputs):
        """Returns the metrics by the keys that their results are going to have.

        Args:
            outputs: Dict of output to symbolic tensor. These metrics are
                neither built nor changed.
        """
        metrics = PresentLabelMetrics(
            self._user_metrics,
            self._user_weighted_metrics,
            output_names=self.output_names,
        )
        metrics.build(outputs, outputs)
        # Keras names the results as it collects them: here, the result of each
        # metric is the metric itself.
        metrics._flat_metrics = [*map(_itself, metrics._flat_metrics)]
        metrics._flat_weighted_metrics = [
            *map(_itself, metrics._flat_weighted_metrics)
        ]
        return CompileMetrics.result(metrics)

    def _lists_of(self, name):
        index = self._resolved_output_names.index(name)
        lists = self._flat_metrics[index], self._flat_weighted_metrics[index]
        return [x.metrics if x else [] for x in lists]


def _itself(metrics):
    """Returns in the place of an output's metrics what has them as results."""
    return metrics and types.SimpleNamespace(
        output_name=metrics.output_name,
        metrics=[
            types.SimpleNamespace(name=metric.name, result=lambda x=metric: x)
            for metric in metrics.metrics
        ],
    )


def _given(values):
    return [name for name, value in values.items() if value is not None]


def _is_of_keras(metric):
    return type(metric).__module__.startswith("keras.")


def _update(metric, y_true, y_pred, weight=None):
    labels, present = split_missing(y_true, y_pred)
    if present is None:
        return metric.update_state(y_true, y_pred, weight)
    if (
        type(metric).update_state
        is not keras.metrics.MeanMetricWrapper.update_state
    ):
        present = reduce_present(present, label_rank(labels, y_pred))
        weight = combine_weights(weight, present)
        return metric.update_state(labels, y_pred, weight)
    values = metric._fn(labels, y_pred, **metric._fn_kwargs)
    if len(values.shape):
        present = reduce_present(present, len(values.shape))
        weight = combine_weights(weight, present)
    else:
        values = void_scalar(values, present)
    weight = apply_mask(
        weight, get_keras_mask(y_pred), metric.dtype, reduction="sum"
    )
    return keras.metrics.Mean.update_state(metric, values, weight)


def combine_weights(sample_weight, present):
    """Multiplies sample weights with the indicator of present labels.

    Args:
        sample_weight: Tensor of the shape of `present`, or of its first axes,
            or `None`.
        present: Boolean tensor, or `None`.

    Returns:
        A tensor, or `None` if both are.
    """
    if sample_weight is None or present is None:
        return present if sample_weight is None else sample_weight
    rank = max(len(sample_weight.shape), len(present.shape))
    present = expand_to_rank(ops.cast(present, "float32"), rank)
    sample_weight = expand_to_rank(ops.cast(sample_weight, "float32"), rank)
    return sample_weight * present
