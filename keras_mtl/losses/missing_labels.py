"""Labels that are missing: NaN in a floating-point label."""

import functools

import keras
import numpy as np
from keras import ops

from keras_mtl.backend.keras_internals import get_keras_mask
from keras_mtl.backend.keras_internals import reduce_weighted_values


def split_missing(y_true, y_pred):
    """Separates the labels that are there from those that are missing.

    Args:
        y_true: Labels of one task, of any shape.
        y_pred: Predictions of that task, of the rank of `y_true` or one more.

    Returns:
        Tuple `(y_true, present)`: the labels with ones in place of NaN, and a
        boolean tensor of the same shape, `None` for integer labels (give those
        a `sample_weight` of zero).
    """
    y_true = ops.convert_to_tensor(y_true)
    if not keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(y_true.dtype)
    ):
        return y_true, None
    rank = len(y_true.shape)
    if 1 < rank == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        # Keras would take the last axis of labels with one axis less than the
        # predictions for the components of a label.
        y_true = ops.expand_dims(y_true, -1)
    missing = ops.isnan(y_true)
    # The stand-in for a missing label is 1, which has a logarithm.
    y_true = ops.where(missing, ops.ones_like(y_true), y_true)
    return y_true, ops.logical_not(missing)


def complete(y, output_keys):
    """Returns the names of the outputs in whose label arrays no NaN is.

    Only NumPy arrays are looked at. What is known to be complete is spared the
    search for missing labels in every step.

    Args:
        y: What `fit` was given as labels.
        output_keys: List of the names of the outputs.
    """
    if isinstance(y, (list, tuple)):
        y = dict(zip(output_keys, y)) if len(y) == len(output_keys) else {}
    if not isinstance(y, dict):
        return frozenset()
    with np.errstate(invalid="ignore", over="ignore"):
        return frozenset(
            name
            for name, labels in y.items()
            if isinstance(labels, np.ndarray)
            and labels.dtype.kind == "f"
            # The sum is NaN if a label is, and takes no memory.
            and not np.isnan(np.sum(labels))
        )


def label_rank(y_true, y_pred):
    """Returns the rank of labels, less the axis of their components."""
    rank = len(y_true.shape)
    return rank - 1 if 1 < rank == len(y_pred.shape) else rank


def reduce_present(present, rank):
    """Returns which entries of the first `rank` axes have all their labels.

    Args:
        present: Boolean tensor.
        rank: Number of its axes to keep.

    Returns:
        Boolean tensor of that rank, true where all entries along the other axes
        are.
    """
    axes = tuple(range(rank, len(present.shape)))
    return ops.all(present, axis=axes) if axes else present


def void_scalar(values, present):
    """Makes a scalar NaN where a label is missing: it cannot be left out."""
    return ops.where(ops.all(present), values, float("nan"))


def can_leave_out(loss):
    """Whether a loss leaves its reduction to Keras, as all but few do."""
    return type(loss).__call__ is keras.losses.Loss.__call__


def loss_of_present(loss, y_true, y_pred, sample_weight, present):
    """Computes a loss over the labels that are not missing.

    Args:
        loss: `keras.losses.Loss`.
        y_true: Labels, as `split_missing` returns them.
        y_pred: Predictions.
        sample_weight: Tensor or `None`.
        present: Boolean tensor of the shape of the labels.

    Returns:
        The loss as `loss` reduces it; a mean is over the labels that are there,
        and 0 where there are none.
    """
    values, sample_weight, mask = _weighted_values(
        loss, y_true, y_pred, sample_weight, present
    )
    return reduce_weighted_values(
        values, sample_weight, mask, loss.reduction, loss.dtype
    )


def sum_and_divisor(loss, y_true, y_pred, sample_weight, present=None):
    """Computes a loss in two parts, which add up over the parts of a batch.

    Args:
        loss: `keras.losses.Loss`. If it returns a scalar, that is taken for
            the mean over the examples.
        y_true: As of `loss_of_present`.
        y_pred: As of `loss_of_present`.
        sample_weight: As of `loss_of_present`.
        present: As of `loss_of_present`, or `None` where none is missing.

    Returns:
        Tuple of two scalars, a sum and what it is to be divided by, `None` if
        the loss is a sum.
    """
    values, sample_weight, mask = _weighted_values(
        loss, y_true, y_pred, sample_weight, present
    )
    if not len(values.shape):
        values = values * ops.ones((ops.shape(y_pred)[0],), loss.dtype)
    add_up = functools.partial(
        reduce_weighted_values, mask=mask, reduction="sum", dtype=loss.dtype
    )
    # Keras returns an empty tensor as it is: `ops.sum` makes a scalar of it.
    total = ops.sum(add_up(values, sample_weight))
    if loss.reduction == "sum":
        return total, None
    if loss.reduction != "mean_with_sample_weight":
        sample_weight = None
    if sample_weight is not None:
        # The weights are copied, since on PyTorch Keras multiplies them by the
        # mask in place, and the gradient of `total` needs those from above.
        sample_weight = sample_weight * 1.0
    return total, ops.sum(add_up(ops.ones_like(values), sample_weight))


def _weighted_values(loss, y_true, y_pred, sample_weight, present):
    """Returns what Keras reduces: the values, their weights and their mask."""
    masks = [get_keras_mask(y_pred)]
    y_pred = ops.convert_to_tensor(y_pred, loss.dtype)
    values = loss.call(ops.convert_to_tensor(y_true, loss.dtype), y_pred)
    masks.append(get_keras_mask(values))
    rank = len(values.shape)
    if present is not None and rank:
        masks.append(reduce_present(present, rank))
    elif present is not None:
        values = void_scalar(values, present)
    if sample_weight is not None:
        # The product is a copy of the user's weights, which Keras multiplies
        # by the mask in place on PyTorch.
        sample_weight = ops.cast(sample_weight, loss.dtype) * 1.0
        if len(sample_weight.shape) < rank:
            ones = ops.ones_like(values)
            sample_weight = expand_to_rank(sample_weight, rank) * ones
    masks = [mask for mask in masks if mask is not None]
    mask = functools.reduce(ops.logical_and, masks) if masks else None
    return values, sample_weight, mask


def expand_to_rank(tensor, rank):
    """Appends axes to a tensor that has less than `rank`."""
    while len(tensor.shape) < rank:
        tensor = ops.expand_dims(tensor, -1)
    return tensor
