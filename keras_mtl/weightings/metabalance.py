from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.grouped import GroupedWeighting
from keras_mtl.weightings.main_task import MainTaskWeighting
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register

# A larger ratio of norms would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "metabalance",
    package="keras_mtl",
    paper="He et al., MetaBalance: Adapting Gradient Magnitudes",
    year=2022,
    when="One task counts; the others may not drown it in any layer.",
)
class MetaBalance(MainTaskWeighting, GroupedWeighting):
    """MetaBalance: auxiliary gradients as long as that of the main task.

    In each layer, the gradient g_i of an auxiliary task is brought nearer to
    the length of that of the main task:
    g_i ← r (m̄ / m_i) g_i + (1 - r) g_i, with m the moving averages of the norms
    in that layer, m ← β m + (1 - β) ‖g‖, and m̄ that of the main task. The
    direction is the sum of the gradients. Conflicts remain as they are.

    A zero gradient (a task without a label in the batch) does not count in its
    average, and a norm of more than 100 times the average counts as that. In a
    layer that the main task does not use, gradients stay as they are. The
    official code takes each variable for a layer (`groups="variable"`). Its
    averages are too small in the first steps, which cancels in the ratio.

    Args:
        relax_factor: r, in [0, 1]: 0 is `Sum`, with 1 all norms are that of the
            main task.
        beta: β, in [0, 1).
        groups: `"layer"`, `"variable"`, or `"model"` for one ratio of the norms
            of all shared variables. `None` is `"layer"`, or `"model"` where
            groups cannot be told apart, as with `gradients="features"`.
        main: Name of the main task, a key of `loss`, or `None`: the first one.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> metabalance = keras_mtl.weightings.MetaBalance(relax_factor=0.5)
    >>> metabalance(np.ones(2), np.array([[4.0, 0.0], [0.0, 64.0]]))
    [1.0, 0.625]

    Reference:
        - [He et al., 2022](https://arxiv.org/abs/2203.06801), Algorithm 1.
    """

    def __init__(
        self,
        relax_factor: float = 0.7,
        beta: float = 0.9,
        groups: str | None = None,
        main: str | None = None,
        **kwargs: Any,
    ) -> None:
        if groups is None:
            measured = {
                "gradients": "parameters",
                "shared": "auto",
                "update_every": 1,
                "gramian_batch": 1.0,
            }
            is_plain = {**measured, **kwargs}.items() >= measured.items()
            groups = "layer" if is_plain else "model"
        super().__init__(main, groups=groups, **kwargs)
        self.relax_factor = checks.fraction("relax_factor", relax_factor)
        self.beta = checks.fraction("beta", beta, "[0, 1)")

    def build_state(self, num_tasks: int) -> None:
        shape = self.group_shape(num_tasks)
        self.average = self.add_state(shape, name="average")
        # The sum of the weights in the moving average, which corrects its bias
        # towards 0.
        self.counted = self.add_state(shape, name="counted")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        averages = self._averaged(ops.diagonal(gramian, axis1=-2, axis2=-1))
        main = averages[..., self.main_index : self.main_index + 1]
        known = ops.logical_and(averages > 0, main > 0)
        # Two square roots of the range of float32 may leave it.
        ratios = main / ops.where(known, averages, 1.0)
        ratios = ops.where(known, ops.minimum(ratios, MAX_RATIO), 1.0)
        return self.relax_factor * ratios + (1.0 - self.relax_factor)

    def _averaged(self, squares):
        """Updates the averages of the norms, and returns them."""
        rate = (1.0 - self.beta) * ops.cast(squares > 0, "float32")
        average = ops.convert_to_tensor(self.average)
        counted = ops.convert_to_tensor(self.counted)
        norms = ops.sqrt(ops.relu(squares))
        norms = within_reach(norms, average / ops.maximum(counted, TINY))
        average = average + rate * (norms - average)
        counted = counted + rate * (1.0 - counted)
        self.average.assign(average)
        self.counted.assign(counted)
        return average / ops.maximum(counted, TINY)
