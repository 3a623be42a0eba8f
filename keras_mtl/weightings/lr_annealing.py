from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register

# A larger ratio of norms would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "lr_annealing",
    package="keras_mtl",
    paper="Wang et al., An Expert's Guide to Training PINNs",
    year=2023,
    when="Terms of a differential equation: gradients of one length.",
)
class LRAnnealing(GradientWeighting):
    """Learning rate annealing by gradient norms, for differential equations.

    λ_i ← α λ_i + (1 - α) Σ_j ‖g_j‖ / ‖g_i‖, from λ = 1 on: on average, the
    gradients of all terms, the residual and the conditions, come to one length.
    The weights multiply the losses, so that they act on all parameters; those
    of T gradients of one length come to T.

    This is the form of 2023, by norms. That of 2021 (Wang, Teng and Perdikaris)
    divides the largest entry of the residual's gradient by the mean absolute
    entry of each other one. Entries are not what a weighting is told: it sees
    inner products alone. With α, that paper weighs the new value, and its
    0.9 is 0.1 here.

    A task whose gradient is zero keeps its λ. A new value of more than 100
    times λ counts as 100 times λ.

    Args:
        alpha: Weight α of the past, in [0, 1).
        weigh_heads: Whether the weights multiply the gradients of the tasks'
            heads, too.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, ...). The authors compute new weights every 1,000
            steps.

    Example:

    >>> annealing = keras_mtl.weightings.LRAnnealing(alpha=0.5)
    >>> annealing(np.ones(2), np.array([[9.0, 0.0], [0.0, 1.0]]))
    [1.1666667, 2.5]

    Reference:
        - [Wang et al., 2023](https://arxiv.org/abs/2308.08468), the weights of
          Algorithm 1.
        - [Wang et al., 2021](https://arxiv.org/abs/2001.04536), Algorithm 1.
    """

    def __init__(
        self, alpha: float = 0.9, weigh_heads: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(weigh_heads=weigh_heads, **kwargs)
        self.alpha = checks.fraction("alpha", alpha, "[0, 1)")

    def build_state(self, num_tasks: int) -> None:
        self.balance = self.add_state((num_tasks,), "ones", "balance")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
        present = norms > 0
        # In units of the largest norm, since their sum may overflow.
        largest = ops.max(norms)
        shares = norms / ops.where(largest > 0, largest, 1.0)
        ratios = ops.sum(shares) / ops.where(shares > 0, shares, 1.0)
        past = ops.convert_to_tensor(self.balance)
        ratios = within_reach(ops.minimum(ratios, MAX_RATIO), past)
        balance = self.alpha * past + (1.0 - self.alpha) * ratios
        balance = ops.where(present, balance, past)
        self.balance.assign(balance)
        return balance
