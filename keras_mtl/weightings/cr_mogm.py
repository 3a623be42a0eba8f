import keras
from keras import ops

from keras_mtl.weightings.weighting import GradientWeighting

# What the wrapper takes over from the method inside of it.
SHARED_ARGUMENTS = (
    *("gradients", "shared", "gramian_batch"),
    *("weigh_heads", "max_norm"),
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class CRMOGM(GradientWeighting):
    """CR-MOGM: the weights of another method, averaged over the steps.

    λ ← α λ + (1 − α) λ̂, with λ̂ the weights that a gradient-balancing method
    gives in this step. Averaged, they depend less on the noise of the batch to
    which they are applied. λ begins as the first λ̂.

    Args:
        weighting: The method that gives λ̂, or what `keras_mtl.weightings.get`
            takes. Its `update_every` must be 1.
        alpha: Weight α of the past, in [0, 1). The paper lets it grow to 1 as
            the learning rate decays; here it is constant.
        **kwargs: See `GradientWeighting`; `gradients`, `shared`, `weigh_heads`
            and `max_norm` are those of `weighting` by default.

    Example:

    >>> nash = keras_mtl.weightings.NashMTL(max_norm=None)
    >>> smooth = keras_mtl.weightings.CRMOGM(nash, alpha=0.5)
    >>> smooth(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [1.0, 0.5]
    >>> smooth(np.ones(2), np.array([[4.0, 0.0], [0.0, 1.0]]))
    [0.75, 0.75]

    Reference:
        - [Zhou et al., 2022](https://openreview.net/forum?id=ScwfQ7hdwyP),
          Algorithm 1.
    """

    paper = "Zhou et al., Stochastic Multi-Objective Gradient Manipulation"
    year = 2022
    cost = "that of its part"

    def __init__(self, weighting="mgda", alpha=0.9, **kwargs):
        from keras_mtl.weightings import get

        weighting = get(weighting)
        if not isinstance(weighting, GradientWeighting) or not (
            weighting.is_linear and weighting.update_every == 1
        ):
            raise ValueError(
                "Expected `weighting` to be a gradient-balancing method whose "
                "direction is a weighted sum, with `update_every=1`. "
                f"Received: weighting={weighting}"
            )
        if not 0 <= alpha < 1:
            raise ValueError(
                f"Expected `alpha` to be in [0, 1). Received: alpha={alpha}"
            )
        for name in SHARED_ARGUMENTS:
            kwargs.setdefault(name, getattr(weighting, name))
        super().__init__(**kwargs)
        self.weighting = weighting
        self.alpha = alpha

    def build_state(self, num_tasks):
        if not self.weighting.built:
            self.weighting.build((num_tasks,))
        self.average = self.add_state((num_tasks,), name="average")
        self.started = self.add_state(name="started")

    def compute_weights(self, losses, gramian):
        weights = self.weighting(losses, gramian)
        past = self.alpha * ops.convert_to_tensor(self.started)
        average = ops.convert_to_tensor(self.average)
        average = past * average + (1.0 - past) * weights
        self.average.assign(average)
        self.started.assign(ops.ones(()))
        return average

    def on_epoch_begin(self):
        self.weighting.on_epoch_begin()

    def on_epoch_end(self):
        self.weighting.on_epoch_end()

    @property
    def learning_rate_variables(self):
        return self.weighting.learning_rate_variables

    @property
    def needs_epochs(self):
        return self.weighting.needs_epochs
