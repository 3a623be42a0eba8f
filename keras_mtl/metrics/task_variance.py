from typing import Any

from keras import ops

Tensor = Any


def task_variance(losses: Tensor) -> Tensor:
    """Computes the variance between the losses of the tasks.

    It is the mean squared difference to the tasks' mean loss, that is, divided
    by `T`, not by `T - 1`. BanditMTL regularizes it.

    Example:

    >>> round(float(keras_mtl.metrics.task_variance([1.0, 2.0, 6.0])), 4)
    4.6667

    Args:
        losses: Losses of the tasks, shape `(..., T)`: for example `(T,)` for
            one step, or `(epochs, T)` for a training.

    Returns:
        Tensor of shape `(...)`.

    Raises:
        ValueError: If `losses` has no axis of tasks.

    Reference:
        [Mao et al., 2021](https://aclanthology.org/2021.acl-long.428/),
        equation 3.
    """
    losses = ops.convert_to_tensor(losses)
    if len(losses.shape) == 0 or losses.shape[-1] == 0:
        raise ValueError(
            "Expected `losses` to have shape `(..., T)` for at least one task. "
            f"Received: losses.shape={tuple(losses.shape)}"
        )
    return ops.var(losses, axis=-1)
