from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.simplex_projection import project_onto_simplex
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "moco",
    package="keras_mtl",
    paper="Fernando et al., Mitigating Gradient Bias",
    year=2023,
)
class MoCo(GradientWeighting):
    """MoCo: MGDA's weights, followed slowly on averaged gradients.

    The paper tracks each task's gradient, y_i ← y_i − β (y_i − g_i), takes one
    step λ ← Π(λ − γ (Y Yᵀ + ρ I) λ) on the simplex, and goes in the direction
    Σ λ_i y_i. That needs `T` copies of all shared parameters. Here the Gramian
    is tracked, A ← A − β (A − G), and takes the place of Y Yᵀ; the direction is
    Σ λ_i g_i, of the current gradients.

    So the weights are as steady as the paper's, at the cost of a `(T, T)`
    matrix. What is lost: the noise of gradients cancels in the average of
    gradients, but not in the average of their inner products. It stays on the
    diagonal of A, and tasks with noisy gradients get less weight than with the
    paper's method. An optimizer with momentum averages the direction.

    LibMTL has a softmax in place of the projection, and divides each gradient
    by its norm and multiplies it by the loss.

    Args:
        beta: Step size β of the tracking, in (0, 1].
        gamma: Step size γ of the weights. It is to be seen against the inverse
            of the squared norm of a gradient.
        rho: Regularization ρ, which pulls λ towards equal weights.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> moco = keras_mtl.weightings.MoCo(beta=0.5, gamma=0.2)
    >>> gramian = np.array([[1.0, 0.0], [0.0, 4.0]])
    >>> moco(np.ones(2), gramian)  # A is half the Gramian.
    [0.575, 0.425]

    Reference:
        - [Fernando et al., 2023](https://arxiv.org/abs/2210.12624), equations
          8 and 11, Algorithm 1. The weights are those after the step.
    """

    def __init__(
        self,
        beta: float = 0.1,
        gamma: float = 0.1,
        rho: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.beta = checks.fraction("beta", beta, "(0, 1]")
        self.gamma = checks.positive("gamma", gamma)
        self.rho = checks.non_negative("rho", rho)

    def build_state(self, num_tasks: int) -> None:
        equal = keras.initializers.Constant(1.0 / num_tasks)
        self.simplex_weights = self.add_state(
            (num_tasks,), equal, "simplex_weights"
        )
        self.tracked = self.add_state((num_tasks, num_tasks), name="tracked")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        tracked = ops.convert_to_tensor(self.tracked)
        tracked = tracked - self.beta * (tracked - gramian)
        weights = ops.convert_to_tensor(self.simplex_weights)
        gradient = ops.sum(tracked * weights, axis=1) + self.rho * weights
        weights = project_onto_simplex(weights - self.gamma * gradient)
        self.tracked.assign(tracked)
        self.simplex_weights.assign(weights)
        return weights
