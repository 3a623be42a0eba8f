"""What keeps numbers in the range of float32."""

from typing import Any

from keras import ops

# A tensor of the backend, or what it converts to one.
Tensor = Any

# Below it, 1 / loss would leave the range of float32.
TINY = 1e-37


def inverse(losses: Tensor) -> Tensor:
    """Returns 1 / losses for positive losses, else 0.

    These are the weights with which the gradient of `w * L` is that of
    `log(L)`.

    Args:
        losses: Float tensor of any shape.

    Returns:
        Tensor of that shape.
    """
    positive = losses > TINY
    return ops.where(positive, 1.0 / ops.where(positive, losses, 1.0), 0.0)
