from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register

# The largest gradient of the weights, in units of the root of the mean square
# so far, which Adam would remember for thousands of steps.
MAX_GROWTH = 30.0


@register(
    "gradnorm",
    package="keras_mtl",
    paper="Chen et al., GradNorm",
    year=2018,
    cost="1 backward pass, and T through the chosen layer",
    when="Tasks should train at similar rates; watches one layer.",
)
class GradNorm(GradientWeighting):
    """GradNorm: the tasks' gradient norms follow their rates of training.

    The weights w are trained so that the norm of the gradient of w L, at a
    chosen layer, is near the mean of these norms times r^α, where r is the
    task's loss over its first loss, relative to the mean of that over the
    tasks. After each step the weights are brought to the sum T, and none is
    below 0. They act on all parameters. A task without a label, whose loss is
    0, counts in no mean and keeps its share of the weights.

    Args:
        alpha: Strength α with which slow tasks are helped; 0 makes all norms
            equal.
        learning_rate: Learning rate of the weights (Adam).
        relative_norms: Whether the norms are divided by the largest one of the
            step, as they were in older versions of this package. Algorithm 1
            does not: there, a batch with large gradients counts more.
        shared: The layer or layers at which the norms are taken; by default
            `"last"`, the last shared one, and with `gradients="features"` the
            tensors at which the trunk ends. See `GradientWeighting`.
        **kwargs: See `GradientWeighting`.

    Reference:
        - [Chen et al., 2018](https://arxiv.org/abs/1711.02257), Algorithm 1,
          equations 1 and 2.
    """

    implied_arguments = {
        **GradientWeighting.implied_arguments,
        "relative_norms": True,
    }

    def __init__(
        self,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        gradients: str = "parameters",
        shared: str | Sequence[str | keras.Layer] | None = None,
        weigh_heads: bool = True,
        relative_norms: bool = False,
        **kwargs: Any,
    ) -> None:
        if shared is None:
            shared = "auto" if gradients == "features" else "last"
        super().__init__(
            gradients=gradients,
            shared=shared,
            weigh_heads=weigh_heads,
            **kwargs,
        )
        self.alpha = checks.non_negative("alpha", alpha)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.relative_norms = checks.boolean("relative_norms", relative_norms)

    def build_state(self, num_tasks: int) -> None:
        # The trained weights are kept apart from those in use, which may be
        # zero for a step.
        self.trained = self.add_state((num_tasks,), "ones", "trained")
        self.first_losses = self.add_state((num_tasks,), name="first_losses")
        # Norms may be small: a larger ε would slow their steps down.
        epsilon = 1e-7 if self.relative_norms else 1e-16
        adam = keras.optimizers.Adam(float(self.learning_rate), epsilon=epsilon)
        self.optimizer = OwnOptimizer(adam, self.trained, max_growth=MAX_GROWTH)
        self.optimizer_state = self.optimizer.variables

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        weights = ops.copy(self.trained)
        norms = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        if self.relative_norms:
            norms = norms / ops.maximum(ops.max(norms), TINY)
        labelled = losses > TINY
        gradient = self._gradient(weights, norms, labelled, losses)
        self.optimizer.descend_where(labelled, gradient)
        trained = ops.maximum(ops.convert_to_tensor(self.trained), 0.0)
        total = ops.maximum(ops.sum(trained), TINY)
        self.trained.assign(trained * (self.num_tasks / total))
        return weights

    def _gradient(self, weights, norms, labelled, losses):
        """Returns the gradient of Σ |w n - target| with a constant target."""
        count = ops.cast(labelled, "float32")
        count = count / ops.maximum(ops.sum(count), 1.0)
        first = ops.copy(self.first_losses)
        first = ops.where(first > 0.0, first, ops.where(labelled, losses, 0.0))
        self.first_losses.assign(first)
        first = ops.where(labelled, first, 1.0)
        progress = ops.where(labelled, losses, 1.0) / first
        rate = progress / ops.maximum(ops.sum(count * progress), TINY)
        mean_norm = ops.sum(count * weights * norms)
        target = mean_norm * ops.power(rate, self.alpha)
        direction = ops.sign(weights * norms - target)
        return direction * norms
