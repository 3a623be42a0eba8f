from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.compiling import compiled
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.grouped import GroupedWeighting
from keras_mtl.weightings.pcgrad import others_in_random_order
from keras_mtl.weightings.registry import register

# Beyond this target, the rounding of a cosine in float32 decides on the
# correction.
MAX_TARGET = 1.0 - 1e-5
# Smallest ratio of the squared norm of a sum to that of its parts at which
# float32 still knows the sum's direction.
MIN_CANCELLATION = 1e-6


@register(
    "gradvac",
    package="keras_mtl",
    paper="Wang et al., Gradient Vaccine",
    year=2021,
    when="As pcgrad, for tasks that agree: acts if they agree less.",
)
class GradVac(GroupedWeighting):
    """Gradient Vaccine: brings cosines up to what they are on average.

    As in PCGrad, a copy of each task's gradient meets the gradients of the
    other tasks in a random order. Where the cosine of the two is below a target
    φ, as much of the other gradient is added to the copy as brings the cosine
    to φ. A target is the moving average of the pair's own cosines, and 0 at
    first. The direction is the sum of the copies. All of it is computed from
    the Gramian.

    A cosine with a zero gradient (a task without a label in the batch) changes
    no target. Targets above 0.99999 count as 0.99999.

    With `groups="layer"` or `"variable"`, each layer, or each variable, has
    cosines and targets of its own, as in the paper's experiments ("all_layer"
    and "all_matrix" there). The tasks meet in one order in all groups.

    Args:
        beta: Weight of the new cosine in the moving average, in [0, 1]. The
            default is that of LibMTL, with which targets follow the noise of
            the batches; the paper has 0.01 for its translations.
        seed: Integer or `None`.
        groups: `"model"`, `"layer"` or `"variable"`: what is corrected
            together.
        **kwargs: See `GradientWeighting`; with groups, all shared variables are
            measured in each step.

    Example:

    >>> gradvac = keras_mtl.weightings.GradVac()
    >>> gramian = np.array([[1.0, -0.6], [-0.6, 1.0]])
    >>> gradvac(np.ones(2), gramian)  # The targets are 0: PCGrad.
    [1.6, 1.6]
    >>> gradvac(np.ones(2), gramian)  # The targets are -0.3.
    [1.348412, 1.348412]

    Reference:
        - [Wang et al., 2021](https://arxiv.org/abs/2010.05874), Algorithm 1,
          equations 3 and 4.
    """

    implied_arguments = {
        **GradientWeighting.implied_arguments,
        "groups": "model",
    }

    def __init__(
        self,
        beta: float = 0.5,
        seed: int | None = None,
        groups: str = "model",
        **kwargs: Any,
    ) -> None:
        super().__init__(groups, **kwargs)
        self.beta = checks.fraction("beta", beta)
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def build_state(self, num_tasks: int) -> None:
        shape = self.group_shape(num_tasks, num_tasks)
        self.targets = self.add_state(shape, name="targets")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        order = others_in_random_order(self.num_tasks, self.seed_generator)
        weights, targets = _vaccinate(gramian, order, self.targets, self.beta)
        self.targets.assign(targets)
        return weights


@compiled
def _vaccinate(gramian, order, targets, beta):
    """Returns the weights and the new targets of the cosines.

    The Gramian may be that of each group, of shape `(K, T, T)`.
    """
    num_tasks = gramian.shape[-1]
    norms = ops.diagonal(gramian, axis1=-2, axis2=-1)
    norms = ops.sqrt(ops.relu(norms))

    def step(i, state):
        coefficients, products, targets = state
        other = ops.take(order, i, axis=1)
        chosen = ops.one_hot(other, num_tasks, dtype="float32")
        squared = ops.sum(coefficients * products, axis=-1)
        parts = ops.abs(coefficients) * norms[..., None, :]
        parts = ops.sum(parts, axis=-1)
        norm = ops.sqrt(ops.relu(squared))
        other_norm = ops.take(norms, other, axis=-1)
        known = (norm > MIN_CANCELLATION**0.5 * parts) & (other_norm > 0)
        norm = ops.where(known, norm, 1.0)
        other_norm = ops.where(known, other_norm, 1.0)
        product = ops.sum(chosen * products, axis=-1)
        cosine = ops.clip(product / norm / other_norm, -1.0, 1.0)
        target = ops.sum(chosen * targets, axis=-1)
        added = norm / other_norm * _correction(cosine, target)
        added = ops.where(known, added, 0.0)[..., None]
        change = ops.where(known, beta * (cosine - target), 0.0)
        return (
            coefficients + added * chosen,
            products + added * ops.take(gramian, other, axis=-2),
            targets + change[..., None] * chosen,
        )

    own = ops.broadcast_to(ops.eye(num_tasks), gramian.shape)
    first = (own, gramian, targets)
    coefficients, _, targets = ops.fori_loop(0, num_tasks - 1, step, first)
    return ops.sum(coefficients, axis=-2), targets


def _correction(cosine, target):
    """The multiple of a unit vector that brings a cosine up to its target.

    It is added to another unit vector, with which it has that cosine.
    """
    target = ops.minimum(target, MAX_TARGET)
    sine = ops.sqrt(1.0 - ops.square(cosine))
    target_sine = ops.sqrt(1.0 - ops.square(target))
    return ops.where(cosine < target, target * sine / target_sine - cosine, 0.0)
