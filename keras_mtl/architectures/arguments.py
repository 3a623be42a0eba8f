"""Checks of what the architectures are made of."""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras

Tensor = Any


def task_names(tasks: Iterable[str]) -> list[str]:
    """Returns the names of the tasks as a list.

    Raises:
        ValueError: If they are no different strings, or none.
    """
    no_names = isinstance(tasks, (str, keras.KerasTensor))
    is_list = isinstance(tasks, Iterable) and not no_names
    names = list(tasks) if is_list else []
    are_names = all(isinstance(name, str) and name for name in names)
    if not names or not are_names or len({*names}) < len(names):
        raise ValueError(
            'Expected `tasks` to be different names, such as ["a", "b"]. '
            f"Received: tasks={tasks!r}"
        )
    return names


def prefixed(prefix: str, name: str) -> str:
    """Returns the name of a layer; the prefix may be empty.

    The name of a task may have "/" and ".", which that of a layer may not: in
    Keras the first, and on PyTorch the second.
    """
    joined = f"{prefix}_{name}" if prefix else name
    return joined.replace("/", "_").replace(".", "_")


def check_tensors(name: str, values: Any) -> None:
    """Raises an error unless `values` are tensors of a Functional graph."""
    leaves = keras.tree.flatten(values)
    if not leaves or not all(isinstance(x, keras.KerasTensor) for x in leaves):
        raise ValueError(
            f"Expected `{name}` to be a tensor of a Functional graph, which "
            "`keras.Input(shape)` or a layer called on one returns. "
            f"Received: {name}={values!r}"
        )


def check_one_shape(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises an error unless all tensors have the same shape.

    Args:
        what: What is done to them, for the error.
        tensors: Dict of name to symbolic tensor.
    """
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    if len({*shapes.values()}) > 1:
        raise ValueError(
            f"Expected tensors of one shape, which are {what}. "
            f"Received: {shapes}. Give the last layers of the experts the same "
            "number of units."
        )


def is_vector(x: Any) -> bool:
    """Whether a symbolic tensor has one vector of numbers per example."""
    return (
        isinstance(x, keras.KerasTensor)
        and len(x.shape) == 2
        and x.shape[1] is not None
        and "float" in x.dtype
    )


def check_task_shape(shape: tuple) -> None:
    """Raises an error unless each example has one index of its task."""
    if len(shape) != 2 or shape[1] not in (1, None):
        raise ValueError(
            "Expected `task` to have the index of each example's task, of "
            "shape (batch, 1), as "
            '`keras.Input((1,), dtype="int32", name="task")`. Received: '
            f"task of shape {tuple(shape)}"
        )
