"""The loss of a task whose output is the loss itself."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class OutputIsLoss(keras.losses.Loss):
    """The loss of a task whose output is the loss itself.

    For what is not one label for one output: a Kullback-Leibler term, the
    residual of a differential equation, a contrastive loss of two embeddings.
    A layer of the graph computes it, and the task has no labels: none are given
    to `fit`, `evaluate`, or in a data set.

    The loss is the mean of the output over the examples, weighted by
    `sample_weight` if there is one. An output with more axes than that of the
    examples is averaged over them first. A layer may also return a scalar,
    which no `sample_weight` changes, and which `predict` cannot join over
    batches.

    Metrics of the output see labels of zeros: `metrics={"kl": "mae"}` is the
    mean of its absolute values. Labels that are given all the same only say
    where the loss is missing, by NaN.

    Args:
        reduction: As of `keras.losses.Loss`.
        name: Name of the loss.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Not used.
        y_pred: Float tensor of shape `(batch, ...)` or `()`, the output.

    Example:

    >>> loss = keras_mtl.losses.OutputIsLoss()
    >>> output = np.array([[1.0], [3.0]])
    >>> float(loss(np.zeros(2), output))
    2.0
    >>> float(loss(np.zeros(2), output, sample_weight=np.array([2.0, 0.0])))
    1.0
    """

    # A task with this loss is asked for no labels.
    needs_labels = False

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "output_is_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        del y_true
        axes = tuple(range(1, len(y_pred.shape)))
        return ops.mean(y_pred, axis=axes) if axes else y_pred


def needs_labels(loss: Any) -> bool:
    """Whether a task with this loss, as `compile` takes it, has labels."""
    return getattr(loss, "needs_labels", True)
