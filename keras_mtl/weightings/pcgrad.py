from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.compiling import compiled
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "pcgrad",
    package="keras_mtl",
    paper="Yu et al., Gradient Surgery for Multi-Task Learning",
    year=2020,
    when="Gradients conflict; without conflict, it is the plain sum.",
)
class PCGrad(GradientWeighting):
    """PCGrad: projects conflicting gradients, gradient surgery.

    From a copy of each task's gradient, the part along the gradient of each
    other task is removed where the two conflict, one task after the other in a
    random order, drawn anew for each task and step. The direction is the sum of
    the copies. Each copy is a linear combination of the gradients, so that its
    coefficients and the Gramian are all that is needed; a weight is the sum of
    a gradient's coefficients, at least 1.

    With two tasks the order does not matter. The official code has one order
    for all tasks and steps (the result of its shuffle is not used).

    Args:
        seed: Integer or `None`.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, ...).

    Example:

    >>> pcgrad = keras_mtl.weightings.PCGrad()
    >>> gradients = np.array([[1.0, 0.0], [-1.0, 2.0]])
    >>> pcgrad(np.ones(2), gradients @ gradients.T)
    [2.0, 1.2]
    >>> pcgrad.aggregate(gradients)
    [0.8, 2.4]

    Reference:
        - [Yu et al., 2020](https://arxiv.org/abs/2001.06782), Algorithm 1.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        order = others_in_random_order(self.num_tasks, self.seed_generator)
        return _project_conflicts(gramian, order)


@compiled
def _project_conflicts(gramian, order):
    """Projects each gradient onto the normal planes of those in its order."""
    num_tasks = gramian.shape[0]
    squared_norms = ops.diagonal(gramian)

    def project(step, coefficients):
        other = ops.take(order, step, axis=1)
        products = ops.take(gramian, other, axis=0)
        conflict = ops.relu(-ops.sum(coefficients * products, axis=1))
        squared_norm = ops.take(squared_norms, other)
        nonzero = squared_norm > 0
        added = ops.where(
            nonzero, conflict / ops.where(nonzero, squared_norm, 1.0), 0.0
        )
        return coefficients + added[:, None] * ops.one_hot(
            other, num_tasks, dtype="float32"
        )

    first = ops.eye(num_tasks)
    coefficients = ops.fori_loop(0, num_tasks - 1, project, first)
    return ops.sum(coefficients, axis=0)


def others_in_random_order(
    num_tasks: int, seed: keras.random.SeedGenerator
) -> Tensor:
    """Draws, for each task, a random order of the other tasks.

    Args:
        num_tasks: The number of tasks `T`.
        seed: `keras.random.SeedGenerator`.

    Returns:
        Integer tensor of shape `(T, T)`; the last in each row is the task
        itself.
    """
    keys = keras.random.uniform((num_tasks, num_tasks), seed=seed)
    return ops.argsort(keys + ops.eye(num_tasks), axis=1)
