from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.present_tasks import shared_by
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# A larger one would leave the range of float32.
MAX_LOGIT = 1e30


@register(
    "uw_so",
    package="keras_mtl",
    paper="Kirchdorfer et al., Analytical Uncertainty-Based Loss Weighting",
    year=2024,
    when="As uncertainty, without its delay; τ must be tuned.",
)
class UWSO(Weighting):
    """Soft optimal uncertainty weighting: w = softmax(1 / (τ L)).

    With σ at its optimum for the losses of the batch, the objective of
    uncertainty weighting has the weights 1 / L. A softmax with a temperature
    normalizes them: they sum to 1, not to `T`. A small τ trains the task with
    the smallest loss alone, a large one all tasks alike, and which τ is small
    depends on the unit of the losses. A task without a label, or whose loss is
    not positive, has weight 0.

    Args:
        temperature: τ, to be tuned: the paper searches it for each data set and
            network.
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> keras_mtl.weightings.UWSO()(np.array([0.5, 1.0]))
    [0.7310586, 0.2689414]

    Reference:
        - [Kirchdorfer et al., 2024](https://arxiv.org/abs/2408.07985), section
          "Soft optimal uncertainty weighting".
    """

    needs_positive_losses = True
    divides_by_losses = True

    def __init__(self, temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = checks.positive("temperature", temperature)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = losses > TINY
        logits = ops.minimum(inverse(losses) / self.temperature, MAX_LOGIT)
        shares = shared_by(logits, labelled)
        return shares / ops.maximum(ops.sum(shares), TINY)
