import math

from keras_mtl.selection.registry import register
from keras_mtl.selection.reward import Reward


@register("prediction_gain", package="keras_mtl")
class PredictionGain(Reward):
    """Reward that is by how much a step lowers the loss on its own batch.

    It is 0 where one of the losses is not finite.

    Example:

    >>> reward = keras_mtl.selection.PredictionGain()
    >>> reward(task=0, loss=0.75, loss_after=0.5)
    0.25

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), section
        3.2.1, after [Graves et al., 2017](https://arxiv.org/abs/1704.03003).
    """

    needs_loss_after = True

    def __call__(
        self, task: int, loss: float, loss_after: float | None = None
    ) -> float:
        if loss_after is None:
            raise ValueError(
                "Expected `loss_after`, the loss on the same batch after the "
                "step. Received: None"
            )
        gain = float(loss) - float(loss_after)
        return gain if math.isfinite(gain) else 0.0
