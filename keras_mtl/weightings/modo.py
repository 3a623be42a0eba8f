from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.present_tasks import present
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.simplex_steps import SimplexSteps


@register(
    "modo",
    package="keras_mtl",
    paper="Chen et al., Three-Way Trade-Off in Multi-Objective Learning",
    year=2023,
    when="As mgda, steadier: the weights move a small step each time.",
)
class MoDo(SimplexSteps):
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

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return self.take_step(gramian, present(gramian))
