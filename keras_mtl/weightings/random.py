import keras
from keras import ops

from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Random(Weighting):
    """Random loss weighting: w = T softmax(z) with z standard normal.

    Args:
        seed: Integer or `None`.

    Reference:
        - [Lin et al., 2022](https://arxiv.org/abs/2111.10603), equation 2.
          There the weights sum to 1, here to `T`, so that learning rates mean
          the same as with equal weights.
    """

    paper = "Lin et al., Reasonable Effectiveness of Random Weighting"
    year = 2022

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compute_weights(self, losses):
        logits = keras.random.normal(losses.shape, seed=self.seed_generator)
        return self.num_tasks * ops.softmax(logits)
