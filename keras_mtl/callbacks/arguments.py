"""What several callbacks ask of their arguments, and of the model."""

from typing import Any

from keras_mtl.balanced_model import BalancedModel


def check_batch(data: Any) -> None:
    """Raises a `ValueError` for what is no batch of arrays."""
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return
    length = f" of length {len(data)}" if hasattr(data, "__len__") else ""
    raise ValueError(
        "Expected `data` to be a batch, `(x, y)` or "
        f"`(x, y, sample_weight)`. Received: {type(data)}{length}"
    )


def check_model(callback: Any, model: Any) -> None:
    """Raises a `ValueError` if a callback watches another kind of model."""
    if not isinstance(model, BalancedModel):
        raise ValueError(
            f"Expected `{type(callback).__name__}` to watch the training of a "
            f"`MultiTaskModel`. Received: {model}"
        )
