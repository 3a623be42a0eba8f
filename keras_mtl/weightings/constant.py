from collections.abc import Mapping
from collections.abc import Sequence
from numbers import Real
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "constant",
    package="keras_mtl",
    paper="Constant weights",
    when="You know good weights, by experience or from a search.",
)
class Constant(Weighting):
    """Weights that do not change, found by hand or by a search.

    They are used as the weights of any other method, and leave the `loss` in
    the history as it is, so that it compares with that of other methods.
    (`loss_weights` of `compile` change the losses themselves.)

    `weighting={"seg": 1.0, "depth": 0.25}` makes one.

    Args:
        values: Dict of task to float, or list of `T` floats, the weights in the
            order of the tasks, or `None`: 1 each, as `Equal`.

    Example:

    >>> constant = keras_mtl.weightings.Constant([1.0, 0.25])
    >>> constant(np.array([0.5, 2.0]))
    [1.0, 0.25]
    """

    def __init__(
        self,
        values: Mapping[str, float] | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if values is not None:
            values = _checked(values)
        self.values = values
        # Without a model that names its tasks, they are those of the dict.
        self._tasks = list(values) if isinstance(values, dict) else None

    def name_tasks(self, tasks: Sequence[str]) -> None:
        if not isinstance(self.values, dict):
            return
        if set(self.values) != set(tasks):
            raise ValueError(
                f"Expected one weight for each of the tasks {list(tasks)}. "
                f"Received: values={dict(self.values)}"
            )
        self._tasks = list(tasks)

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("values", self._in_order(), num_tasks)

    def compute_weights(self, losses: Tensor) -> Tensor:
        if self.values is None:
            return ops.ones_like(losses)
        return ops.convert_to_tensor(self._in_order(), "float32")

    def _in_order(self):
        """Returns the list of the weights in the order of the tasks."""
        if isinstance(self.values, dict):
            return [self.values[task] for task in self._tasks]
        return None if self.values is None else list(self.values)


def _checked(values):
    expected = (
        "a dict of task to a finite number, or a list of finite numbers, one "
        "weight per task in the order of the tasks"
    )
    if isinstance(values, Mapping):
        numbers = checks.numbers_of("values", list(values.values()), expected)
        return dict(zip(values, numbers))
    return checks.numbers_of("values", values, expected)


@WEIGHTINGS.convert(
    lambda identifier: (
        isinstance(identifier, Mapping)
        and len(identifier) > 0
        and all(isinstance(value, Real) for value in identifier.values())
    )
)
def _constant_of_dict(weights):
    """Makes fixed weights of a dict of task to number."""
    return Constant(weights)
