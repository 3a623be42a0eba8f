"""Sums over the replicas of a `tf.distribute.Strategy`."""

import contextlib

import tensorflow as tf

from keras_mtl.backend.keras_internals import scale_loss_for_distribution
from keras_mtl.backend.one_replica import has_several as has_distribution
from keras_mtl.backend.one_replica import loss_of_part  # noqa: F401
from keras_mtl.backend.one_replica import scale_of_part  # noqa: F401

# The optimizer of Keras adds up the gradients of the replicas itself.
from keras_mtl.backend.one_replica import total_before_update  # noqa: F401

share_of_sum = scale_loss_for_distribution


def count():
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def total(tensors):
    if count() == 1:
        return tensors
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def join(matrix):
    if count() == 1:
        return matrix, lambda row: row
    context = tf.distribute.get_replica_context()
    sizes = context.all_gather(tf.shape(matrix)[1:], axis=0)
    whole = context.all_gather(matrix, axis=1)
    place = context.replica_id_in_sync_group
    start = tf.reduce_sum(sizes[:place])
    return whole, lambda row: row[start : start + sizes[place]]


def has_several(model):
    strategy = getattr(model, "distribute_strategy", None)
    has_replicas = strategy is not None and strategy.num_replicas_in_sync > 1
    return has_replicas or has_distribution(model)


def is_first_process(model):
    strategy = getattr(model, "distribute_strategy", None)
    return strategy is None or strategy.extended.should_checkpoint


def scope(model):
    strategy = _strategy(model)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_variables(model, weighting):
    strategy = _strategy(model)
    if strategy is None:
        return
    for variable in weighting.variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise ValueError(
                "Expected a weighting that was made in the `scope()` of the "
                f"model's {type(strategy).__name__}, as the model was. "
                f"Received: {weighting}, whose variable {variable.path!r} was "
                "not"
            )


def check_optimizer(model):
    # With `gradient_accumulation_steps`, Keras updates in a branch of a
    # `tf.cond`, where the sum over the replicas would deadlock.
    strategy, optimizer = _strategy(model), model.optimizer
    if strategy is None:
        return
    # A `LossScaleOptimizer` has the optimizer inside.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    steps = getattr(optimizer, "gradient_accumulation_steps", None)
    has_one = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    if steps is not None and not has_one:
        raise ValueError(
            "Keras does not accumulate gradients over the replicas of a "
            "strategy of TensorFlow; take larger batches. Received: "
            f"gradient_accumulation_steps={steps}, {type(strategy).__name__}"
        )


def _strategy(model):
    """Returns the strategy in whose scope a model was made, or `None`."""
    return getattr(model, "_distribute_strategy", None)
