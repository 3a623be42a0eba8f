"""Sums over the replicas of a step, on TensorFlow and PyTorch.

Replicas are those of a `tf.distribute.Strategy`, and the processes of
`torch.distributed`. Elsewhere there is one replica, and nothing to do: arrays
of JAX are those of the whole batch, wherever their parts lie.

All replicas see the same sums, and so compute the same weights. That is why
the variables of a weighting have no `aggregation`: each writes its own copy.
"""

import contextlib

import keras

from keras_mtl.backend import keras_internals

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"
IS_TORCH = keras.backend.backend() == "torch"

if IS_TORCH:
    from keras_mtl.backend import torch_replicas


def count():
    """Returns the number of replicas that take this step together."""
    if IS_TORCH:
        return torch_replicas.count()
    context = _context()
    return 1 if context is None else context.num_replicas_in_sync


def total(tensors):
    """Returns the sums of tensors over the replicas, each a nest of them."""
    if count() == 1:
        return tensors
    if IS_TORCH:
        return torch_replicas.total(tensors)
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
    if IS_TORCH:
        whole, start, end = torch_replicas.join(matrix)
        return whole, lambda row: row[start:end]
    import tensorflow as tf

    context = _context()
    sizes = context.all_gather(tf.shape(matrix)[1:], axis=0)
    whole = context.all_gather(matrix, axis=1)
    place = context.replica_id_in_sync_group
    start = tf.reduce_sum(sizes[:place])
    return whole, lambda row: row[start : start + sizes[place]]


def share_of_sum(gradient):
    """Divides a gradient of the whole batch among the replicas.

    All replicas have the same one, and what they have of it is added up before
    an update.
    """
    if IS_TORCH and count() > 1:
        return gradient / count()
    return keras_internals.scale_loss_for_distribution(gradient)


def loss_of_part(loss):
    """Scales the part of a loss that a replica has, for its gradient.

    The gradients of a loss that `compute_loss` returns are added up over the
    replicas on TensorFlow. On PyTorch it is their mean that is taken, as
    Keras does there, so that a loss of the user's own need not be scaled.
    """
    return loss * count() if IS_TORCH else loss


def has_several(model):
    """Whether a step of `model` may be taken by several replicas."""
    if keras.distribution.distribution() is not None:
        return True
    if IS_TORCH:
        return torch_replicas.num_processes() > 1
    strategy = getattr(model, "distribute_strategy", None)
    return strategy is not None and strategy.num_replicas_in_sync > 1


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

    An update that may not be due is in a branch, where replicas do not meet.
    """
    strategy, optimizer = _strategy(model), model.optimizer
    if strategy is None:
        return
    import tensorflow as tf

    # Of a `LossScaleOptimizer`.
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
