from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend.compiling import entries

Tensor = Any


class TaskMeans(keras.metrics.Metric):
    """Means of values that each task has, for example of the task losses.

    One vector for all tasks costs a step less than a `keras.metrics.Mean` for
    each.

    Example:

    >>> means = TaskMeans(["seg_loss", "depth_loss"])
    >>> means.update_state([1.0, 4.0], sample_weight=[2.0, 2.0])
    >>> means.update_state([3.0, 7.0], sample_weight=[2.0, 0.0])
    >>> {name: float(mean) for name, mean in means.result().items()}
    {'seg_loss': 2.0, 'depth_loss': 4.0}

    Args:
        keys: List of `T` names.
    """

    def __init__(
        self, keys: Sequence[str], name: str = "task_means", **kwargs: Any
    ):
        super().__init__(name=name, **kwargs)
        self.keys = list(keys)
        shape = (len(self.keys),)
        self.total = self.add_variable(shape, "zeros", name="total")
        self.count = self.add_variable(shape, "zeros", name="count")

    def update_state(
        self, values: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Adds values of shape `(T,)`, with weights of that shape."""
        values = ops.cast(values, self.dtype)
        if sample_weight is None:
            sample_weight = ops.ones_like(values)
        sample_weight = ops.cast(sample_weight, self.dtype)
        self.total.assign_add(values * sample_weight)
        self.count.assign_add(sample_weight)

    def result(self) -> dict[str, Tensor]:
        """Returns a dict of key to mean, 0 for a key without values."""
        means = ops.divide_no_nan(self.total + 0.0, self.count + 0.0)
        return dict(zip(self.keys, entries(means)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keys": self.keys}
