"""The gradients of the tasks on one batch, from a pullback."""

import math

import keras
from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.numerics import scaled
from keras_mtl.backend.numerics import total_of
from keras_mtl.training.block import Block
from keras_mtl.training.block import FusedBlock
from keras_mtl.training.measured_variables import measured_variables
from keras_mtl.training.parameter_groups import parameter_groups


class TaskGradients:
    """The gradients of the task losses, as a weighting compares and joins them.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.
        pullback: `Pullback` of the whole batch.
        part: The `Pullback` of the part of the batch on which the gradients of
            parameters are compared, or `None` for the whole batch.
        loss_scale: Scalar, the factor of the losses in mixed precision.

    Attributes:
        measured: List of the variables on which gradients are compared.
        groups: The number of the group of each of these, in which it is
            weighed.
        of_heads: Dict of task to the gradients of its own variables.
    """

    def __init__(self, split, weighting, pullback, part=None, loss_scale=1.0):
        self.num_tasks = len(split.tasks)
        self.loss_scale = loss_scale
        self._split = split
        self._is_grouped = weighting.groups != "model"
        self._num_parts = weighting.num_parts
        self._of_features = weighting.measurement.gradients == "features"
        self._fraction = weighting.measurement.gramian_batch
        self._pullback, self._part = pullback, part
        copies, self.of_heads = pullback.heads()
        # Without a graph, the split knows the shared variables only now.
        self.measured = measured_variables(split, weighting)
        self.groups = parameter_groups(self.measured, weighting.groups)
        self._cotangents = _by_task(split, copies)
        self._growth = 1.0
        if self._of_features:
            # The growth is computed outside of `ops.cond`: a sum over replicas
            # inside of a branch would deadlock.
            self._growth = _growth([*copies.values()], self._fraction)

    @property
    def covers_the_trunk(self):
        """Whether `jacobian` has the blocks of all shared variables."""
        return not self._of_features and len(self.measured) == len(
            self._split.shared_variables
        )

    @property
    def is_fused(self):
        """Whether XLA compiles the step."""
        return self._pullback.is_fused

    @property
    def joins_replicas(self):
        """Whether a layer communicates with other replicas in a pass."""
        layers = self._split.layers.values()
        return any(getattr(layer, "synchronized", False) for layer in layers)

    def jacobian(self):
        """Returns the gradients that are compared, by tensor, as `Block`s."""
        if self._of_features:
            return [*map(self._feature_block, self._compared_features())]
        pullback, cotangents = self._pullback, self._cotangents
        if self._part is not None:
            pullback = self._part
            cotangents = _by_task(self._split, pullback.heads()[0])
        rows = _rows(self._split, pullback, cotangents, self.measured)
        return [
            Block(of_variable, self._pullback.stack, self.is_fused)
            for of_variable in zip(*rows)
        ]

    def gramian(self, blocks):
        """Returns the inner products of the gradients.

        They are of shape `(T, T)`, or `(K, T, T)` for `K` groups of variables
        or parts of the batch.
        """
        parts = [block.gramian(self.num_tasks) for block in blocks]
        if self._is_grouped:
            gramian = ops.stack(self._totals_of_groups(parts))
        elif self._num_parts > 1:
            gramian = ops.stack(self._gramians_of_parts())
        else:
            gramian = total_of(parts)
        # The scale divides twice, since its square may leave float32.
        return gramian / self.loss_scale / self.loss_scale

    def _totals_of_groups(self, parts):
        return [
            total_of([x for x, of in zip(parts, self.groups) if of == group])
            for group in range(1 + max(self.groups))
        ]

    def _gramians_of_parts(self):
        features = self._compared_features()
        return [
            total_of(
                [
                    self._feature_block(
                        _nth_part(rows, n, self._num_parts)
                    ).gramian(self.num_tasks)
                    for rows in features
                ]
            )
            for n in range(self._num_parts)
        ]

    @property
    def stand_in(self):
        """What takes the place of the Gramian where it is not computed."""
        identity = ops.eye(self.num_tasks)
        if self._num_parts == 1:
            return identity
        return ops.stack([identity] * self._num_parts)

    def combined_features(self, combine):
        """Returns what `combine` makes of the `Block` of each boundary tensor.

        Returns:
            Dict of boundary key to tensor.
        """
        keys = self._split.boundary
        blocks = map(self._feature_block, self._of_boundary())
        return dict(zip(keys, map(combine, blocks)))

    def pull_back(self, cotangents, weights):
        """Returns the gradients of the shared variables for one cotangent.

        Args:
            cotangents: Dict of boundary key to tensor.
            weights: Tensor of shape `(T,)`, for the gradients of shared
                variables that do not pass through the boundary.

        Returns:
            Dict of `id(variable)` to gradient.
        """
        split = self._split
        trunk, cross = split.trunk_variables, split.cross_variables
        gradients = self._pullback.trunk(cotangents, trunk)
        gradients = dict(zip(map(id, trunk), gradients))
        if cross:
            for v, g in zip(cross, self._pullback.weighted(weights, cross)):
                gradients[id(v)] = total_of([gradients.get(id(v)), g])
        return gradients

    def _feature_block(self, rows):
        if self.is_fused:
            return FusedBlock(rows, self._pullback.few_rows)
        return Block(rows)

    def _compared_features(self):
        """Lists the rows of which the Gramian is made, by boundary tensor."""
        return [
            _part_of_rows(rows, self._fraction, self._growth)
            for rows in self._of_boundary()
        ]

    def _of_boundary(self):
        """Lists the rows of each boundary tensor, one for each task."""
        return [
            [cotangents.get(key) for cotangents in self._cotangents]
            for key in self._split.boundary
        ]


def part_of_batch(batch, fraction, from_end=False):
    """Returns the first or last examples of a nest of tensors or `None`."""
    given = [t for t in keras.tree.flatten(batch) if t is not None]
    size = ops.shape(given[0])[0]
    if isinstance(size, int):
        count = math.ceil(fraction * size)
    else:
        count = ops.ceil(fraction * ops.cast(size, "float32"))
        count = ops.cast(count, "int32")
    part = slice(size - count, None) if from_end else slice(count)
    return keras.tree.map_structure(
        lambda tensor: None if tensor is None else tensor[part], batch
    )


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
    return [scaled(part, growth) for part in part_of_batch(rows, fraction)]


def _nth_part(rows, n, number):
    """Returns one of several parts of the batch, of equal size but the last."""
    given = [row for row in rows if row is not None]
    if not given:
        return rows
    size = ops.shape(given[0])[0]
    part = (size + number - 1) // number
    return [
        None if row is None else row[n * part : (n + 1) * part] for row in rows
    ]


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
    # The tasks go one after the other: all at once would take as long on a CPU,
    # for dense layers too, and the memory of the activations of T batches.
    for task, cotangent in zip(split.tasks, cotangents):
        row = dict(zip(map(id, trunk), pullback.trunk(cotangent, trunk)))
        for v, g in zip(cross, pullback.loss(task, cross) if cross else []):
            row[id(v)] = total_of([row.get(id(v)), g])
        rows.append([row[id(v)] for v in variables])
    return rows


def _intersection(variables, others):
    ids = set(map(id, others))
    return [v for v in variables if id(v) in ids]
