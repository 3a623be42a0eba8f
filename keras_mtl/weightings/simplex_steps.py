"""The base class of methods that step towards MGDA's weights."""

from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.simplex_projection import project_onto_simplex
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.present_tasks import in_mean_norms
from keras_mtl.weightings.present_tasks import shares_among
from keras_mtl.weightings.present_tasks import with_shares


class SimplexSteps(GradientWeighting):
    """Base class of the methods whose λ ← Π(λ − γ (G λ + ρ λ)) in each step.

    Π is the projection onto the simplex; λ begins as equal weights.

    Args:
        gamma: Step size γ of the weights.
        rho: Regularization ρ.
        normalize: Whether the Gramian is divided by the square of the mean norm
            of the gradients.
        **kwargs: See `GradientWeighting`.
    """

    implied_arguments = {
        **GradientWeighting.implied_arguments,
        "normalize": False,
    }

    def __init__(
        self,
        gamma: float = 0.1,
        rho: float = 0.0,
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = checks.positive("gamma", gamma)
        self.rho = checks.non_negative("rho", rho)
        self.normalize = checks.boolean("normalize", normalize)

    def build_state(self, num_tasks: int) -> None:
        equal = keras.initializers.Constant(1.0 / num_tasks)
        self.simplex_weights = self.add_state(
            (num_tasks,), equal, "simplex_weights"
        )

    def take_step(self, gramian: Tensor, labelled: Tensor) -> Tensor:
        """Takes the step of the tasks that have a label.

        Args:
            gramian: Float tensor of shape `(T, T)`.
            labelled: Boolean tensor of shape `(T,)`. The other tasks keep
                their λ, and the step is as if they were not there.

        Returns:
            Float tensor of shape `(T,)`: the new λ of those with a label, with
            sum 1, and zeros.
        """
        weights = ops.convert_to_tensor(self.simplex_weights)
        shares = shares_among(weights, labelled)
        if self.normalize:
            gramian = in_mean_norms(gramian, labelled)
        gradient = ops.sum(gramian * shares, axis=1) + self.rho * shares
        shares = project_onto_simplex(shares - self.gamma * gradient, labelled)
        self.simplex_weights.assign(with_shares(weights, shares, labelled))
        return shares
