import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.backend.checks import boolean
from keras_mtl.backend.checks import non_negative
from keras_mtl.backend.checks import positive
from keras_mtl.backend.checks import positive_integer

Tensor = Any

# What the logarithm of a probability of 0 is taken of, as in the authors' code.
EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_mtl")
class DSelectGate(keras.layers.Layer):
    """Gates of which at most `k` are not 0, smooth in their parameters.

    Each of `k` selectors has a binary code of one of the experts, bit by bit a
    smooth step of a logit, which is exactly 0 or 1 beyond `gamma / 2`. The
    selectors are mixed by a softmax.

    Two losses are added to those of the model. The entropy of the selectors
    makes them choose one expert each. If the number of experts is no power of
    two, a second loss keeps the selectors from codes without an expert: 1 over
    the sum of what a selector gives the experts, less 1. Both are means over
    the batch, summed over the selectors; in the authors' code, they are sums
    over the batch, and the second is larger by the constant 1.

    Args:
        num_experts: Number of experts, two or more.
        k: Number of selectors.
        gamma: Width of the smooth step.
        entropy_weight: Factor of the entropy.
        per_example: Whether the gates depend on the input, or are the same
            for all examples of the task.

    Call arguments:
        x: Of shape `(batch, units)`.

    Output shape: `(batch, num_experts)`.

    Reference:
        [Hazimeh et al., 2021](https://arxiv.org/abs/2106.03760), sections 3
        and 4.
    """

    def __init__(
        self,
        num_experts: int,
        k: int = 2,
        gamma: float = 1.0,
        entropy_weight: float = 1e-3,
        per_example: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_experts = positive_integer("num_experts", num_experts)
        self.k = positive_integer("k", k)
        if self.num_experts < 2 or self.k > self.num_experts:
            raise ValueError(
                "Expected `num_experts` to be 2 or more, and `k` at most that. "
                f"Received: num_experts={num_experts}, k={k}"
            )
        self.gamma = positive("gamma", gamma)
        self.entropy_weight = non_negative("entropy_weight", entropy_weight)
        self.per_example = boolean("per_example", per_example)
        self._num_bits = math.ceil(math.log2(self.num_experts))
        numbers = np.arange(self.num_experts)[:, None]
        # The bit of the highest value comes first.
        places = np.arange(self._num_bits)[::-1]
        self._codes = (numbers >> places) % 2

    def build(self, x_shape: tuple) -> None:
        # Near 0, where the step is steep.
        bound = self.gamma / 100
        near_zero = keras.initializers.RandomUniform(-bound, bound)
        small = keras.initializers.RandomUniform(-0.05, 0.05)
        size = self.k * self._num_bits
        if self.per_example:
            units = x_shape[-1]
            self.bit_kernel = self._add("bit_kernel", (units, size), near_zero)
            self.mixture_kernel = self._add(
                "mixture_kernel", (units, self.k), small
            )
        self.bit_bias = self._add("bit_bias", (size,), near_zero)
        self.mixture_bias = self._add("mixture_bias", (self.k,), small)

    def _add(self, name, shape, initializer):
        # The selectors are exact in the precision of the variables.
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, autocast=False
        )

    def call(self, x: Tensor) -> Tensor:
        x = ops.cast(x, self.variable_dtype)
        if self.per_example:
            bits = ops.matmul(x, self.bit_kernel) + self.bit_bias
            mixture = ops.matmul(x, self.mixture_kernel) + self.mixture_bias
        else:
            of_all = ops.zeros_like(x[:, :1])
            bits = of_all + self.bit_bias
            mixture = of_all + self.mixture_bias
        selectors = self._selectors(bits)
        self._add_losses(selectors)
        # Of a single selector, `ops.softmax` would warn.
        mixture = ops.exp(ops.log_softmax(mixture, axis=-1))[:, :, None]
        gates = ops.sum(mixture * selectors, axis=1)
        return ops.cast(gates, self.compute_dtype)

    def _selectors(self, bits):
        """Returns what each selector gives each expert, `(batch, k, E)`."""
        bits = ops.reshape(bits, (-1, self.k, 1, self._num_bits))
        ones = smooth_step(bits, self.gamma)
        codes = ops.convert_to_tensor(self._codes, dtype=ones.dtype)
        factors = codes * ones + (1 - codes) * (1 - ones)
        return functools.reduce(ops.multiply, ops.unstack(factors, axis=-1))

    def _add_losses(self, selectors):
        # In half precision, 1 over a sum near 0 is infinite.
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        selectors = ops.cast(selectors, dtype)
        entropy = -ops.sum(selectors * ops.log(selectors + EPSILON), axis=-1)
        self.add_loss(self.entropy_weight * _mean_of_examples(entropy))
        if 2**self._num_bits > self.num_experts:
            total = ops.sum(selectors, axis=-1)
            excess = 1 / ops.maximum(total, EPSILON) - 1
            self.add_loss(_mean_of_examples(excess))

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return (x_shape[0], self.num_experts)

    def get_config(self) -> dict[str, Any]:
        config = {
            "num_experts": self.num_experts,
            "k": self.k,
            "gamma": self.gamma,
            "entropy_weight": self.entropy_weight,
            "per_example": self.per_example,
        }
        return {**super().get_config(), **config}


def smooth_step(x: Tensor, gamma: float) -> Tensor:
    """A cubic step from 0 at `-gamma / 2` to 1 at `gamma / 2`, flat outside.

    Equation 3 of the paper.
    """
    t = ops.clip(x / gamma, -0.5, 0.5)
    return -2 * t * t * t + 1.5 * t + 0.5


def _mean_of_examples(x):
    return ops.mean(ops.sum(x, axis=1))
