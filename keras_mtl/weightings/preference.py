"""The base class of the methods that take a weight of each gradient."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting


class PreferenceWeighting(GradientWeighting):
    """Base class of the methods that take a weight of each gradient.

    Args:
        preference: List of `T` non-negative numbers, or `None` for the
            method's `default_preference`.
        **kwargs: See `GradientWeighting`.
    """

    def __init__(
        self, preference: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.preference = checks.preference("preference", preference)

    def default_preference(self, num_tasks: int) -> float:
        """Returns the weight of each gradient where none are given."""
        return 1.0

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("preference", self.preference, num_tasks)

    def preferred(self) -> Tensor:
        """Returns the preference, a tensor of shape `(T,)`."""
        preference = self.preference
        if preference is None:
            default = self.default_preference(self.num_tasks)
            preference = [default] * self.num_tasks
        return ops.convert_to_tensor(preference, "float32")
