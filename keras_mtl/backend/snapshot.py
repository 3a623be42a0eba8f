"""The values that variables had, to which they can be taken back."""

from collections.abc import Sequence
from typing import Any

from keras import ops


class Snapshot:
    """The values that variables had when it was made.

    Args:
        variables: List of variables, of Keras or of TensorFlow.
        values: Their values, by default copies of the present ones.
    """

    def __init__(
        self, variables: Sequence[Any], values: Sequence[Any] | None = None
    ):
        self._variables = list(variables)
        if values is None:
            values = values_of(self._variables)
        self._values = list(values)

    def restore(self, where: Any = None) -> None:
        """Assigns the values to the variables.

        Args:
            where: Boolean tensor; where it is false, variables of its shape, or
                all if it is a scalar, keep what they have.
        """
        for variable, old in zip(self._variables, self._values):
            if where is not None:
                new = ops.convert_to_tensor(variable)
                old = ops.where(where, old, new)
            variable.assign(old)


def values_of(variables: Sequence[Any]) -> list[Any]:
    """Returns copies of the present values of variables."""
    return [ops.copy(v) for v in variables]
