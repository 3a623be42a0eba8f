import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.preferred_losses import PreferredLosses
from keras_mtl.weightings.registry import register


@register(
    "tchebycheff",
    package="keras_mtl",
    paper="Lin et al., Smooth Tchebycheff Scalarization (the hard form)",
    year=2024,
    when="Only the worst task should be trained. Losses of one scale.",
)
class Tchebycheff(PreferredLosses):
    """Tchebycheff scalarization: only the task that is worst off is trained.

    The loss is the largest of λ (L − z) over the tasks, with λ the preference
    and z the ideal point. The weights are its gradient: λ for the task with
    the largest distance (the first one of equals), else 0. A task without a
    label in the batch takes no part, and has weight 0.

    With losses of different scales the task of the largest scale is the only
    one that is ever trained, unless `preference` makes up for the scales.

    Args:
        preference: List of `T` positive floats λ, or `None`: uniform, 1 / T
            each. It is used as it is given; the paper's sums to 1.
        ideal: The ideal point z, a float or list of `T` floats, in the units
            of the losses: losses that are out of reach, or only just within it.
            `None`: 0.

    Example:

    >>> keras_mtl.weightings.Tchebycheff()(np.array([0.5, 2.0]))
    [0.0, 0.5]

    Reference:
        - [Lin et al., 2024](https://arxiv.org/abs/2402.19078), "Tchebycheff
          scalarization".
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        ideal: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(preference, **kwargs)
        if ideal is not None:
            ideal = checks.number_or_list("ideal", ideal)
        self.ideal = ideal

    def build_state(self, num_tasks: int) -> None:
        super().build_state(num_tasks)
        checks.one_per_task("ideal", self.ideal, num_tasks)

    def above_ideal(self, losses: Tensor) -> Tensor:
        """Returns L − z, shape `(T,)`."""
        ideal = 0.0 if self.ideal is None else self.ideal
        ideal = list(ideal) if isinstance(ideal, list) else ideal
        ideal = ops.convert_to_tensor(ideal, "float32")
        return losses - ideal

    def distances(self, losses: Tensor) -> Tensor:
        """Returns λ (L − z), shape `(T,)`."""
        return self.preferences() * self.above_ideal(losses)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = ops.not_equal(losses, 0.0)
        shares = self.shares(self.distances(losses), labelled)
        return self.preferences() * shares

    def shares(self, distances: Tensor, labelled: Tensor) -> Tensor:
        """Returns the gradient of the largest distance, shape `(T,)`."""
        worst = ops.argmax(ops.where(labelled, distances, -math.inf))
        one_hot = ops.one_hot(worst, self.num_tasks, dtype="float32")
        return ops.where(labelled, one_hot, 0.0)
