from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "graddrop",
    package="keras_mtl",
    paper="Chen et al., Just Pick a Sign",
    year=2020,
    when="Tasks pull a parameter both ways: one side wins at random.",
)
class GradDrop(GradientWeighting):
    """Gradient sign dropout: each coordinate keeps one sign.

    For each coordinate of the shared variables, the purity
    P = (1 + Σ g_i / Σ |g_i|) / 2 is the share of the positive entries of the
    task gradients. With probability P the coordinate of the direction is the
    sum of the positive entries alone, else of the negative ones. The direction
    is not a weighted sum of the gradients: the weights of the tasks are 1.

    The paper places this at a layer's activations: there it takes the sign of a
    gradient times that of the activation, and sums it over the batch first.
    Here, with `gradients="features"`, each entry of the features of each
    example is a coordinate.

    Args:
        leak: The part of its gradient, in [0, 1], that a task always keeps; a
            number, or a list with one for each task.
        seed: Integer or `None`.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> graddrop = keras_mtl.weightings.GradDrop()
    >>> graddrop.aggregate(np.array([[1.0, -3.0, 2.0], [2.0, -1.0, 0.0]]))
    [3.0, -4.0, 2.0]

    Reference:
        - [Chen et al., 2020](https://arxiv.org/abs/2010.06808), equation 1 and
          Algorithm 1, with the identity as f.
    """

    is_linear = False

    def __init__(
        self,
        leak: float | Sequence[float] = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.leak = checks.number_or_list(
            "leak",
            leak,
            "a number in [0, 1] or a list of them",
            lambda value: 0 <= value <= 1,
        )
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def build_state(self, num_tasks: int) -> None:
        checks.one_per_task("leak", self.leak, num_tasks)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return ops.ones((self.num_tasks,))

    def combine(self, matrix: Tensor, weights: Tensor) -> Tensor:
        leak = ops.convert_to_tensor(self.leak, "float32")
        leaked = ops.matmul(leak * weights, matrix)
        rows = weights[:, None] * matrix
        share = self._positive_share(rows)
        uniform = keras.random.uniform(
            ops.shape(share), seed=self.seed_generator
        )
        rows = ops.reshape(1.0 - leak, (-1, 1)) * rows
        return leaked + ops.where(
            uniform < share,
            ops.sum(ops.relu(rows), axis=0),
            -ops.sum(ops.relu(-rows), axis=0),
        )

    def _positive_share(self, rows):
        positive = ops.sum(ops.relu(rows), axis=0)
        total = ops.sum(ops.abs(rows), axis=0)
        return positive / ops.where(total > 0, total, 1.0)
