import math
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.exponentiated_gradient import MIN_LOG_P
from keras_mtl.solvers.exponentiated_gradient import exponentiated_gradient_step
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register

# The largest norm that counts, in units of the root of the mean square so far.
MAX_NORM = 10.0


@register(
    "excess_mtl",
    package="keras_mtl",
    paper="He et al., Robust Multi-Task Learning with Excess Risks",
    year=2024,
    when="Noisy labels: favours tasks that can still improve.",
)
class ExcessMTL(GradientWeighting):
    """ExcessMTL: a task far from convergence gets more weight.

    A task's excess risk, the loss it can still lose, is estimated from its
    gradient and a Hessian that is estimated from its squared gradients so far.
    It is divided by what it was at first, so that losses of different scales
    compare, and the weights are multiplied by exp(η excess) and divided by
    their mean. Unlike the loss, the excess risk of a task with noisy labels
    goes to 0.

    The paper's Hessian is diagonal, Σ_p g_p² / sqrt(Σ over steps of g_p²) is
    the excess risk, and each task needs an accumulator of the size of the
    shared parameters. Here the accumulator is one number per task, the sum of
    the squared norms, and the excess risk is ‖g‖² / sqrt(Σ over steps of ‖g‖²).
    The ratio to the first one is that of the paper where the magnitudes of a
    task's partial derivatives keep their proportions; partial derivatives that
    fade while others grow make a difference.

    A task without a label in the batch (loss 0) keeps its share of the weights.

    Args:
        eta: Step size η of the logarithms of the weights. The default is that
            of the official code, whose example has 1.
        warmup_steps: Number of a task's first batches, with equal weights, over
            which the excess risk is averaged to be the one that others are
            divided by. 1 is the official code.
        weigh_heads: Whether the weights act on the tasks' own parameters, too,
            as in the official code.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> excess = keras_mtl.weightings.ExcessMTL(eta=1.0)
    >>> excess(np.ones(2), np.diag([1.0, 9.0]))
    [1.0, 1.0]
    >>> excess(np.ones(2), np.diag([0.0, 16.0]))  # Ratios: 0 and 16 / 5 / 3.
    [0.512075, 1.487925]

    Reference:
        - [He et al., 2024](https://arxiv.org/abs/2402.02009), section 3.2,
          equations 6, 7 and 9.
    """

    def __init__(
        self,
        eta: float = 0.01,
        warmup_steps: int = 1,
        weigh_heads: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(weigh_heads=weigh_heads, **kwargs)
        self.eta = checks.positive("eta", eta)
        self.warmup_steps = checks.positive_integer(
            "warmup_steps", warmup_steps
        )

    def build_state(self, num_tasks: int) -> None:
        shape = (num_tasks,)
        uniform = keras.initializers.Constant(-math.log(num_tasks))
        self.log_weights = self.add_state(shape, uniform, "log_weights")
        self.root = self.add_state(shape, name="root")
        self.first_excess = self.add_state(shape, name="first_excess")
        self.batches = self.add_state(shape, name="batches")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        # The base class has counted this step already. Between updates, the
        # Gramian is a stand-in and does not count.
        due = ops.equal(self.steps, 1 % self.measurement.update_every)
        counted = ops.logical_and(due, ops.not_equal(losses, 0.0))
        relative = self._relative_excess(gramian, counted)
        log_weights = exponentiated_gradient_step(
            self.log_weights, self.eta * relative, counted
        )
        log_weights = ops.maximum(log_weights, MIN_LOG_P)
        self.log_weights.assign(log_weights)
        return self.num_tasks * ops.exp(log_weights)

    def _relative_excess(self, gramian, counted):
        """Updates the excess risks; returns their ratios to the first ones."""
        state = (self.root, self.first_excess, self.batches)
        old_root, old_first, old_batches = map(ops.convert_to_tensor, state)
        norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
        # All norms so far divide for ever: a larger one would end the method.
        usual = old_root / ops.sqrt(ops.maximum(old_batches, 1.0))
        # The mean of a few is not what it will be.
        usual = usual * (1.0 + 10.0 / ops.maximum(old_batches, 1.0))
        norms = within_reach(norms, usual, MAX_NORM)
        root = _hypot(old_root, norms)
        excess = norms * (norms / ops.maximum(root, TINY))
        warming_up = old_batches < self.warmup_steps
        first = old_first + ops.where(warming_up, excess, 0.0)
        self.root.assign(ops.where(counted, root, old_root))
        self.first_excess.assign(ops.where(counted, first, old_first))
        self.batches.assign(old_batches + ops.cast(counted, "float32"))
        mean_first = first / self.warmup_steps
        known = ops.logical_and(~warming_up, mean_first > TINY)
        return ops.where(known, excess / ops.where(known, mean_first, 1.0), 1.0)


def _hypot(x, y):
    """Returns sqrt(x² + y²), also where a square leaves float32."""
    largest = ops.maximum(ops.maximum(x, y), TINY)
    return largest * ops.sqrt(ops.square(x / largest) + ops.square(y / largest))
