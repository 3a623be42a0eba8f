"""Sums over the replicas of a `tf.distribute.Strategy`.

Elsewhere there is one replica, and nothing to do: arrays of JAX are those of
the whole batch, wherever their parts lie.

All replicas see the same sums, and so compute the same weights. That is why
the variables of a weighting have no `aggregation`: each writes its own copy.
"""

import contextlib

import keras

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"


def count():
    """Returns the number of replicas that take this step together."""
    context = _context()
    return 1 if context is None else context.num_replicas_in_sync


def total(tensors):
    """Returns the sums of tensors over the replicas, each a nest of them."""
    if count() == 1:
        return tensors
    import tensorflow as tf

    return _context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def join(matrix):
    """Joins the columns of a matrix that each replica has some of.

    Args:
        matrix: Float tensor of shape `(T, N)`, with an `N` for each replica.

    Returns:
        Tuple `(whole, own_part)`: the matrix with the columns of all replicas,
        and a function that returns, of a row of it, this replica's part.
    """
    if count() == 1:
        return matrix, lambda row: row
    import tensorflow as tf

    context = _context()
    sizes = context.all_gather(tf.shape(matrix)[1:], axis=0)
    whole = context.all_gather(matrix, axis=1)
    place = context.replica_id_in_sync_group
    start = tf.reduce_sum(sizes[:place])
    return whole, lambda row: row[start : start + sizes[place]]


def scope(model):
    """Returns the context in which the variables of a model are made."""
    strategy = _strategy(model)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_variables(model, weighting):
    """Raises a `ValueError` if a weighting was made for one replica.

    All replicas would write to one variable, once each in a step.
    """
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
    """Raises a `ValueError` if Keras cannot update with a strategy.

    With `gradient_accumulation_steps`, Keras updates in a branch of a
    `tf.cond`, where the replicas' sum of the gradients would deadlock.
    """
    strategy, optimizer = _strategy(model), model.optimizer
    if strategy is None:
        return
    import tensorflow as tf

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


def _context():
    """Returns TensorFlow's replica context, `None` outside of replicas."""
    if not IS_TENSORFLOW:
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()


def _strategy(model):
    """Returns the strategy in whose scope a model was made, or `None`."""
    return getattr(model, "_distribute_strategy", None)
