"""Shares of the weight that are kept while some tasks have no label.

A batch without labels of a task has a gradient of zero for it. A zero gradient
is the shortest of all, which says nothing about how much weight the task should
have.
"""

from keras import ops

from keras_mtl.backend.numerics import Tensor

# Below all logits, in the range of float32.
LOWEST = -3e38


def present(gramian: Tensor) -> Tensor:
    """Returns which tasks have a gradient, all if none has.

    Args:
        gramian: Float tensor of shape `(T, T)`, maybe between two batches.

    Returns:
        Boolean tensor of shape `(T,)`.
    """
    nonzero = ops.any(ops.not_equal(gramian, 0.0), axis=1)
    return ops.logical_or(nonzero, ops.logical_not(ops.any(nonzero)))


def shares_among(weights: Tensor, labelled: Tensor) -> Tensor:
    """Returns weights of some tasks, in units of their sum, and zeros.

    Args:
        weights: Non-negative float tensor of shape `(T,)`.
        labelled: Boolean tensor of shape `(T,)`, not all false.

    Returns:
        Float tensor of shape `(T,)` with sum 1; equal ones where the sum of the
        weights is zero.
    """
    chosen = ops.cast(labelled, "float32")
    total = ops.sum(chosen * weights)
    known = total > 0
    shares = chosen * weights / ops.where(known, total, 1.0)
    return ops.where(known, shares, chosen / ops.sum(chosen))


def with_shares(weights: Tensor, shares: Tensor, labelled: Tensor) -> Tensor:
    """Returns weights with new shares of what some tasks have together.

    Args:
        weights: Non-negative float tensor of shape `(T,)`.
        shares: As of `shares_among`.
        labelled: Boolean tensor of shape `(T,)`.

    Returns:
        Float tensor of shape `(T,)`, with the sum of `weights`.
    """
    total = ops.sum(ops.where(labelled, weights, 0.0))
    return ops.where(labelled, total * shares, weights)


def in_mean_norms(gramian: Tensor, labelled: Tensor) -> Tensor:
    """Returns the Gramian in units of the squared mean norm of gradients.

    Args:
        gramian: Float tensor of shape `(T, T)`.
        labelled: Boolean tensor of shape `(T,)`, those of the mean.
    """
    norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
    number = ops.sum(ops.cast(labelled, "float32"))
    norm = ops.sum(ops.where(labelled, norms, 0.0)) / number
    norm = ops.where(norm > 0, norm, 1.0)
    return gramian / norm / norm


def shared_by(logits: Tensor, labelled: Tensor) -> Tensor:
    """Returns the softmax over the tasks with a label, times their number.

    Args:
        logits: Float tensor of shape `(T,)`.
        labelled: Boolean tensor of shape `(T,)`.

    Returns:
        Float tensor of shape `(T,)`, 0 where there is no label.
    """
    number = ops.sum(ops.cast(labelled, "float32"))
    # Logits of any size are above those of the tasks without a label.
    largest = ops.max(ops.where(labelled, logits, LOWEST))
    shares = ops.softmax(ops.where(labelled, logits - largest, -1e9))
    return ops.where(labelled, number * shares, 0.0)
