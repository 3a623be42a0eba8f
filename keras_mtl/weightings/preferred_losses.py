"""The base class of the scalarizations that take a preference."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.weighting import Weighting


class PreferredLosses(Weighting):
    """Base class of the scalarizations that take a preference.

    Args:
        preference: List of `T` positive floats, or `None`: 1 / T each. It is
            used as it is given.
        **kwargs: See `Weighting`.
    """

    def __init__(
        self, preference: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if preference is not None:
            preference = checks.numbers_of(
                "preference",
                preference,
                "a list of positive numbers, one per task",
                lambda value: value > 0,
            )
        self.preference = preference

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("preference", self.preference, num_tasks)

    def preferences(self) -> Tensor:
        """Returns the preference, a tensor of shape `(T,)`."""
        if self.preference is None:
            return ops.ones((self.num_tasks,)) / self.num_tasks
        return ops.convert_to_tensor(list(self.preference), "float32")
