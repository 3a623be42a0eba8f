"""The task losses of a batch of which each replica has a part."""

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import scale_loss_for_distribution
from keras_mtl.losses import missing_labels


def loss_parts(task, loss, y_true, y_pred, sample_weight, may_miss):
    """Computes what this replica knows of a task's loss.

    Args:
        task: Name of the task.
        loss: `keras.losses.Loss`.
        y_true: Labels of this replica's part of the batch.
        y_pred: Predictions.
        sample_weight: Tensor or `None`.
        may_miss: Whether labels can be missing.

    Returns:
        Dict of scalars: `sum` and `divisor` of the loss, see
        `missing_labels.sum_and_divisor`, and the number of `examples` and of
        those `labelled`.

    Raises:
        ValueError: If the loss cannot be computed in parts.
    """
    if not missing_labels.can_leave_out(loss) or loss.reduction in (
        None,
        "none",
    ):
        raise ValueError(
            f"With several replicas, the loss of task {task!r} is computed in "
            "parts: expected a `keras.losses.Loss` that overrides `call`, not "
            '`__call__`, and has a reduction, such as "mean". '
            f"Received: {loss} with reduction={loss.reduction!r}"
        )
    if not len(y_pred.shape):
        raise ValueError(
            f"With several replicas, the loss of task {task!r} is a mean over "
            "the examples of all: expected an output with one loss per "
            "example, of shape (batch,). Received: a scalar"
        )
    present = None
    if may_miss:
        y_true, present = missing_labels.split_missing(y_true, y_pred)
    total, divisor = missing_labels.sum_and_divisor(
        loss, y_true, y_pred, sample_weight, present
    )
    examples = labelled = ops.cast(ops.shape(y_pred)[0], "float32")
    if present is not None:
        rank = missing_labels.label_rank(y_true, y_pred)
        present = missing_labels.reduce_present(present, rank)
        present = ops.cast(ops.reshape(present, (-1,)), "float32")
        size = ops.cast(ops.shape(present)[0], "float32")
        labelled = ops.divide_no_nan(examples * ops.sum(present), size)
    return {
        "sum": ops.cast(total, "float32"),
        "divisor": None if divisor is None else ops.cast(divisor, "float32"),
        "examples": examples,
        "labelled": labelled,
    }


def losses_and_counts(parts, has_static_size):
    """Computes the task losses of the whole batch from those of all replicas.

    Args:
        parts: List of `T` dicts, see `loss_parts`.
        has_static_size: Whether the number of examples is static. If not, all
            batches count the same, as on one device.

    Returns:
        Tuple `(losses, counts)` of lists of `T` scalars. The values are those
        of the whole batch, on TensorFlow divided by the number of replicas as
        Keras does. The gradients are those of this replica's part: on
        TensorFlow their sum is that of the loss of the whole batch, on PyTorch
        their mean is.
    """
    share = 1.0 / replicas.count()
    divisors = [share if p["divisor"] is None else p["divisor"] for p in parts]
    divisors, labelled, examples = replicas.total(
        [
            ops.stack(divisors),
            ops.stack([part["labelled"] for part in parts]),
            parts[0]["examples"],
        ]
    )
    own = [
        ops.divide_no_nan(part["sum"], divisors[i])
        for i, part in enumerate(parts)
    ]
    counts = labelled if has_static_size else labelled / examples
    return _totals(own), ops.unstack(counts)


def mean_losses(losses):
    """Computes the means of losses that each replica has of its part.

    Args:
        losses: List of `T` scalars, of a part of the batch as if it were all.

    Returns:
        List of `T` scalars, with values and gradients as `losses_and_counts`.
    """
    return _totals([loss / replicas.count() for loss in losses])


def _totals(own):
    """Returns the sums of what each replica has, with its part's gradients."""
    values = scale_loss_for_distribution(
        replicas.total(ops.stop_gradient(ops.stack(own)))
    )
    own = [replicas.loss_of_part(loss) for loss in own]
    return [
        # The difference is 0, and has the gradient of the part.
        values[i] + (loss - ops.stop_gradient(loss))
        for i, loss in enumerate(own)
    ]
