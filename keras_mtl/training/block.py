"""The gradients of all tasks with respect to one tensor."""

import functools

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.numerics import total_of

# In a product of fewer rows, XLA on a CPU adds up the terms one by one, which
# takes longer, and of 10⁶ terms the error is 3e-4 where it otherwise is 3e-7.
LEAST_ROWS = 4


class Block:
    """The rows of the Jacobian of the task losses that belong to one tensor.

    Args:
        rows: List of `T` tensors of one shape, `None` for zeros.
        stack: Function that stacks a list of tensors, which it may empty.
        is_fused: Whether XLA compiles the step.
    """

    def __init__(self, rows, stack=ops.stack, is_fused=False):
        self._is_fused = is_fused
        self.tasks = [i for i, row in enumerate(rows) if row is not None]
        self.rows = [rows[i] for i in self.tasks]
        self._stack = stack

    @functools.cached_property
    def matrix(self):
        """The rows that are not zeros, flattened, shape `(tasks, N)`."""
        rows = [ops.reshape(ops.cast(g, "float32"), (-1,)) for g in self.rows]
        # The matrix takes the place of the rows in memory. One is kept, since
        # its shape and its type are needed.
        del self.rows[1:]
        return self._stack(rows)

    def gramian(self, num_tasks):
        """Returns the inner products of the rows, shape `(T, T)`."""
        if not self.tasks:
            return ops.zeros((num_tasks, num_tasks))
        gramian = self._gramian_of_rows()
        if len(self.tasks) == num_tasks:
            return gramian
        places = ops.one_hot(self.tasks, num_tasks, dtype="float32")
        return ops.matmul(ops.transpose(places), ops.matmul(gramian, places))

    def _gramian_of_rows(self):
        matrix, rows = self.matrix, len(self.tasks)
        if self._is_fused and rows < LEAST_ROWS:
            matrix = ops.pad(matrix, [[0, LEAST_ROWS - rows], [0, 0]])
        return ops.matmul(matrix, ops.transpose(matrix))[:rows, :rows]

    def combine(self, weights):
        """Returns the sum of the rows times `weights`, shape `(T,)`."""
        if not self.tasks:
            return None
        weights = ops.stack([weights[i] for i in self.tasks])
        return self._as_row(ops.matmul(weights, self.matrix))

    def combine_by(self, weighting, weights, num_tasks):
        """Returns what `weighting.combine` makes of the rows."""
        if not self.tasks:
            return None
        matrix, own_part = self.all_rows(num_tasks), lambda row: row
        if weighting.measurement.gradients == "features":
            # The features of other replicas are other columns of the matrix.
            matrix, own_part = replicas.join(matrix)
        return self._as_row(own_part(weighting.combine(matrix, weights)))

    def all_rows(self, num_tasks):
        """Returns the rows with those that are zeros, shape `(T, N)`."""
        rows = [ops.zeros_like(self.matrix[0])] * num_tasks
        for place, task in enumerate(self.tasks):
            rows[task] = self.matrix[place]
        return ops.stack(rows)

    def _as_row(self, vector):
        row = self.rows[0]
        return ops.cast(ops.reshape(vector, ops.shape(row)), row.dtype)


class FusedBlock(Block):
    """The same for features under XLA.

    There, sums for each pair of a few rows need no matrix, more rows make a
    faster product side by side, and a sum of rows is one operation that writes
    no matrix.

    Args:
        rows: As of `Block`.
        few_rows: The number of rows up to which the pairs are faster.
    """

    def __init__(self, rows, few_rows):
        super().__init__(rows, is_fused=True)
        self._few_rows = few_rows

    def _gramian_of_rows(self):
        columns = [
            ops.reshape(ops.cast(g, "float32"), (-1,)) for g in self.rows
        ]
        if len(columns) <= self._few_rows:
            return _by_pairs(columns)
        columns = ops.stack(columns, axis=-1)
        return ops.matmul(ops.transpose(columns), columns)

    def combine(self, weights):
        if not self.tasks:
            return None
        combined = total_of(
            [
                weights[i] * ops.cast(row, "float32")
                for i, row in zip(self.tasks, self.rows)
            ]
        )
        return ops.cast(combined, self.rows[0].dtype)


def _by_pairs(vectors):
    """Returns the Gramian of vectors, each entry by itself."""
    entries = {}
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors[: i + 1]):
            entries[i, j] = entries[j, i] = ops.sum(one * other)
    size = len(vectors)
    flat = [entries[i, j] for i in range(size) for j in range(size)]
    return ops.reshape(ops.stack(flat), (size, size))
