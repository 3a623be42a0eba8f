"""Gradient balancing: from the gradients of the tasks to one gradient.

What it needs of a backend is a `pullback`, an object with the attribute
`is_fused`, whether XLA compiles the step, and five methods:

- `heads()`: the gradients of each task's loss with respect to its copies of
  the boundary tensors, dict of `(key, task)`, and to its own variables, dict of
  task to list.
- `trunk(cotangents, variables)`: pulls cotangents, dict of boundary key to
  tensor, back through the trunk; a list.
- `loss(task, variables)`: the gradient of a task's loss through its head
  alone; a list.
- `penalty(variables)`: the gradients of regularizers and `add_loss` with
  respect to the variables, a list, and to the copies of the boundary tensors,
  a dict.
- `stack(rows)`: as `keras.ops.stack`, of a list that it may empty, so that the
  rows and the matrix are not all in memory at once.

A gradient that is zero for the structure of the graph may be `None`.
"""

import functools
import math
import operator

import keras
from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.weightings.weighting import TINY


def measured_variables(split, weighting):
    """Returns the shared variables on which the gradients are compared.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.

    Raises:
        ValueError: If nothing is shared, or the weighting names layers that
            do not exist or are not shared.
    """
    if not split.shared_variables:
        raise ValueError(
            f"{type(weighting).__name__} balances the gradients of variables "
            "that tasks share, and no trainable variable is shared by two or "
            f"more of the tasks {split.tasks}"
        )
    if weighting.gradients == "features" and not split.boundary:
        raise ValueError(
            'gradients="features" needs a trunk that ends before the heads of '
            "the tasks begin, and the tasks share only layers inside of their "
            'heads. Use gradients="parameters".'
        )
    if weighting.shared == "auto":
        return split.shared_variables
    if weighting.shared == "last":
        return split.last_shared_variables
    shared_ids = {id(v) for v in split.shared_variables}
    chosen = set()
    for name in weighting.shared:
        layer = split.layers.get(name)
        if layer is None:
            raise ValueError(
                "`shared` names a layer that the model does not have, or that "
                f"no task depends on: {name!r}. Known: {sorted(split.layers)}. "
                f"Received: shared={weighting.shared}"
            )
        ids = {id(v) for v in layer.trainable_variables} & shared_ids
        if not ids:
            raise ValueError(
                f"`shared` names the layer {name!r}, which has no trainable "
                "variable that two or more tasks share. "
                f"Received: shared={weighting.shared}"
            )
        chosen |= ids
    return [v for v in split.shared_variables if id(v) in chosen]


def part_of_batch(batch, fraction):
    """Returns the first examples of a nest of tensors or `None`."""
    given = [t for t in keras.tree.flatten(batch) if t is not None]
    size = ops.shape(given[0])[0]
    if isinstance(size, int):
        count = math.ceil(fraction * size)
    else:
        count = ops.ceil(fraction * ops.cast(size, "float32"))
        count = ops.cast(count, "int32")
    return keras.tree.map_structure(
        lambda tensor: None if tensor is None else tensor[:count], batch
    )


