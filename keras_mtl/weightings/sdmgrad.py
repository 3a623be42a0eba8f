from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.compiling import compiled
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.simplex_projection import project_onto_simplex
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.present_tasks import in_mean_norms
from keras_mtl.weightings.present_tasks import present
from keras_mtl.weightings.present_tasks import shares_among
from keras_mtl.weightings.present_tasks import with_shares
from keras_mtl.weightings.registry import register


@register(
    "sdmgrad",
    package="keras_mtl",
    paper="Xiao et al., Direction-oriented Multi-objective Learning",
    year=2023,
    when="As mgda, near the mean gradient: no task is given up.",
)
class SDMGrad(GradientWeighting):
    """SDMGrad: the least common improvement, held near a preferred direction.

    With g₀ = Σ w̃_i g_i the preferred direction, by default the mean gradient,
    the weights w on the simplex minimize ‖Σ w_i g_i + λ g₀‖². `inner_steps`
    steps of projected gradient descent, which begin where the last step of
    training ended, approach them. The direction is
    (Σ w_i g_i + λ g₀) / (1 + λ): the shortest in which task i has a weight of
    at least λ w̃_i / (1 + λ). It is MGDA's for λ = 0, and g₀ for large λ.

    The paper takes the Gramian between two independent batches, and the update
    from a third. A model's step has one batch, and this is the paper's method
    for exact gradients: the noise of the gradients adds to the diagonal of the
    Gramian, and tasks with noisy gradients get less weight. Called by itself,
    the weighting also takes the inner products of the gradients of two batches
    as `gramian`, and is then the paper's.

    As in the official code, but not in Algorithm 1, the Gramian is divided by
    the square of the mean norm, so that the scale of the losses does not
    matter, and the inner steps have momentum. The official step length, 10, is
    too long to converge: the weights jump between corners of the simplex, and
    rounding decides where they end. The default here converges.

    A task without a label in the batch, whose gradient is zero, keeps its w;
    the others are weighted as if it were not there.

    Args:
        lambda_: Weight λ of the preferred direction. 0.3 is LibMTL's default;
            the larger, the nearer is the direction to the mean gradient.
        preference: List of `T` numbers w̃, or `None` for equal ones. They are
            divided by their sum.
        inner_steps: Number S of inner steps.
        learning_rate: Their length β. `None` is the inverse of the largest
            absolute row sum of the matrix, at most that of its eigenvalue.
        momentum: Their momentum; 0 is Algorithm 1.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> sdmgrad = keras_mtl.weightings.SDMGrad()
    >>> gramian = np.array([[1.0, 0.0], [0.0, 4.0]])
    >>> np.round(sdmgrad(np.ones(2), gramian), 2)
    [0.8, 0.2]

    Reference:
        - [Xiao et al., 2023](https://arxiv.org/abs/2305.18409), equations 3 and
          5, Algorithm 1.
    """

    def __init__(
        self,
        lambda_: float = 0.3,
        preference: Sequence[float] | None = None,
        inner_steps: int = 20,
        learning_rate: float | None = None,
        momentum: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lambda_ = checks.non_negative("lambda_", lambda_)
        self.preference = checks.preference("preference", preference)
        self.inner_steps = checks.positive_integer("inner_steps", inner_steps)
        self.learning_rate = checks.positive(
            "learning_rate", learning_rate, optional=True
        )
        self.momentum = checks.fraction("momentum", momentum, "[0, 1)")

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("preference", self.preference, num_tasks)
        preference = self.preference or [1.0] * num_tasks
        self.preferred = [p / sum(preference) for p in preference]
        equal = keras.initializers.Constant(1.0 / num_tasks)
        self.simplex_weights = self.add_state(
            (num_tasks,), equal, "simplex_weights"
        )

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        labelled = present(gramian)
        preferred = ops.convert_to_tensor(self.preferred, "float32")
        preferred = self.lambda_ * shares_among(preferred, labelled)
        gramian = in_mean_norms(gramian, labelled)
        weights = ops.convert_to_tensor(self.simplex_weights)
        shares = _descend(
            gramian,
            preferred,
            shares_among(weights, labelled),
            labelled,
            self.learning_rate,
            self.momentum,
            self.inner_steps,
        )
        self.simplex_weights.assign(with_shares(weights, shares, labelled))
        return (shares + preferred) / (1.0 + self.lambda_)


@compiled
def _descend(
    gramian, preferred, weights, labelled, learning_rate, momentum, steps
):
    """Takes projected gradient steps, with momentum, on the simplex."""
    rate = learning_rate or _converging_rate(gramian)

    def descend(_, state):
        weights, velocity = state
        gradient = ops.sum(gramian * (weights + preferred), axis=1)
        velocity = momentum * velocity + gradient
        weights = project_onto_simplex(weights - rate * velocity, labelled)
        return weights, velocity

    first = (weights, ops.zeros_like(weights))
    return ops.fori_loop(0, steps, descend, first)[0]


def _converging_rate(matrix):
    bound = ops.max(ops.sum(ops.abs(matrix), axis=1))
    return 1.0 / ops.where(bound > 0, bound, 1.0)
