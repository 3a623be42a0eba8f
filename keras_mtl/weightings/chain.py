from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.registry import get
from keras_mtl.weightings.weighting import Weighting
from keras_mtl.weightings.wrapper import Wrapper


@keras.saving.register_keras_serializable(package="keras_mtl")
class Chain(Wrapper):
    """Loss balancing, then gradient balancing.

    The loss-balancing methods give the weights λ; the gradient-balancing method
    then sees the losses λ L and the gradients of λ L. The shared parameters
    follow both, the tasks' own parameters λ alone, also where the
    gradient-balancing method has `weigh_heads`.

    `weighting=["igb_v1", "nash_mtl"]` makes one.

    Args:
        weightings: List of weightings, or what `keras_mtl.weightings.get`
            takes. The last one balances gradients, all others losses.

    Raises:
        ValueError: If the weightings are not of these kinds.

    Example:

    >>> chain = keras_mtl.weightings.Chain(["scale_invariant", "sum"])
    >>> chain(np.array([0.5, 2.0]), np.eye(2))
    [2.0, 0.5]

    Reference:
        - [Dai et al., 2023](https://arxiv.org/abs/2307.15429), Algorithm 3.
    """

    # A chain without gradient balancing at its end is refused.
    needs_gradients = True

    def __init__(self, weightings: Sequence[Any], **kwargs: Any) -> None:
        if kwargs.get("scale_invariant"):
            raise ValueError(
                "`scale_invariant` belongs to the loss balancing in a chain. "
                "Received: scale_invariant=True for Chain"
            )
        if kwargs.get("floor"):
            raise ValueError(
                "`floor` belongs to the methods in a chain, such as "
                "[ScaleInvariant(floor=0.01), ...]. "
                f"Received: floor={kwargs['floor']} for Chain"
            )
        super().__init__(**kwargs)
        if not isinstance(weightings, (list, tuple)):
            raise ValueError(
                "Expected `weightings` to be a list of weightings. "
                f"Received: weightings={weightings!r}"
            )
        self.weightings = [get(weighting) for weighting in weightings]
        kinds = [w.needs_gradients for w in self.weightings]
        if len(kinds) < 2 or not kinds[-1] or any(kinds[:-1]):
            names = [type(w).__name__ for w in self.weightings]
            raise ValueError(
                "Expected a chain of loss-balancing methods and, last, one "
                f"gradient-balancing method. Received: weightings={names}"
            )

    def _parts(self) -> list[Weighting]:
        return self.weightings

    def call(self, losses: Tensor, gramian: Tensor = None) -> Tensor:
        self._check_shapes(losses, gramian)
        valid = ops.all(ops.isfinite(gramian))
        # Each part looks at its losses, and keeps its state by itself.
        losses = ops.where(valid, losses, np.nan)
        weights = ops.ones_like(losses)
        for weighting in self.weightings:
            known = [weights * losses]
            if weighting.needs_gradients:
                known.append(weights[:, None] * gramian * weights)
            weights = weights * weighting(*known)
        self.task_weights.assign(weights)
        return weights

    def head_weights(self) -> Tensor:
        weights = 1.0
        for weighting in self.weightings[:-1]:
            weights = weights * weighting.head_weights()
        return weights

    def weights_of_groups(self) -> Tensor:
        last = self.weightings[-1]
        return self.head_weights() * last.weights_of_groups()

    def combine(self, matrix: Tensor, weights: Tensor) -> Tensor:
        if self.is_linear:
            return ops.matmul(weights, matrix)
        last = self.weightings[-1]
        rows = ops.reshape(self.head_weights(), (-1, 1)) * matrix
        return last.combine(rows, ops.convert_to_tensor(last.task_weights))


@WEIGHTINGS.convert(lambda identifier: isinstance(identifier, (list, tuple)))
def _chain_of_list(identifiers):
    """Makes a chain, or the weighting of a list of one."""
    if len(identifiers) == 1:
        return get(*identifiers)
    return Chain(identifiers)
