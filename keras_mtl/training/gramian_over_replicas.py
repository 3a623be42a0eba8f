"""The Gramian of a batch of which each replica has a part."""

import math

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.training.block import Block


def blocks_and_gramian(tasks, weighting):
    """Computes the Gramian of the whole batch, on each replica.

    Args:
        tasks: `TaskGradients` of this replica's part of the batch.
        weighting: `Weighting` with `needs_gradients`.

    Returns:
        Tuple of the blocks, for parameters those of the whole batch, and the
        Gramian. The blocks are `None` if the weights may not be due.
    """
    of_features = weighting.measurement.gradients == "features"
    if weighting.measurement.update_every == 1:
        return (_of_features if of_features else _of_parameters)(tasks)
    # What is sent between replicas is kept out of `ops.cond`: a collective
    # inside of a branch would deadlock.
    due = weighting.is_due()
    which = _features_if_due if of_features else _parameters_if_due
    return None, ops.where(due, which(tasks, due), tasks.stand_in)


def _of_features(tasks):
    blocks = tasks.jacobian()
    return blocks, replicas.total(tasks.gramian(blocks))


def _of_parameters(tasks):
    blocks = tasks.jacobian()
    rows = replicas.total([block.rows for block in blocks])
    for block, rows_of_variable in zip(blocks, rows):
        block.rows = rows_of_variable
    return blocks, tasks.gramian(blocks)


def _features_if_due(tasks, due):
    part = ops.cond(
        due,
        lambda: tasks.gramian(tasks.jacobian()),
        lambda: ops.zeros_like(tasks.stand_in),
    )
    return replicas.total(part)


def _parameters_if_due(tasks, due):
    zeros = [
        ops.zeros((tasks.num_tasks, math.prod(v.shape))) for v in tasks.measured
    ]
    # A layer that joins the replicas' statistics sends something, too.
    choose = _first_branch if tasks.joins_replicas else ops.cond
    rows = choose(
        due,
        lambda: [
            block.all_rows(tasks.num_tasks) if block.tasks else nothing
            for block, nothing in zip(tasks.jacobian(), zeros)
        ],
        lambda: zeros,
    )
    rows = replicas.total(rows)
    return tasks.gramian(
        [Block(ops.unstack(matrix), is_fused=tasks.is_fused) for matrix in rows]
    )


def _first_branch(due, first, second):
    del due, second
    return first()
