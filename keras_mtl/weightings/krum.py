from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "krum",
    package="keras_mtl",
    paper="Blanchard et al., Machine Learning with Adversaries",
    year=2017,
    when="For comparison: made for faulty machines, trains few tasks.",
)
class Krum(GradientWeighting):
    """Krum and multi-Krum: the mean of the gradients nearest to the others.

    The score of a task is the sum of the squared distances of its gradient to
    the `T - num_byzantine - 2` nearest gradients of other tasks. The direction
    is the mean of the `num_selected` gradients with the lowest scores; of equal
    scores the first one is selected. Krum was made for workers of which some
    may be faulty; all tasks but the selected ones have the weight 0. With the
    default, that is all but one task in each step, often the same one, whose
    gradient is short or near to another's: the other tasks are not trained.

    The paper asks for `T > 2 * num_byzantine + 2`. With fewer tasks, the score
    is at least that of the nearest one.

    Args:
        num_byzantine: Number of gradients that may be faulty, f in the paper.
        num_selected: Number of gradients to average, m in the paper; 1 is Krum,
            more is multi-Krum.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> krum = keras_mtl.weightings.Krum(num_selected=2)
    >>> gradients = np.array([[0.0], [1.0], [1.5], [9.0]])
    >>> krum(np.ones(4), gradients @ gradients.T)
    [0.0, 0.5, 0.5, 0.0]

    Reference:
        - [Blanchard et al., 2017](https://arxiv.org/abs/1703.02757), section 4,
          and section 5 of the supplement for multi-Krum.
    """

    def __init__(
        self, num_byzantine: int = 0, num_selected: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_byzantine = checks.non_negative_integer(
            "num_byzantine", num_byzantine
        )
        self.num_selected = checks.positive_integer(
            "num_selected", num_selected
        )

    def build_state(self, num_tasks: int) -> None:
        if self.num_selected > num_tasks:
            raise ValueError(
                f"Expected `num_selected` to be at most {num_tasks}, the "
                "number of tasks. "
                f"Received: num_selected={self.num_selected}"
            )

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        num_nearest = max(self.num_tasks - self.num_byzantine - 2, 1)
        # The nearest one, the task itself at distance 0, is left out below.
        nearest = ops.sort(_squared_distances(gramian), axis=1)
        scores = ops.sum(nearest[:, 1 : num_nearest + 1], axis=1)
        selected = ops.argsort(scores)[: self.num_selected]
        chosen = ops.one_hot(selected, self.num_tasks, dtype="float32")
        return ops.mean(chosen, axis=0)


def _squared_distances(gramian):
    squared_norms = ops.diagonal(gramian)
    # Two nearest neighbours have equal scores only if the distances are
    # symmetric to the last bit.
    gramian = (gramian + ops.transpose(gramian)) / 2.0
    return ops.relu(squared_norms[:, None] + squared_norms - 2.0 * gramian)
