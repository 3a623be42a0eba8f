import math

import keras
from keras import ops

from keras_mtl.backend.numerics import TINY
from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class FAMO(Weighting):
    """Fast adaptive multitask optimization.

    The losses shall fall at the same relative rate: z = softmax(ξ) weights the
    gradients of log L, normalised so that Σ w (L - `min_losses`) = 1, and ξ
    follows the change of log L over the step, which is computed on the same
    batch: one more forward pass. Losses must be above their `min_losses`: a
    task whose loss is not gets no weight in that step.

    As in the official code, which the paper's algorithm describes without it,
    ξ is trained with Adam, and its decay is that of an L2 penalty.

    Args:
        gamma: Decay of ξ.
        learning_rate: Learning rate of ξ.
        min_losses: The smallest loss that each task can have: a number, or a
            list with one per task.

    Example:

    >>> keras_mtl.weightings.FAMO()(np.array([0.5, 2.0]))
    [0.8, 0.2]

    Reference:
        - [Liu et al., 2023](https://arxiv.org/abs/2306.03792), Algorithm 1,
          equations 8 and 9.
    """

    paper = "Liu et al., FAMO: Fast Adaptive Multitask Optimization"
    year = 2023
    cost = "1 backward pass, 2 forward passes"
    needs_positive_losses = True
    needs_losses_after = True
    balances_logarithms = True

    def __init__(
        self, gamma=0.01, learning_rate=0.025, min_losses=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        if not 0 <= gamma < math.inf or not 0 < learning_rate < math.inf:
            raise ValueError(
                "Expected `gamma` not to be negative, `learning_rate` to be "
                f"positive, and both to be finite. Received: gamma={gamma}, "
                f"learning_rate={learning_rate}"
            )
        smallest = min_losses if _is_list(min_losses) else [min_losses]
        if not all(map(math.isfinite, smallest)):
            raise ValueError(
                "Expected `min_losses` to be finite. "
                f"Received: min_losses={min_losses}"
            )
        self.gamma = gamma
        self.learning_rate = learning_rate
        self.min_losses = min_losses

    def build_state(self, num_tasks):
        size = len(self.min_losses) if _is_list(self.min_losses) else num_tasks
        if size != num_tasks:
            raise ValueError(
                f"Expected `min_losses` to be a number or a list of {num_tasks}"
                f" numbers. Received: min_losses={self.min_losses}"
            )
        self.logits = self.add_state((num_tasks,), name="logits")
        self.gaps = self.add_state((num_tasks,), name="gaps")
        self.optimizer = self.add_optimizer(
            keras.optimizers.Adam(self.learning_rate, epsilon=1e-8),
            [self.logits],
        )

    def _gaps(self, losses):
        return losses - ops.convert_to_tensor(self.min_losses, "float32")

    def compute_weights(self, losses):
        gaps = self._gaps(losses)
        self.gaps.assign(gaps)
        known = gaps > TINY
        logits = ops.where(known, ops.convert_to_tensor(self.logits), -1e9)
        # The softmax of ξ - log L is z / L over its sum, and in range.
        log_gaps = ops.log(ops.where(known, gaps, 1.0))
        weights = ops.softmax(logits - log_gaps)
        return ops.where(known, weights, 0.0)

    def update_after_step(self, losses):
        before, after = ops.convert_to_tensor(self.gaps), self._gaps(losses)
        known = ops.logical_and(before > TINY, after > TINY)
        ratio = ops.where(known, before, 1.0) / ops.where(known, after, 1.0)
        decrease = ops.log(ratio)
        z = ops.softmax(ops.convert_to_tensor(self.logits))
        gradient = z * (decrease - ops.sum(z * decrease))
        gradient = gradient + self.gamma * self.logits
        self.descend(gradient, self.logits)


def _is_list(value):
    return isinstance(value, (list, tuple))
