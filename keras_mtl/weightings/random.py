from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "random",
    package="keras_mtl",
    paper="Lin et al., Reasonable Effectiveness of Random Weighting",
    year=2022,
    when="A control: a method that helps should beat random weights.",
    abbreviation="RLW",
)
class Random(Weighting):
    """Random loss weighting: w = T softmax(z) with z standard normal.

    Args:
        seed: Integer or `None`.

    Reference:
        - [Lin et al., 2022](https://arxiv.org/abs/2111.10603), equation 2.
          There the weights sum to 1, here to `T`, so that learning rates mean
          the same as with equal weights.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def compute_weights(self, losses: Tensor) -> Tensor:
        logits = keras.random.normal(losses.shape, seed=self.seed_generator)
        return self.num_tasks * ops.softmax(logits)
