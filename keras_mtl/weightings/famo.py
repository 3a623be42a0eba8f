from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The largest change of a log loss in one step that counts. Adam's moments would
# remember a larger one for thousands of steps.
MAX_CHANGE = 1.0


@register(
    "famo",
    package="keras_mtl",
    paper="Liu et al., FAMO: Fast Adaptive Multitask Optimization",
    year=2023,
    cost="1 backward pass, 2 forward passes",
    when="All losses should fall at one relative rate, at little cost.",
)
class FAMO(Weighting):
    """Fast adaptive multitask optimization.

    Makes all losses fall at the same relative rate: z = softmax(ξ) weights the
    gradients of log L, normalised so that Σ w (L - `min_losses`) = 1, and ξ
    follows the change of log L over the step, which is computed on the same
    batch: one more forward pass. Losses must be above their `min_losses`: a
    task whose loss is not gets no weight in that step, and keeps its ξ.

    As in the official code, which the paper's algorithm describes without it,
    ξ is trained with Adam, and its decay is that of an L2 penalty.

    Args:
        gamma: Decay of ξ. The default is that of the official code, whose runs
            choose it by the data; 0.001 lets ξ go further. That code also
            limits the norm of the gradient of the shared parameters to 1, which
            here is the optimizer's `global_clipnorm=1.0` (of all parameters).
        learning_rate: Learning rate of ξ.
        min_losses: The smallest loss that each task can have: a number, or a
            list with one per task.
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> keras_mtl.weightings.FAMO()(np.array([0.5, 2.0]))
    [0.8, 0.2]

    Reference:
        - [Liu et al., 2023](https://arxiv.org/abs/2306.03792), Algorithm 1,
          equations 8 and 9.
    """

    needs_positive_losses = True
    needs_losses_after = True
    balances_logarithms = True

    def __init__(
        self,
        gamma: float = 0.01,
        learning_rate: float = 0.025,
        min_losses: float | Sequence[float] = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = checks.non_negative("gamma", gamma)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.min_losses = checks.number_or_list("min_losses", min_losses)

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("min_losses", self.min_losses, num_tasks)
        self.logits = self.add_state((num_tasks,), name="logits")
        self.gaps = self.add_state((num_tasks,), name="gaps")
        adam = keras.optimizers.Adam(float(self.learning_rate), epsilon=1e-8)
        self.optimizer = OwnOptimizer(adam, self.logits)
        self.optimizer_state = self.optimizer.variables

    def _gaps(self, losses):
        return losses - ops.convert_to_tensor(self.min_losses, "float32")

    def compute_weights(self, losses: Tensor) -> Tensor:
        gaps = self._gaps(losses)
        self.gaps.assign(gaps)
        known = gaps > TINY
        logits = ops.where(known, ops.convert_to_tensor(self.logits), -1e9)
        # The softmax of ξ - log L is z / L over its sum, and in range.
        log_gaps = ops.log(ops.where(known, gaps, 1.0))
        weights = ops.softmax(logits - log_gaps)
        return ops.where(known, weights, 0.0)

    def update_after_step(self, losses: Tensor) -> None:
        before, after = ops.convert_to_tensor(self.gaps), self._gaps(losses)
        known = ops.logical_and(before > TINY, after > TINY)
        ratio = ops.where(known, before, 1.0) / ops.where(known, after, 1.0)
        decrease = ops.clip(ops.log(ratio), -MAX_CHANGE, MAX_CHANGE)
        # A task whose loss cannot have fallen is not one that falls slowly.
        logits = ops.convert_to_tensor(self.logits)
        z = ops.softmax(ops.where(known, logits, -1e9))
        gradient = z * (decrease - ops.sum(z * decrease))
        gradient = gradient + self.gamma * logits
        self.optimizer.descend_where(known, gradient)
