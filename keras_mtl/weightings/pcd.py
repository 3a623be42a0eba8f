from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nonnegative import nonnegative_qp
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.weightings.main_task import MainTaskWeighting
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register

# A constraint of unit gradients that is missed by more than this and half of
# what it asks for has no solution. Rounding may miss by less.
MAX_VIOLATION = 1e-3
# Squared norm of a sum, relative to its parts', that counts as zero.
MIN_CANCELLATION = 1e-6

# An average over fewer batches than with this β forgets what was unusual.
SHORT = 0.9
# The largest average of squared norms, in units of that of the present batch.
MAX_AVERAGE = 1e4


@register(
    "pcd",
    package="keras_mtl",
    paper="Varam et al., Not All Objectives Are Born Equal",
    year=2026,
    when="One task comes first, and the others should not lose.",
)
class PCD(MainTaskWeighting):
    """Priority-constrained descent: the main task leads, no other loses.

    The main task, the paper's primary one, is number 1 here. With g̃_i the
    gradients divided by moving averages of their norms, the direction is the d
    nearest to g̃₁ with g̃_j · d ≥ τ ‖g̃_j‖² for all other tasks, scaled to the
    norm of g₁. It does not change when a loss is multiplied by a constant.

    Where no d fulfils all constraints, it is g₁; where g₁ or d is zero, so is
    the direction. A zero gradient (a task without a label in the batch) does
    not count in the moving average. The paper's ε, which is added to the
    squared norms, is 0.

    Args:
        tau: The part τ, in [0, 1], of the progress along a task's own gradient
            that the direction is to make for the task: a number, or a list
            with one for each task but the main one, in the order of the tasks.
        beta: Decay β, in [0, 1), of the moving average of squared norms.
        main: Name of the main task, a key of `loss`, or `None`: the first one.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> pcd = keras_mtl.weightings.PCD(tau=0.0)
    >>> gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    >>> pcd.aggregate(gradients)  # Orthogonal to the second gradient.
    [0.707107, 0.707107]

    Reference:
        - [Varam and AlHajri, 2026](https://arxiv.org/abs/2606.29521), Algorithm
          1 and Definition 4.5.
    """

    def __init__(
        self,
        tau: float | Sequence[float] = 0.02,
        beta: float = 0.999,
        main: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(main, **kwargs)
        self.tau = checks.number_or_list(
            "tau",
            tau,
            "a number in [0, 1] or a list of them",
            lambda value: 0 <= value <= 1,
        )
        self.beta = checks.fraction("beta", beta, "[0, 1)")

    def build_state(self, num_tasks: int) -> None:
        taus = self.tau
        if not isinstance(taus, (list, tuple)):
            taus = [taus] * (num_tasks - 1)
        if len(taus) != num_tasks - 1:
            raise ValueError(
                "Expected `tau` to have one entry for each of the "
                f"{num_tasks - 1} tasks beside the main one. "
                f"Received: tau={self.tau}"
            )
        self.taus = [float(value) for value in taus]
        self.squared_norms = self.add_state((num_tasks,), name="squared_norms")
        # The sum of the weights in the moving average, which corrects its bias
        # towards 0.
        self.counted = self.add_state((num_tasks,), name="counted")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        scales = self._scales(ops.diagonal(gramian))
        scaled = scales[:, None] * gramian * scales
        # The solver has the main task first.
        main = self.main_index
        tasks = list(range(self.num_tasks))
        order = [main, *tasks[:main], *tasks[main + 1 :]]
        ordered = ops.take(ops.take(scaled, order, axis=0), order, axis=1)
        weights = self._multipliers(ordered)
        weights = ops.take(weights, [order.index(i) for i in tasks])
        parts = ops.sqrt(ops.relu(ops.diagonal(scaled)))
        squared = ops.sum(weights * ops.sum(scaled * weights, axis=1))
        nonzero = squared > MIN_CANCELLATION * ops.square(
            ops.sum(weights * parts)
        )
        norm = ops.sqrt(ops.where(nonzero, squared, 1.0))
        primary_norm = ops.sqrt(ops.relu(gramian[main, main]))
        return ops.where(nonzero, weights * scales * primary_norm / norm, 0.0)

    def _scales(self, squared_norms):
        """Updates the averages, and returns 1 / average norm."""
        rate = (1.0 - self.beta) * ops.cast(squared_norms > 0, "float32")
        average = ops.convert_to_tensor(self.squared_norms)
        counted = ops.convert_to_tensor(self.counted)
        if self.beta > SHORT:
            usual = average / ops.maximum(counted, TINY)
            squared_norms = within_reach(squared_norms, usual)
            # The first batch may be the one that is far from all others.
            most = counted * squared_norms
            average = within_reach(average, most, MAX_AVERAGE)
        average = average + rate * (squared_norms - average)
        counted = counted + rate * (1.0 - counted)
        self.squared_norms.assign(average)
        self.counted.assign(counted)
        nonzero = average > 0
        return ops.where(
            nonzero, ops.sqrt(counted / ops.where(nonzero, average, 1.0)), 0.0
        )

    def _multipliers(self, gramian):
        """Returns 1 and the Lagrange multipliers of the other tasks.

        The first task is the main one.
        """
        one = ops.ones((1,))
        if self.num_tasks == 1:
            return one
        norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
        taus = ops.convert_to_tensor(self.taus, "float32")
        cosines, _, inverse_norms = unit_gramian(gramian[1:, 1:])
        needed = taus * norms[1:] - inverse_norms * gramian[1:, 0]
        # The solver's entries are to be about 1.
        largest = ops.max(norms)
        largest = ops.where(largest > 0, largest, 1.0)
        needed = needed / largest
        multipliers = nonnegative_qp(cosines, -needed[None])[0]
        missed = needed - ops.sum(cosines * multipliers, axis=1)
        share = taus * norms[1:] / largest
        feasible = ops.all(missed <= MAX_VIOLATION + 0.5 * share)
        multipliers = ops.where(feasible, multipliers, 0.0)
        return ops.concatenate([one, largest * inverse_norms * multipliers])
