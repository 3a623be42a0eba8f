from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "constant",
    package="keras_mtl",
    paper="Constant weights",
)
class Constant(Weighting):
    """Weights that do not change, found by hand or by a search.

    They act where those of the other methods do, so that the history's `loss`
    compares with other methods'; `loss_weights` of `compile` change the losses
    that a method sees.

    Args:
        values: List of `T` floats, the weights in the order of the tasks, or
            `None`: 1 each, as `Equal`.

    Example:

    >>> constant = keras_mtl.weightings.Constant([1.0, 0.25])
    >>> constant(np.array([0.5, 2.0]))
    [1.0, 0.25]
    """

    def __init__(
        self, values: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # A weighting does not know the names of the tasks, as a dict has them.
        expected = (
            "a list of finite numbers, one weight per task in the order of the "
            "tasks"
        )
        if values is not None:
            values = checks.numbers_of("values", values, expected)
        self.values = values

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("values", self.values, num_tasks)

    def compute_weights(self, losses: Tensor) -> Tensor:
        if self.values is None:
            return ops.ones_like(losses)
        return ops.convert_to_tensor(list(self.values), "float32")
