from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.present_tasks import present
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.simplex_steps import SimplexSteps


@register(
    "moco",
    package="keras_mtl",
    paper="Fernando et al., Mitigating Gradient Bias",
    year=2023,
    when="As mgda, steadier: the weights follow averages over batches.",
)
class MoCo(SimplexSteps):
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

    A task without a label in the batch, whose gradient is zero, keeps its λ and
    its part of A; the others are weighted and take their step as if it were not
    there.

    Args:
        beta: Step size β of the tracking, in (0, 1].
        gamma: Step size γ of the weights. It is to be seen against the inverse
            of the squared norm of a gradient.
        rho: Regularization ρ, which pulls λ towards equal weights. It is 0 in
            LibMTL, too, and 0.1 in the official code of `MoDo`.
        normalize: Whether the Gramian is divided by the square of the mean norm
            of the gradients, as in `SDMGrad`. γ and ρ are then numbers without
            a unit, and the scale of the losses does not matter.
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

    num_newer_variables = 1

    def __init__(
        self,
        beta: float = 0.1,
        gamma: float = 0.1,
        rho: float = 0.0,
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(gamma, rho, normalize, **kwargs)
        self.beta = checks.fraction("beta", beta, "(0, 1]")

    def build_state(self, num_tasks: int) -> None:
        super().build_state(num_tasks)
        self.tracked = self.add_state((num_tasks, num_tasks), name="tracked")

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        super().build(losses_shape, gramian_shape)
        # The moving average of ones, where a task has a label. It is below 1 at
        # first, by as much as the average of the Gramian is too small.
        self.mass = self.add_state((self.num_tasks,), name="mass")

    def complete_older_state(self) -> None:
        self.mass.assign(ops.ones((self.num_tasks,)))

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        labelled = present(gramian)
        return self.take_step(self._track(gramian, labelled), labelled)

    def _track(self, gramian, labelled):
        """Updates the averages, and returns A as of equally many batches."""
        tracked = ops.convert_to_tensor(self.tracked)
        norms, usual = (
            ops.sqrt(ops.relu(ops.diagonal(x))) for x in (gramian, tracked)
        )
        limit = within_reach(norms, usual) / ops.maximum(norms, TINY)
        gramian = limit[:, None] * gramian * limit
        both = ops.logical_and(labelled[:, None], labelled)
        change = ops.where(both, tracked - gramian, 0.0)
        tracked = tracked - self.beta * change
        mass = ops.convert_to_tensor(self.mass)
        mass = mass + self.beta * ops.where(labelled, 1.0 - mass, 0.0)
        self.tracked.assign(tracked)
        self.mass.assign(mass)
        # Without missing labels, the factors are 1: as in the paper, the
        # average begins at 0.
        growth = ops.sqrt(ops.max(mass) / ops.maximum(mass, TINY))
        growth = ops.where(mass > 0, growth, 0.0)
        return growth[:, None] * tracked * growth
