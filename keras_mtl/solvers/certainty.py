"""How far a solution is certain, for a Gramian that is rounded."""

import math
from typing import Any

from keras import ops

Tensor = Any


# The rounding of an entry of a float32 Gramian.
ROUNDING = 2.0**-23
# Up to this uncertainty, all of a solution counts; from the other one on, none.
CERTAIN = 1e-3
UNCERTAIN = 1e-2


def uncertainties(
    gramian: Tensor, weights: Tensor, payments: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns how uncertain a solution of `w * (G @ w) = payments` is.

    Near a point where the convex hull of the gradients contains zero, large
    weights multiply inner products that cancel: what is left of them has the
    rounding of the Gramian, times the weights. The uncertainty is that rounding
    in units of the payment, for the task for which it is largest. It grows with
    the inverse of the squared distance between zero and the hull, and does not
    depend on the scale of any gradient.

    Args:
        gramian: Inner products of the gradients, a finite tensor of shape
            `(T, T)`.
        weights: Tensor of shape `(T,)`; 0 for a zero gradient.
        payments: What `w * (G @ w)` should be, a tensor of shape `(T,)`.

    Returns:
        Tuple of two float32 scalars: the uncertainty by rounding, and the
        largest relative error of the equation.
    """
    products = gramian * weights
    nonzero = ops.logical_and(weights > 0, payments > 0)
    safe = ops.where(nonzero, payments, 1.0)
    rounding = ROUNDING * weights * ops.sum(ops.abs(products), axis=-1)
    error = ops.abs(weights * ops.sum(products, axis=-1) - payments)
    return tuple(
        ops.max(ops.where(nonzero, value / safe, 0.0))
        for value in (rounding, error)
    )


def certain_share(uncertainty: Tensor) -> Tensor:
    """Returns 1 for what is certain, 0 for what is not, and between.

    Args:
        uncertainty: Non-negative scalar.

    Returns:
        Scalar that falls from 1 to 0 with the logarithm of the uncertainty.
    """
    within = ops.clip(uncertainty, CERTAIN, UNCERTAIN)
    share = ops.log(UNCERTAIN / within) / math.log(UNCERTAIN / CERTAIN)
    # The rounding of the logarithm would scale all solutions.
    return ops.where(uncertainty > CERTAIN, share, 1.0)
