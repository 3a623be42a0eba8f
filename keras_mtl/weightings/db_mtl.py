from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register


@register(
    "db_mtl",
    package="keras_mtl",
    paper="Lin et al., Dual-Balancing for Multi-Task Learning",
    year=2023,
    when="Both the losses and the gradients differ in size.",
)
class DBMTL(GradientWeighting):
    """DB-MTL: balances the losses and the gradients.

    The losses are balanced by the logarithm: the objective is Σ log L. On the
    shared parameters, the gradients of log L are then scaled to the norm of the
    largest one. The tasks' own parameters follow the gradients of log L. The
    first part alone is `ScaleInvariant`. Losses must be positive: a task whose
    loss is not gets no weight in that step, and its average stays as it is.

    The paper normalizes moving averages of the gradients, which needs `T`
    copies of all shared parameters. Here the norms are averaged, not the
    gradients: the weights are those of the paper where each gradient keeps its
    direction, and with `beta=0`, where there is no average. Where directions
    change, the noise of the gradients does not cancel in the average: a noisy
    task gets less weight than in the paper, and the direction is that of the
    current gradients, which an optimizer with momentum averages. The paper's
    ε = 1e-8, added to losses and norms, is left out. As there, the averages
    begin at 0, so that the first directions are short: that of the first step
    has 1 - β times its length.

    Args:
        beta: Forgetting rate β, in [0, 1), of the moving averages.
        beta_sigma: Exponent with which β falls: in a task's k-th batch it is
            β / k^beta_sigma. The paper selects β among 0.1, 0.5 and 0.9, with
            an exponent of 0 or 0.5, of which the latter was better. LibMTL's
            defaults are 0.9 and 0.
        **kwargs: See `GradientWeighting`, and `Weighting` for `floor`; with
            `weigh_heads`, the tasks' own parameters follow the weights of the
            shared ones.

    Example:

    >>> db_mtl = keras_mtl.weightings.DBMTL()
    >>> gramian = np.array([[1.0, 0.0], [0.0, 16.0]])
    >>> db_mtl(np.array([1.0, 2.0]), gramian)
    [1.0, 0.25]

    Reference:
        - [Lin et al., 2023](https://arxiv.org/abs/2308.12029), Algorithm 1,
          equations 1 and 2.
    """

    needs_positive_losses = True
    divides_by_losses = True

    def __init__(
        self, beta: float = 0.5, beta_sigma: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta = checks.fraction("beta", beta, "[0, 1)")
        self.beta_sigma = checks.non_negative("beta_sigma", beta_sigma)

    def build_state(self, num_tasks: int) -> None:
        shape = (num_tasks,)
        self.loss_weights = self.add_state(shape, "ones", "loss_weights")
        self.batches = self.add_state(shape, name="batches")
        self.norm = self.add_state(shape, name="norm")
        # The mass is the moving average of ones. It is below 1 at first, by as
        # much as the average of the norms is too small.
        self.mass = self.add_state(shape, name="mass")

    def _weigh(self, losses, gramian):
        # These change in every step, also between updates of the other weights.
        self.loss_weights.assign(inverse(losses))
        return super()._weigh(losses, gramian)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        loss_weights = inverse(losses)
        norms = ops.sqrt(ops.relu(ops.diagonal(gramian))) * loss_weights
        norms = within_reach(norms, self.norm / ops.maximum(self.mass, TINY))
        # The base class has counted this step already. Between updates, the
        # Gramian is a stand-in and does not count.
        due = ops.equal(self.steps, 1 % self.measurement.update_every)
        counted = ops.logical_and(due, losses > TINY)
        batches = self.batches + ops.cast(counted, "float32")
        rate = self.beta / ops.maximum(batches, 1.0) ** self.beta_sigma
        rate = ops.where(counted, rate, 1.0)
        norm = rate * self.norm + (1.0 - rate) * norms
        mass = rate * self.mass + (1.0 - rate)
        self.batches.assign(batches)
        self.norm.assign(norm)
        self.mass.assign(mass)
        # The direction has the length of the largest average, which the paper
        # lets begin at 0. The average of a task that had fewer batches than
        # others must not look shorter for it.
        largest = ops.max(norm)
        average = norm / ops.maximum(mass, TINY)
        nonzero = average > TINY * ops.maximum(largest, 1.0)
        ratio = largest / ops.where(nonzero, average, 1.0)
        return ops.where(nonzero, ratio, 0.0) * loss_weights

    def _plain_head_weights(self):
        return ops.convert_to_tensor(self.loss_weights)
