"""What gates see, and the mixture of experts that they make."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from keras import layers

from keras_mtl.architectures.arguments import check_one_shape
from keras_mtl.architectures.arguments import is_vector
from keras_mtl.architectures.gated_mixture import GatedMixture

Tensor = Any


class Gates:
    """Makes the gates of an architecture.

    Args:
        gate_input: Function from an input of experts to what the gates see of
            it, or `None` if they see it as it is.

    Raises:
        ValueError: If it is no function.
    """

    def __init__(self, gate_input: Callable | None = None):
        if gate_input is not None and not callable(gate_input):
            raise ValueError(
                "Expected `gate_input` to be a function of the experts' input "
                f"or `None`. Received: gate_input={gate_input!r}"
            )
        self._gate_input = gate_input
        # Pairs of input and vector: gates of the same input share the vector.
        self._vectors: list[tuple[Any, Tensor]] = []

    def vector(self, x: Any) -> Tensor:
        """Returns what gates see of an input, shape `(batch, units)`.

        Raises:
            ValueError: If it is of another shape.
        """
        for known, vector in self._vectors:
            if known is x:
                return vector
        vector = x if self._gate_input is None else self._gate_input(x)
        if not is_vector(vector):
            what = "x" if self._gate_input is None else "gate_input(x)"
            raise ValueError(
                "Expected gates to see a vector of numbers for each example, "
                f"of shape (batch, units). Received: {what}={vector}. Type, "
                "for example, "
                "`gate_input=keras.layers.GlobalAveragePooling1D()`, a "
                "function of `x` that makes such a vector."
            )
        self._vectors.append((x, vector))
        return vector

    def softmax(self, x: Any, count: int, name: str) -> Tensor:
        """Makes a linear layer with a softmax, shape `(batch, count)`."""
        gate = layers.Dense(count, "softmax", use_bias=False, name=name)
        return gate(self.vector(x))

    def mixture(self, x: Any, experts: Mapping[str, Tensor], name: str) -> Any:
        """Mixes experts by a softmax gate of its own, which sees `x`.

        Args:
            x: The input of the experts.
            experts: Dict of name to symbolic tensor.
            name: Name of the mixture, with which that of the gate begins.
        """
        gates = self.softmax(x, len(experts), f"{name}_gate")
        return mixed(experts, gates, name)


def mixed(experts: Mapping[str, Tensor], gates: Tensor, name: str) -> Tensor:
    """Mixes experts by given gates."""
    check_one_shape("mixed by gates", experts)
    return GatedMixture(name=name)(list(experts.values()), gates)
