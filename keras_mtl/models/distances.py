"""The distances between the atoms of a molecule."""

from typing import Any

from keras import ops

Tensor = Any


def distances(atoms: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Computes all distances within molecules.

    Args:
        atoms: Atomic numbers of shape `(batch, atoms)`, zero for padding.
        positions: Of shape `(batch, atoms, 3)`.

    Returns:
        Tuple of two tensors of shape `(batch, atoms, atoms)`: the distances,
        and whether both are atoms, at different places. Where they are not, the
        distance is 1.
    """
    difference = positions[:, :, None, :] - positions[:, None, :, :]
    square = ops.sum(ops.square(difference), axis=-1)
    real = atoms > 0
    pairs = ops.logical_and(real[:, :, None], real[:, None, :])
    neighbors = ops.logical_and(pairs, square > 0)
    # The slope of sqrt at zero is infinite, and would make the gradient with
    # respect to the positions NaN.
    return ops.sqrt(ops.where(neighbors, square, 1.0)), neighbors
