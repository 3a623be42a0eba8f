import math

import keras
from keras import ops

from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Tchebycheff(Weighting):
    """Tchebycheff scalarization: only the task that is worst off is trained.

    The loss is the largest of λ (L − z) over the tasks, with λ the preference
    and z the ideal point. The weights are its gradient: λ for the task with
    the largest distance (the first one of equals), else 0. A task without a
    label in the batch takes no part, and has weight 0.

    Args:
        preference: List of `T` positive floats λ, or `None`: uniform, 1 / T
            each. It is used as it is given; the paper's sums to 1.
        ideal: The ideal point z, a float or list of `T` floats, in the units
            of the losses: losses that cannot be reached or just so. `None`: 0.

    Example:

    >>> keras_mtl.weightings.Tchebycheff()(np.array([0.5, 2.0]))
    [0.0, 0.5]

    Reference:
        - [Lin et al., 2024](https://arxiv.org/abs/2402.19078), "Tchebycheff
          scalarization".
    """

    paper = "Lin et al., Smooth Tchebycheff Scalarization (the hard form)"
    year = 2024

    def __init__(self, preference=None, ideal=None, **kwargs):
        super().__init__(**kwargs)
        self.preference = None if preference is None else _floats(preference)
        if preference is not None and not all(
            0 < value < math.inf for value in self.preference
        ):
            raise ValueError(
                "Expected `preference` to be positive numbers, one per task. "
                f"Received: preference={preference}"
            )
        is_list = ideal is not None and not isinstance(ideal, (int, float))
        self.ideal = _floats(ideal) if is_list else ideal

    def build_state(self, num_tasks):
        for name in ("preference", "ideal"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != num_tasks:
                raise ValueError(
                    f"Expected `{name}` to have one entry for each of "
                    f"{num_tasks} tasks. Received: {name}={value}"
                )

    def preferences(self):
        """Returns λ, shape `(T,)`."""
        if self.preference is None:
            return ops.ones((self.num_tasks,)) / self.num_tasks
        return ops.convert_to_tensor(list(self.preference), "float32")

    def distances(self, losses):
        """Returns λ (L − z), shape `(T,)`."""
        ideal = 0.0 if self.ideal is None else self.ideal
        ideal = list(ideal) if isinstance(ideal, list) else ideal
        ideal = ops.convert_to_tensor(ideal, "float32")
        return self.preferences() * (losses - ideal)

    def compute_weights(self, losses):
        labelled = ops.not_equal(losses, 0.0)
        shares = self.shares(self.distances(losses), labelled)
        return self.preferences() * shares

    def shares(self, distances, labelled):
        """Returns the gradient of the largest distance, shape `(T,)`."""
        worst = ops.argmax(ops.where(labelled, distances, -math.inf))
        one_hot = ops.one_hot(worst, self.num_tasks, dtype="float32")
        return ops.where(labelled, one_hot, 0.0)


def _floats(values):
    return [float(value) for value in values]
