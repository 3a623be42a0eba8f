"""The Euclidean projection onto the probability simplex."""

from typing import Any

from keras import ops

Tensor = Any

# An entry that is below the others by 1 is zero in the projection. This one is
# so at any rate, and sums of it stay in the range of float32.
ABSENT = -1e30


def project_onto_simplex(vector: Tensor, among: Tensor = None) -> Tensor:
    """Finds the point of the probability simplex nearest to `vector`.

    The projection is `max(vector - shift, 0)` with the `shift` for which it
    sums to 1. With `u` the sorted entries, largest first, `shift` is the
    largest of `(u_1 + ... + u_k - 1) / k`: these means grow as long as `u_k`
    exceeds them and fall from then on. Exact up to rounding, whatever the
    entries' size.

    Args:
        vector: Finite tensor of shape `(T,)`.
        among: Boolean tensor of shape `(T,)`, not all false: the entries that
            may be positive. By default all.

    Returns:
        Float32 tensor of shape `(T,)`, non-negative, with sum 1.

    Example:

    >>> keras_mtl.solvers.simplex_projection.project_onto_simplex(
    ...     np.array([0.9, 0.5, -3.0])
    ... )
    [0.7, 0.3, 0.0]

    Reference:

    - Duchi et al., "Efficient Projections onto the l1-Ball for Learning in High
      Dimensions", ICML 2008, Figure 1.
    """
    vector = ops.convert_to_tensor(vector, dtype="float32")
    # The shift does not change the projection, and keeps the sums exact near
    # the largest entries, which are those that matter.
    if among is not None:
        vector = ops.where(among, vector, ABSENT)
    vector = ops.maximum(vector - ops.max(vector), ABSENT)
    descending = ops.flip(ops.sort(vector))
    counts = ops.arange(1, vector.shape[0] + 1, dtype="float32")
    shift = ops.max((ops.cumsum(descending) - 1.0) / counts)
    return ops.relu(vector - shift)
