"""Gradient balancing: from the gradients of the tasks to one gradient."""

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.compiling import entries
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import scaled
from keras_mtl.backend.numerics import total_of
from keras_mtl.training import gramian_over_replicas
from keras_mtl.training.task_gradients import TaskGradients


def balanced_gradients(
    split, weighting, losses, pullback, loss_scale=1.0, part=None
):
    """Computes the gradients of all variables, with the tasks balanced.

    Args:
        split: `GraphSplit`.
        weighting: `Weighting` with `needs_gradients`.
        losses: Tensor of shape `(T,)`, the task losses.
        pullback: `Pullback`, whose gradients are those of the losses times
            `loss_scale`.
        loss_scale: Scalar, the loss scale of mixed precision.
        part: The `Pullback` of the part of the batch from which the Gramian is
            computed, or `None` for `pullback`.

    Returns:
        Tuple `(gradients, weights)`: dict of `id(variable)` to the gradient
        times `loss_scale`, and the weights, shape `(T,)`.
    """
    tasks = TaskGradients(split, weighting, pullback, part, loss_scale)
    blocks, gramian = _blocks_and_gramian(tasks, weighting)
    weights = weighting(losses, gramian)
    with weighting.combining(losses, gramian):
        gradients = _direction(tasks, weighting, blocks, weights, gramian)
    head_weights = entries(weighting.head_weights())
    for task, weight in zip(split.tasks, head_weights):
        for v, g in zip(split.head_variables[task], tasks.of_heads[task]):
            gradients[id(v)] = scaled(g, weight)
    factor = pullback.factor()
    if factor is not None:
        gradients = {key: scaled(g, factor) for key, g in gradients.items()}
    return gradients, weights


def _blocks_and_gramian(tasks, weighting):
    """Computes what the weighting compares.

    Returns:
        Tuple of the blocks, `None` if the weights may not be due, and the
        Gramian, any matrix where the weights are not due.
    """
    if replicas.count() > 1:
        return gramian_over_replicas.blocks_and_gramian(tasks, weighting)
    if weighting.measurement.update_every == 1:
        blocks = tasks.jacobian()
        return blocks, tasks.gramian(blocks)
    return None, ops.cond(
        weighting.is_due(),
        lambda: tasks.gramian(tasks.jacobian()),
        lambda: tasks.stand_in,
    )


def _direction(tasks, weighting, blocks, weights, gramian):
    """Returns the gradients of the shared variables, a dict of their ids."""
    measurement = weighting.measurement
    if weighting.groups != "model":
        return _direction_of_groups(tasks, weighting, blocks, gramian)
    # Whether the Gramian is that of this step and of the whole batch.
    is_exact = measurement.update_every == 1 and measurement.gramian_batch == 1
    if is_exact:
        weights = weights * measurement.direction_scale(weights, gramian)

    def combine(block):
        if weighting.is_linear:
            return block.combine(weights)
        return block.combine_by(weighting, weights, tasks.num_tasks)

    if is_exact and tasks.covers_the_trunk:
        # With several replicas the blocks are those of the whole batch, and the
        # optimizer adds up what the replicas make of them.
        return {
            id(v): None if g is None else replicas.share_of_sum(g)
            for v, g in zip(tasks.measured, map(combine, blocks))
        }
    combined = tasks.combined_features(combine)
    gradients = tasks.pull_back(combined, weights)
    if measurement.max_norm is None or is_exact:
        return gradients
    direction = combined.values()
    if measurement.gradients == "parameters":
        direction = [gradients[id(v)] for v in tasks.measured]
    norm = _norm_over_replicas(measurement.gradients, direction)
    scale = measurement.clip(norm / tasks.loss_scale)
    return {key: scaled(g, scale) for key, g in gradients.items()}


def _direction_of_groups(tasks, weighting, blocks, gramians):
    """Returns the same, where each group of variables has its weights."""
    weights = weighting.weights_of_groups()
    scale = weighting.measurement.direction_scale(weights, gramians)
    combined = [
        block.combine(scale * weights[group])
        for block, group in zip(blocks, tasks.groups)
    ]
    return {
        id(v): None if g is None else replicas.share_of_sum(g)
        for v, g in zip(tasks.measured, combined)
    }


def _norm_over_replicas(gradients, direction):
    """Returns the norm of a direction to which each replica contributes."""

    def total(value):
        # Each replica has other features, and the same parameters.
        if gradients == "features":
            return replicas.total(value)
        return value

    parts = [ops.cast(x, "float32") for x in direction if x is not None]
    if gradients == "parameters":
        parts = replicas.total(parts)
    # The squares may leave the range of float32 before the norm does.
    scale = total(total_of([ops.max(ops.abs(x)) for x in parts]))
    scale = ops.maximum(scale, TINY)
    squares = total_of([ops.sum(ops.square(x / scale)) for x in parts])
    return scale * ops.sqrt(total(squares))


def add_penalty(split, gradients, pullback, variables):
    """Adds the gradients of regularizers and of `add_loss`.

    Args:
        split: `GraphSplit`.
        gradients: Dict of `id(variable)` to gradient.
        pullback: `Pullback`.
        variables: List of all trainable variables.

    Returns:
        List of the gradients of `variables`.
    """
    direct, copies = pullback.penalty(variables)
    cotangents = {
        key: total_of([copies.get((key, task)) for task in tasks])
        for key, tasks in split.boundary.items()
    }
    through_trunk = [None] * len(variables)
    if any(cotangent is not None for cotangent in cotangents.values()):
        through_trunk = pullback.trunk(cotangents, variables)
    return [
        total_of([gradients.get(id(v)), *parts])
        for v, *parts in zip(variables, direct, through_trunk)
    ]