def balanced_gradients(
    split, weighting, losses, pullback, loss_scale=1.0, part=None
):
    """Computes the gradients of all variables, with the tasks balanced.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.
        losses: Tensor of shape `(T,)`, the task losses.
        pullback: See above; its gradients are those of the losses times
            `loss_scale`.
        loss_scale: Scalar, the loss scale of mixed precision.
        part: The pullback of the part of the batch from which the Gramian is
            computed, or `None` for `pullback`.

    Returns:
        Tuple `(gradients, weights)`: dict of `id(variable)` to the gradient
        times `loss_scale`, and the weights, shape `(T,)`.
    """
    num_tasks = len(split.tasks)
    copies, head_gradients = pullback.heads()
    cotangents = _by_task(split, copies)
    measured = measured_variables(split, weighting)
    feature_block = FusedBlock if pullback.is_fused else Block
    growth = 1.0
    if weighting.gradients == "features":
        # Not in a branch: replicas do not meet there.
        growth = _growth([*copies.values()], weighting.gramian_batch)

    def jacobian():
        if weighting.gradients == "features":
            of_boundary = [
                [cotangent.get(key) for cotangent in cotangents]
                for key in split.boundary
            ]
            return [
                feature_block(
                    _part_of_rows(rows, weighting.gramian_batch, growth)
                )
                for rows in of_boundary
            ]
        rows_of = (pullback, cotangents)
        if part is not None:
            rows_of = (part, _by_task(split, part.heads()[0]))
        rows = _rows(split, *rows_of, measured)
        return [
            Block(of_variable, pullback.stack) for of_variable in zip(*rows)
        ]

    def gramian(blocks):
        parts = [block.gramian(num_tasks) for block in blocks]
        # Twice, since the square of the scale may leave float32.
        return _sum(parts) / loss_scale / loss_scale

    if replicas.count() > 1:
        blocks, inner_products = _over_replicas(
            weighting, measured, jacobian, gramian
        )
    elif weighting.update_every == 1:
        blocks = jacobian()
        inner_products = gramian(blocks)
    else:
        inner_products = ops.cond(
            weighting.is_due(),
            lambda: gramian(jacobian()),
            lambda: ops.eye(num_tasks),
        )
    weights = scaled = weighting(losses, inner_products)
    # Whether it is that of this step and of the whole batch.
    is_exact = weighting.update_every == 1 and weighting.gramian_batch == 1
    if is_exact:
        scaled = weights * weighting.direction_scale(weights, inner_products)

    def combine(block):
        if weighting.is_linear:
            return block.combine(scaled)
        return block.combine_by(weighting, scaled, num_tasks)

    if (
        is_exact
        and weighting.gradients == "parameters"
        and len(measured) == len(split.shared_variables)
    ):
        # With several replicas the blocks are those of the whole batch, and the
        # optimizer adds up what the replicas make of them.
        gradients = {
            id(v): None if g is None else replicas.share_of_sum(g)
            for v, g in zip(measured, map(combine, blocks))
        }
    else:
        # The rows are missing or those of other tensors.
        combined = {
            key: combine(feature_block([c.get(key) for c in cotangents]))
            for key in split.boundary
        }
        gradients = _pull_back(split, pullback, combined, scaled)
        if weighting.max_norm is not None and not is_exact:
            direction = combined.values()
            if weighting.gradients == "parameters":
                direction = [gradients[id(v)] for v in measured]
            norm = _norm_over_replicas(weighting, direction) / loss_scale
            scale = weighting.scale_of_norm(norm)
            gradients = {k: _scale(g, scale) for k, g in gradients.items()}
    head_weights = weighting.head_weights()
    for i, task in enumerate(split.tasks):
        for v, g in zip(split.head_variables[task], head_gradients[task]):
            gradients[id(v)] = _scale(g, head_weights[i])
    return gradients, weights


def _over_replicas(weighting, measured, jacobian, gramian):
    """Computes the Gramian of a batch of which each replica has a part.

    Args:
        weighting: `Weighting`.
        measured: See `measured_variables`.
        jacobian: Function that returns the blocks of this replica.
        gramian: Function of blocks that returns their Gramian.

    Returns:
        Tuple of the blocks, for parameters those of the whole batch, and the
        Gramian. The blocks are `None` if the weights may not be due.
    """
    of_features = weighting.gradients == "features"
    if weighting.update_every == 1:
        blocks = jacobian()
        if of_features:
            return blocks, replicas.total(gramian(blocks))
        rows = replicas.total([block.rows for block in blocks])
        for block, rows_of_variable in zip(blocks, rows):
            block.rows = rows_of_variable
        return blocks, gramian(blocks)
    # Not in the branch: replicas do not meet there.
    due, num_tasks = weighting.is_due(), weighting.num_tasks
    if of_features:
        part = ops.cond(
            due,
            lambda: gramian(jacobian()),
            lambda: ops.zeros((num_tasks, num_tasks)),
        )
        whole = replicas.total(part)
    else:
        zeros = [ops.zeros((num_tasks, math.prod(v.shape))) for v in measured]
        rows = ops.cond(
            due,
            lambda: [
                block.all_rows(num_tasks) if block.tasks else rows
                for block, rows in zip(jacobian(), zeros)
            ],
            lambda: zeros,
        )
        rows = replicas.total(rows)
        whole = gramian([Block(ops.unstack(matrix)) for matrix in rows])
    return None, ops.where(due, whole, ops.eye(num_tasks))


def _norm_over_replicas(weighting, direction):
    """Returns the norm of a direction to which each replica contributes."""

    def total(value):
        # Each replica has other features, and the same parameters.
        if weighting.gradients == "features":
            return replicas.total(value)
        return value

    parts = [ops.cast(x, "float32") for x in direction if x is not None]
    if weighting.gradients == "parameters":
        parts = replicas.total(parts)
    # The squares may leave the range of float32 before the norm does.
    scale = total(_sum([ops.max(ops.abs(x)) for x in parts]))
    scale = ops.maximum(scale, TINY)
    squares = _sum([ops.sum(ops.square(x / scale)) for x in parts])
    return scale * ops.sqrt(total(squares))


