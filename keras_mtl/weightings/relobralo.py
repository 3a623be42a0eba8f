from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.present_tasks import shared_by
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# A larger ratio of losses would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "relobralo",
    package="keras_mtl",
    paper="Bischof and Kraus, Multi-Objective Loss Balancing for PINNs",
    year=2021,
    when="Terms of a differential equation: the slowest leads.",
)
class ReLoBRaLo(Weighting):
    """Relative loss balancing with random look-back.

    λ ← α (ρ λ + (1 − ρ) λ̂(0)) + (1 − α) λ̂(t − 1), where
    λ̂(t') = T softmax(L(t) / (τ L(t'))) compares the losses with those of step
    t', the first one or the one before, and ρ is 1 with the probability
    `lookback`, else 0. In the first step λ is 1.

    The steps of a task are those in which it has a label, and its loss is
    positive: in others its weight is 0 and λ stays as it is.

    Args:
        temperature: τ. A small one trains the slowest task alone.
        alpha: α, the decay of the average, in [0, 1].
        lookback: The probability that ρ is 1, in [0, 1]: how long it takes
            until the first losses are looked at again.
        seed: Integer or `None`.
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> relobralo = keras_mtl.weightings.ReLoBRaLo(alpha=0.0)
    >>> relobralo(np.array([2.0, 2.0]))
    [1.0, 1.0]
    >>> relobralo(np.array([2.0, 1.0]))  # The ratios are 1 and 0.5.
    [1.2449187, 0.7550813]

    Reference:
        - [Bischof and Kraus, 2021](https://arxiv.org/abs/2110.09813), section
          "Relative loss balancing with random lookback".
    """

    needs_positive_losses = True
    divides_by_losses = True

    def __init__(
        self,
        temperature: float = 1.0,
        alpha: float = 0.999,
        lookback: float = 0.99,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.temperature = checks.positive("temperature", temperature)
        self.alpha = checks.fraction("alpha", alpha)
        self.lookback = checks.fraction("lookback", lookback)
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def build_state(self, num_tasks: int) -> None:
        shape = (num_tasks,)
        # Losses are 0 until known.
        self.first = self.add_state(shape, name="first_losses")
        self.last = self.add_state(shape, name="last_losses")
        self.balance = self.add_state(shape, "ones", name="balance")

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = losses > TINY
        balance, first, last = (
            ops.copy(v) for v in (self.balance, self.first, self.last)
        )
        draw = keras.random.uniform((), seed=self.seed_generator)
        past = ops.where(
            draw < self.lookback, balance, self._compare(losses, first)
        )
        present = self._compare(losses, last)
        new = self.alpha * past + (1.0 - self.alpha) * present
        known = ops.logical_and(labelled, last > TINY)
        new = ops.where(known, new, balance)
        self.balance.assign(new)
        self.last.assign(ops.where(labelled, losses, last))
        is_first = ops.logical_and(labelled, first <= TINY)
        self.first.assign(ops.where(is_first, losses, first))
        return new

    def _compare(self, losses, others):
        """Returns T softmax(L / (τ L')) of the tasks that have both losses."""
        known = ops.logical_and(losses > TINY, others > TINY)
        ratios = losses / ops.where(known, others, 1.0) / self.temperature
        return shared_by(ops.minimum(ratios, MAX_RATIO), known)
