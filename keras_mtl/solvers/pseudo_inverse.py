"""Pseudo-inverses of Gramians."""

from typing import Any

from keras import ops

Tensor = Any


# Eigenvalues below the largest times T times this are the rounding of zero.
EPSILON = 5e-7


def nonzero_eigenvalues(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the eigenvalues, which of them are not zero, and the vectors.

    Args:
        gramian: Finite symmetric positive semi-definite float32 tensor of shape
            `(T, T)`.

    Returns:
        Tuple of the eigenvalues, shape `(T,)`, ascending; a boolean tensor of
        the same shape; and the eigenvectors, the columns of a `(T, T)` tensor.
    """
    # Without this scale, products of entries of 1e-32 would underflow.
    scale = ops.max(ops.abs(gramian))
    scale = ops.where(scale > 0, scale, 1.0)
    eigenvalues, vectors = ops.eigh(gramian / scale)
    threshold = ops.max(eigenvalues) * gramian.shape[0] * EPSILON
    nonzero = eigenvalues > ops.maximum(threshold, 0.0)
    return eigenvalues * scale, nonzero, vectors


def pseudo_solve(gramian: Tensor, vector: Tensor) -> Tensor:
    """The shortest `x` for which `gramian @ x` is nearest to `vector`.

    It solves the normal equations, with a relative error of about 1e-7 times
    the condition number of the eigenvalues that count: those over
    `5e-7 * T` of the largest one. The others are taken for zero.

    Args:
        gramian: Finite symmetric positive semi-definite tensor of shape
            `(T, T)`.
        vector: Tensor of shape `(T,)`.

    Returns:
        Float32 tensor of shape `(T,)`.

    Example:

    >>> pseudo_solve(np.diag([2.0, 0.0]), np.array([1.0, 1.0]))
    [0.5, 0.0]
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    vector = ops.convert_to_tensor(vector, dtype="float32")
    eigenvalues, nonzero, vectors = nonzero_eigenvalues(gramian)
    inverse = ops.where(
        nonzero, 1.0 / ops.where(nonzero, eigenvalues, 1.0), 0.0
    )

    def apply(vector):
        # These are sums of products, since a matrix product may be rounded to
        # TF32 on a GPU.
        coordinates = ops.sum(vectors * vector[:, None], axis=0)
        return ops.sum(vectors * (inverse * coordinates), axis=1)

    solution = apply(vector)
    # A second step takes away the rounding of the eigenvectors.
    return solution + apply(vector - ops.sum(gramian * solution, axis=1))
