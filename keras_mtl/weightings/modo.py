from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.simplex_projection import project_onto_simplex
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.present_tasks import in_mean_norms
from keras_mtl.weightings.present_tasks import present
from keras_mtl.weightings.present_tasks import shares_among
from keras_mtl.weightings.present_tasks import with_shares
from keras_mtl.weightings.registry import register


@register(
    "modo",
    package="keras_mtl",
    paper="Chen et al., Three-Way Trade-Off in Multi-Objective Learning",
    year=2023,
)
class MoDo(GradientWeighting):
    """MoDo: one step towards MGDA's weights in each step of training.

    λ ← Π(λ − γ (G λ + ρ λ)), with Π the projection onto the simplex, from equal
    weights; the direction is Σ λ_i g_i.

    The paper is about G between two independent batches (double sampling),
    which makes the step on λ unbiased. A model's step has one batch, whose
    Gramian is biased: the noise of the gradients adds to its diagonal, and
    tasks with noisy gradients get less weight. Called by itself, the weighting
    takes as `gramian` the inner products `gramian[i, j]` of the gradient of
    task `i` on one batch and that of task `j` on another, and is then the
    paper's.

    A task without a label in the batch, whose gradient is zero, keeps its λ;
    the others are weighted and take their step as if it were not there.

    Args:
        gamma: Step size γ of the weights. It is to be seen against the inverse
            of the squared norm of a gradient. The official code has 0.001.
        rho: Regularization ρ, which pulls λ towards equal weights. The official
            code has 0.1.
        normalize: Whether the Gramian is divided by the square of the mean norm
            of the gradients, as in `SDMGrad`. γ and ρ are then numbers without
            a unit, and the scale of the losses does not matter.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> modo = keras_mtl.weightings.MoDo()
    >>> modo(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [0.575, 0.425]

    Reference:
        - [Chen et al., 2023](https://arxiv.org/abs/2305.20057), equation 5 and
          Algorithm 1.
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

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        labelled = present(gramian)
        weights = ops.convert_to_tensor(self.simplex_weights)
        shares = shares_among(weights, labelled)
        if self.normalize:
            gramian = in_mean_norms(gramian, labelled)
        gradient = ops.sum(gramian * shares, axis=1) + self.rho * shares
        shares = project_onto_simplex(shares - self.gamma * gradient, labelled)
        self.simplex_weights.assign(with_shares(weights, shares, labelled))
        return shares
