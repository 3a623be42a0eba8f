"""Sums over the replicas that take a step together, each a part of its batch.

Replicas are those of a `tf.distribute.Strategy`, and the processes of
`torch.distributed`. Elsewhere there is one, and nothing to do.

All replicas see the same sums, and so compute the same weights. That is why
the variables of a weighting have no `aggregation`: each writes its own copy.
"""

from typing import Any

from keras_mtl.backend.primitives import of_backend

_own = of_backend().replicas


def count() -> int:
    """Returns the number of replicas that take this step together."""
    return _own.count()


def total(tensors: Any) -> Any:
    """Returns the sums of tensors over the replicas, each a nest of them."""
    return _own.total(tensors)


def join(matrix: Any) -> tuple:
    """Joins the columns of a matrix that each replica has some of.

    Args:
        matrix: Float tensor of shape `(T, N)`, with an `N` for each replica.

    Returns:
        Tuple `(whole, own_part)`: the matrix with the columns of all replicas,
        and a function that returns, of a row of it, this replica's part.
    """
    return _own.join(matrix)


def total_before_update(gradients: list) -> list:
    """Adds up gradients where Keras's optimizer does not."""
    return _own.total_before_update(gradients)


def share_of_sum(gradient: Any) -> Any:
    """Divides a gradient of the whole batch among the replicas.

    All replicas have the same one, and what they have of it is added up before
    an update.
    """
    return _own.share_of_sum(gradient)


def loss_of_part(loss: Any) -> Any:
    """Scales the part of a loss that a replica has, for its gradient.

    The gradients of a loss that `compute_loss` returns are added up over the
    replicas on TensorFlow. On PyTorch it is their mean that is taken, as
    Keras does there, so that a loss of the user's own need not be scaled.
    """
    return _own.loss_of_part(loss)


def scale_of_part(scale: Any) -> Any:
    """Returns the loss scale of a part whose gradients are added up."""
    return _own.scale_of_part(scale)


def has_several(model: Any) -> bool:
    """Whether a step of `model` may be taken by several replicas."""
    return _own.has_several(model)


def is_first_process(model: Any) -> bool:
    """Whether, of the processes that train `model` together, this is the first.

    It is if it trains alone.
    """
    return _own.is_first_process(model)


def scope(model: Any) -> Any:
    """Returns the context in which the variables of a model are made."""
    return _own.scope(model)


def check_variables(model: Any, weighting: Any) -> None:
    """Raises a `ValueError` if a weighting was made for one replica.

    All replicas would write to one variable, once each in a step.
    """
    _own.check_variables(model, weighting)


def check_optimizer(model: Any) -> None:
    """Raises a `ValueError` if Keras cannot update with several replicas."""
    _own.check_optimizer(model)
