"""The base class of the methods that solve G w = w^(-1/α)."""

from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.certainty import CERTAIN
from keras_mtl.solvers.certainty import certain_share
from keras_mtl.solvers.certainty import uncertainties
from keras_mtl.weightings.gradient_weighting import GradientWeighting


class Bargaining(GradientWeighting):
    """Base class of the methods that solve G w = w^(-1/α) for w > 0.

    There is no solution where the gradients are Pareto-stationary (their convex
    hull contains zero), and close to there the weights grow without bound while
    the gradients cancel. All weights are then scaled together: by 1 as long as
    float32 tells the solution from rounding, by 0 where it does not, and
    continuously in between. The direction is thus zero where no direction
    improves all tasks, as that of `MGDA`.

    With `weigh_heads`, the tasks' own parameters follow the weights as well,
    but they do not cancel there, and have something to improve: their weights
    are scaled down only to what they are where the solution begins to be
    uncertain.
    """

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        super().build(losses_shape, gramian_shape)
        if self.weigh_heads:
            self.of_heads = self.add_state(
                (self.num_tasks,), "ones", "head_weights"
            )

    def _bounded(
        self, gramian: Tensor, weights: Tensor, power: float
    ) -> Tensor:
        """Returns the weights that count, and keeps those of the heads.

        Args:
            gramian: Float tensor of shape `(T, T)`.
            weights: Float tensor of shape `(T,)`, the solution.
            power: 1 / α.
        """
        positive = ops.where(weights > 0, weights, 1.0)
        payments = ops.where(weights > 0, positive ** (1.0 - power), 0.0)
        rounding, error = uncertainties(gramian, weights, payments)
        if self.weigh_heads:
            # The uncertainty is that power of the weights.
            excess = ops.maximum(rounding / CERTAIN, 1.0)
            self.of_heads.assign(weights * excess ** (-1.0 / (1.0 + power)))
        # Rounding leaves an error that differs from step to step. Only one that
        # it does not explain says that the solver found no solution.
        uncertainty = ops.maximum(rounding, 0.1 * error)
        return weights * certain_share(uncertainty)

    def head_weights(self) -> Tensor:
        if self.weigh_heads:
            return ops.convert_to_tensor(self.of_heads)
        return super().head_weights()

    @property
    def num_newer_variables(self) -> int:
        return 1 if self.weigh_heads else 0

    def complete_older_state(self) -> None:
        # There, the heads follow the weights of all else.
        self.of_heads.assign(ops.copy(self.task_weights))
