import keras
from keras import ops

from keras_mtl.weightings.weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Krum(GradientWeighting):
    """Krum and multi-Krum: the mean of the gradients nearest to the others.

    The score of a task is the sum of the squared distances of its gradient to
    the `T - num_byzantine - 2` nearest gradients of other tasks. The direction
    is the mean of the `num_selected` gradients with the lowest scores; of equal
    scores the first one is selected. Krum was made for workers of which some
    may be faulty; all tasks but the selected ones have the weight 0.

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

    paper = "Blanchard et al., Machine Learning with Adversaries"
    year = 2017

    def __init__(self, num_byzantine=0, num_selected=1, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(num_byzantine, int) or num_byzantine < 0:
            raise ValueError(
                "Expected `num_byzantine` to be a non-negative integer. "
                f"Received: num_byzantine={num_byzantine}"
            )
        if not isinstance(num_selected, int) or num_selected < 1:
            raise ValueError(
                "Expected `num_selected` to be a positive integer. "
                f"Received: num_selected={num_selected}"
            )
        self.num_byzantine = num_byzantine
        self.num_selected = num_selected

    def build_state(self, num_tasks):
        if self.num_selected > num_tasks:
            raise ValueError(
                f"Expected `num_selected` to be at most {num_tasks}, the "
                "number of tasks. "
                f"Received: num_selected={self.num_selected}"
            )

    def compute_weights(self, losses, gramian):
        num_nearest = max(self.num_tasks - self.num_byzantine - 2, 1)
        # The first one is the task's distance to itself, 0.
        nearest = ops.sort(_squared_distances(gramian), axis=1)
        scores = ops.sum(nearest[:, 1 : num_nearest + 1], axis=1)
        selected = ops.argsort(scores)[: self.num_selected]
        chosen = ops.one_hot(selected, self.num_tasks, dtype="float32")
        return ops.mean(chosen, axis=0)


def _squared_distances(gramian):
    squared_norms = ops.diagonal(gramian)
    # Symmetric to the last bit: two nearest neighbours have equal scores.
    gramian = (gramian + ops.transpose(gramian)) / 2.0
    return ops.relu(squared_norms[:, None] + squared_norms - 2.0 * gramian)
