"""Linear systems with positive definite matrices."""

from typing import Any

from keras_mtl.backend.primitives import of_backend

Tensor = Any


def solve_positive_definite(matrix: Tensor, right: Tensor) -> Tensor:
    """Solves `matrix @ x = right` in the way that is fastest on the backend.

    Args:
        matrix: Symmetric positive definite float32 tensor of shape
            `(B, T, T)`.
        right: Tensor of shape `(B, T)`.

    Returns:
        The solutions, a tensor of shape `(B, T)`.

    Example:

    >>> matrix = ops.convert_to_tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> x = solve_positive_definite(matrix, ops.convert_to_tensor([[3.0, 0.0]]))
    >>> np.round(ops.convert_to_numpy(x), 5)
    array([[ 2., -1.]], dtype=float32)
    """
    return of_backend().solve_positive(matrix, right[:, :, None])[:, :, 0]
