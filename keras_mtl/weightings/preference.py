"""Preference vectors of gradient-balancing methods."""

import math

from keras import ops

from keras_mtl.weightings.weighting import GradientWeighting


class PreferenceWeighting(GradientWeighting):
    """Base class of the methods that take a weight of each gradient.

    Args:
        preference: List of `T` non-negative numbers, or `None` for the
            method's `default_preference`.
        **kwargs: See `GradientWeighting`.
    """

    def __init__(self, preference=None, **kwargs):
        super().__init__(**kwargs)
        self.preference = checked_preference(preference)

    def default_preference(self, num_tasks):
        """Returns the weight of each gradient where none are given."""
        return 1.0

    def build_state(self, num_tasks):
        # A wrong length is an error now, not in the first step.
        self.preferred()

    def preferred(self):
        """Returns the preference, a tensor of shape `(T,)`."""
        tasks = self.num_tasks
        default = self.default_preference(tasks)
        return preference_vector(self.preference, tasks, default)


def checked_preference(preference):
    """Returns `preference` as a list of floats, or `None`.

    Raises:
        ValueError: If an entry is negative or not finite, or all are zero.
    """
    if preference is None:
        return None
    values = [float(value) for value in preference]
    if not all(0 <= value < math.inf for value in values) or not any(values):
        raise ValueError(
            "Expected `preference` to be a list of non-negative numbers, not "
            f"all of them zero. Received: preference={preference}"
        )
    return values


def preference_vector(preference, num_tasks, default):
    """Returns a tensor of shape `(T,)`, by default filled with `default`.

    Raises:
        ValueError: If `preference` has not one entry per task.
    """
    if preference is None:
        return ops.full((num_tasks,), default, dtype="float32")
    if len(preference) != num_tasks:
        raise ValueError(
            f"Expected `preference` to have one entry for each of {num_tasks} "
            f"tasks. Received: preference={preference}"
        )
    return ops.convert_to_tensor(preference, "float32")
