from typing import Any

from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.weightings.main_task import MainTaskWeighting
from keras_mtl.weightings.registry import register


@register(
    "gcs",
    package="keras_mtl",
    paper="Du et al., Adapting Auxiliary Losses Using Gradient Similarity",
    year=2018,
    when="One task counts, the others only as far as they help it.",
)
class GCS(MainTaskWeighting):
    """Gradient cosine similarity: auxiliary tasks count as far as they help.

    The gradient of the main task has the weight 1, that of each other task the
    cosine between the two, and 0 where that is negative. A main task without a
    label in the batch has a zero gradient: then no other task is known to help,
    and all weights but its own are 0. The tasks' own parameters follow their
    own gradients.

    The paper's unweighted form, 1 where the cosine is positive, is not here.

    Args:
        main: Name of the main task, a key of `loss`, or `None`: the first one.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> gcs = keras_mtl.weightings.GCS()
    >>> gcs(np.ones(3), np.array([[1., 2., -1.], [2., 16., 0.], [-1., 0., 4.]]))
    [1.0, 0.5, 0.0]

    Reference:
        - [Du et al., 2018](https://arxiv.org/abs/1812.02224), equation 4.
    """

    def __init__(self, main: str | None = None, **kwargs: Any) -> None:
        super().__init__(main, **kwargs)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        cosines = unit_gramian(gramian)[0][self.main_index]
        is_main = ops.arange(self.num_tasks) == self.main_index
        return ops.where(is_main, 1.0, ops.clip(cosines, 0.0, 1.0))