class Block:
    """The gradients of all tasks with respect to one tensor.

    Args:
        rows: List of `T` tensors of one shape, `None` for zeros.
        stack: Function that stacks a list of tensors, which it may empty.
    """

    def __init__(self, rows, stack=ops.stack):
        self.tasks = [i for i, row in enumerate(rows) if row is not None]
        self.rows = [rows[i] for i in self.tasks]
        self._stack = stack

    @functools.cached_property
    def matrix(self):
        """The rows that are not zeros, flattened, shape `(tasks, N)`."""
        rows = [ops.reshape(ops.cast(g, "float32"), (-1,)) for g in self.rows]
        # The matrix takes their place: of the others, the shape is needed.
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
        return ops.matmul(self.matrix, ops.transpose(self.matrix))

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
        if weighting.gradients == "features":
            # The features of other replicas are other columns.
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
    """The same, for features under XLA.

    There, rows side by side make a faster product, and a sum of rows is one
    operation that writes no matrix.
    """

    def _gramian_of_rows(self):
        columns = [
            ops.reshape(ops.cast(g, "float32"), (-1,)) for g in self.rows
        ]
        columns = ops.stack(columns, axis=-1)
        return ops.matmul(ops.transpose(columns), columns)

    def combine(self, weights):
        if not self.tasks:
            return None
        combined = _sum(
            [
                weights[i] * ops.cast(row, "float32")
                for i, row in zip(self.tasks, self.rows)
            ]
        )
        return ops.cast(combined, self.rows[0].dtype)


def _by_task(split, copies):
    """Returns, for each task, the gradients of its loss for the boundary."""
    return [
        {key: copies[key, t] for key, ts in split.boundary.items() if t in ts}
        for t in split.tasks
    ]


def _part_of_rows(rows, fraction, growth):
    """Returns the gradients of the mean losses of a part of the batch."""
    if fraction == 1:
        return rows
    return [_scale(part, growth) for part in part_of_batch(rows, fraction)]


def _growth(tensors, fraction):
    """Returns how many times the examples of its part a batch has."""
    if fraction == 1:
        return 1.0
    whole = next(t for t in tensors if t is not None)
    sizes = [ops.shape(t)[0] for t in (whole, part_of_batch(whole, fraction))]
    # Replicas may have different numbers of examples.
    size, part = replicas.total([ops.cast(n, "float32") for n in sizes])
    return size / part


def _rows(split, pullback, cotangents, variables):
    """Returns, for each task, the gradients of its loss for `variables`."""
    trunk = _intersection(split.trunk_variables, variables)
    cross = _intersection(split.cross_variables, variables)
    rows = []
    # One after the other: all at once takes as long on a CPU, for dense layers
    # too, and the activations of T batches.
    for task, cotangent in zip(split.tasks, cotangents):
        row = dict(zip(map(id, trunk), pullback.trunk(cotangent, trunk)))
        for v, g in zip(cross, pullback.loss(task, cross) if cross else []):
            row[id(v)] = _sum([row.get(id(v)), g])
        rows.append([row[id(v)] for v in variables])
    return rows


def _pull_back(split, pullback, combined, weights):
    """Returns the gradients of the shared variables for one cotangent."""
    trunk, cross = split.trunk_variables, split.cross_variables
    gradients = dict(zip(map(id, trunk), pullback.trunk(combined, trunk)))
    for i, task in enumerate(split.tasks if cross else []):
        for v, g in zip(cross, pullback.loss(task, cross)):
            weighted = _scale(g, weights[i])
            gradients[id(v)] = _sum([gradients.get(id(v)), weighted])
    return gradients


def _intersection(variables, others):
    ids = set(map(id, others))
    return [v for v in variables if id(v) in ids]


def _scale(gradient, factor):
    if gradient is None:
        return None
    return gradient * ops.cast(factor, gradient.dtype)


def _sum(gradients):
    given = [g for g in gradients if g is not None]
    return functools.reduce(operator.add, given) if given else None


def add_penalty(split, gradients, pullback, variables):
    """Lists the gradients of `variables` with that of the penalty added."""
    direct, copies = pullback.penalty(variables)
    cotangents = {
        key: _sum([copies.get((key, task)) for task in tasks])
        for key, tasks in split.boundary.items()
    }
    through_trunk = [None] * len(variables)
    if any(cotangent is not None for cotangent in cotangents.values()):
        through_trunk = pullback.trunk(cotangents, variables)
    return [
        _sum([gradients.get(id(v)), *parts])
        for v, *parts in zip(variables, direct, through_trunk)
    ]
