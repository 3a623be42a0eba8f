"""Projections onto the dual cone of gradients."""

from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.nonnegative import nonnegative_qp
from keras_mtl.solvers.nonnegative import product
from keras_mtl.solvers.nonnegative import unit_gramian

Tensor = Any


@compiled
def dual_cone_projection(gramian: Tensor, vectors: Tensor) -> Tensor:
    """Projects combinations of gradients onto the gradients' dual cone.

    The dual cone of the rows of `J` holds the directions `d` with
    `J @ d >= 0`. The projection of `J.T @ u` onto it is `J.T @ v`, with `v` the
    minimizer of `v @ G @ v` over `v >= u`.

    Each `v` reaches the condition `g_i @ d >= 0`, with equality where
    `v_i > u_i`; the error is about `1e-6 * norm(g_i) * sum_j v_j norm(g_j)`,
    the rounding of a float32 Gramian. It takes 3 to 6 solves of `(B, T, T)`
    systems for random gradients of large dimension, and up to one per task for
    nearly opposite ones.

    Args:
        gramian: Inner products of the gradients, a finite symmetric positive
            semi-definite tensor of shape `(T, T)`.
        vectors: Tensor of shape `(B, T)`, the weights `u` of `B` vectors that
            are projected.

    Returns:
        The weights `v`, float32 of shape `(B, T)`. A zero gradient keeps its
        weight and leaves the others unchanged.

    Example:

    >>> gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    >>> weights = dual_cone_projection(gradients @ gradients.T, np.eye(2))
    >>> np.round(ops.convert_to_numpy(weights), 4)  # (0.5, 0.5) and (0, 1)
    array([[1. , 0.5],
           [1. , 1. ]], dtype=float32)

    Reference:

    - Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization",
      2024, Proposition 1.
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    vectors = ops.convert_to_tensor(vectors, dtype="float32")
    cosines, norms, inverse_norms = unit_gramian(gramian)
    lengths = vectors * norms
    largest = ops.max(ops.abs(lengths), axis=-1, keepdims=True)
    units = lengths / ops.where(largest > 0, largest, 1.0)
    added = nonnegative_qp(cosines, product(units, cosines))
    return vectors + added * largest * inverse_norms
