from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.windowed_means import WindowedMeans

# A larger ratio of mean losses would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "dwa",
    package="keras_mtl",
    paper="Liu et al., End-to-End Multi-Task Learning with Attention",
    year=2019,
    when="Some losses fall slowly and should get more weight.",
)
class DWA(WindowedMeans):
    """Dynamic weight average: the slower a loss falls, the larger its weight.

    The weights are T softmax(r / τ), with r the mean loss of the last epoch
    over that of the epoch before, and τ the temperature. In the first two
    epochs they are 1. Batches without a label do not count, nor do epochs with
    none: the means are then those of the last two epochs that have labels. A
    task of which one of the two means is not known, or not positive, counts as
    neither rising nor falling: r = 1.

    Args:
        temperature: τ; a large one gives equal weights.
        window: `"epoch"`, or the number of steps over which losses are
            averaged in place of an epoch, for epochs that are few or long.

    Example:

    >>> dwa = keras_mtl.weightings.DWA(window=1)
    >>> for losses in ([2.0, 2.0], [2.0, 1.0]):
    ...     weights = dwa(np.array(losses))
    >>> weights
    [1.0, 1.0]
    >>> dwa(np.array([2.0, 1.0]))  # The ratios are 1 and 0.5.
    [1.1243530, 0.8756470]

    Reference:
        - [Liu et al., 2019](https://arxiv.org/abs/1803.10704), equation 7.
    """

    def __init__(
        self,
        temperature: float = 2.0,
        window: str | int = "epoch",
        **kwargs: Any,
    ) -> None:
        super().__init__(window, **kwargs)
        self.temperature = checks.positive("temperature", temperature)

    def compute_weights(self, losses: Tensor) -> Tensor:
        before_last = ops.convert_to_tensor(self.before_last)
        last = ops.convert_to_tensor(self.last)
        known = ops.minimum(before_last, last) > TINY
        ratio = last / ops.maximum(before_last, TINY)
        ratio = ops.where(known, ops.minimum(ratio, MAX_RATIO), 1.0)
        self.count_losses(losses)
        return self.num_tasks * ops.softmax(ratio / self.temperature)
