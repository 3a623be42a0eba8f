import math
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.exponentiated_gradient import MIN_LOG_P
from keras_mtl.solvers.exponentiated_gradient import exponentiated_gradient_step
from keras_mtl.solvers.kmeans import kmeans_1d
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The largest loss that counts, in units of the mean loss of the other tasks.
MAX_LOSS = 1e3


@register(
    "go4align",
    package="keras_mtl",
    paper="Shen et al., Group Optimization for Multi-Task Alignment",
    year=2024,
    when="Many tasks: those of similar loss share a weight.",
)
class GO4Align(Weighting):
    """GO4Align: groups of similar tasks share a weight.

    A task's indicator is γ = p q, with p the mean loss of the tasks over its
    loss, and q a smoothness that is multiplied by exp(-β L) in each step and
    then divided by its sum. The tasks are clustered by k-means into groups of
    similar γ, and the weight of a task is the mean γ of its group. Losses must
    be positive: a task whose loss is not gets no weight in that step, keeps its
    q, and does not count in the groups.

    The groups are the best ones (`keras_mtl.solvers.kmeans`): in one dimension,
    the global minimum of k-means needs no initialization. The official code
    begins at random points. The weights are the paper's times T, so that tasks
    of equal losses have the weight 1; the official code does the same.

    Args:
        num_groups: Number of groups K. The paper takes 2 for 3 tasks and 5 for
            11. With one group per task or more, the weights are T γ.
        beta: Temperature β of q, in units of 1 / loss. The paper selects it by
            validation; this is the default of the official code. 0 keeps q
            equal.
        **kwargs: See `Weighting` (`scale_invariant`, `floor`).

    Example:

    >>> go4align = keras_mtl.weightings.GO4Align(num_groups=2, beta=0.0)
    >>> go4align(np.array([1.0, 1.0, 4.0]))
    [2.0, 2.0, 0.5]

    Reference:
        - [Shen et al., 2024](https://arxiv.org/abs/2404.06486), Algorithm 1,
          equations 3 and 5 to 7.
    """

    needs_positive_losses = True
    divides_by_losses = True

    def __init__(
        self, num_groups: int = 2, beta: float = 1e-4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_groups = checks.positive_integer("num_groups", num_groups)
        self.beta = checks.non_negative("beta", beta)

    def build_state(self, num_tasks: int) -> None:
        uniform = keras.initializers.Constant(-math.log(num_tasks))
        self.log_q = self.add_state((num_tasks,), uniform, "log_q")

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = losses > TINY
        losses = _limited(ops.where(labelled, losses, 0.0), labelled)
        log_q = ops.convert_to_tensor(self.log_q)
        log_q = exponentiated_gradient_step(
            log_q, -self.beta * losses, labelled
        )
        log_q = ops.maximum(log_q, MIN_LOG_P)
        self.log_q.assign(log_q)
        number = ops.maximum(ops.sum(ops.cast(labelled, "float32")), 1.0)
        mean = ops.sum(losses / number)
        indicators = ops.exp(log_q) * mean / ops.where(labelled, losses, 1.0)
        groups = kmeans_1d(indicators, self.num_groups, labelled)
        return self.num_tasks * groups


def _limited(losses, labelled):
    """Bounds each loss by those of the other tasks that have labels.

    One batch with a huge loss would give the others its size as their weight,
    and take its task's own weight for ever.
    """
    others = ops.cast(labelled, "float32")
    number = ops.sum(others) - others
    # A difference of the sum and a huge loss would be zero.
    shares = losses * (1.0 - ops.eye(losses.shape[0]))
    mean = ops.sum(shares, axis=1) / ops.maximum(number, 1.0)
    return within_reach(losses, mean, MAX_LOSS)
