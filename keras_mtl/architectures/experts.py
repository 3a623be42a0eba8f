"""The layers that the user's function makes, each of them a new one."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_mtl.architectures.arguments import check_tensors
from keras_mtl.backend.keras_internals import Function

Tensor = Any


class Experts:
    """Makes experts by the user's function, and calls them.

    Args:
        make: Function of a name that returns a new layer, or another function
            of a tensor; a list of them, one for each level.
        levels: Number of levels, `None` if there is one.

    Raises:
        ValueError: If it is no function, or a list of another length.
    """

    def __init__(self, make: Any, levels: int | None = None):
        is_list = levels is not None and isinstance(make, (list, tuple))
        self._makers = list(make) if is_list else [make] * (levels or 1)
        if len(self._makers) != (levels or 1):
            raise ValueError(
                "Expected `expert` to be one function, or a list with one for "
                f"each of {levels} levels. Received: a list of "
                f"{len(self._makers)}"
            )
        for maker in self._makers:
            _check_is_maker(maker)
        # They are kept, so that no two have the same identity.
        self._made: dict[str, tuple[Any, set[int]]] = {}

    def __call__(self, name: str, x: Tensor, level: int = 0) -> Tensor:
        """Makes the expert of that name, and calls it.

        Args:
            name: Its name.
            x: Symbolic tensor, or a nested structure of them.
            level: The level that it is on, from 0.

        Returns:
            Symbolic tensor.

        Raises:
            ValueError: If it or its name was there before, or it returns no
                tensor.
        """
        return self.on_each(name, {None: x}, level)[None]

    def on_each(self, name: str, inputs: Mapping, level: int = 0) -> dict:
        """Makes one expert, and calls it on the input of each task.

        Args:
            name: Its name.
            inputs: Dict of task to symbolic tensor. Tasks with the same tensor
                have one call.
            level: The level that it is on, from 0.

        Returns:
            Dict of task to symbolic tensor.
        """
        if name in self._made:
            raise ValueError(
                "Expected `tasks` to have names that no other part of the "
                f"architecture has. Received: a task whose expert is {name!r}, "
                "as another expert is. Give the task another name."
            )
        expert = self._makers[level](name)
        if not callable(expert):
            raise ValueError(
                f"Expected `expert({name!r})` to return a layer. Received: "
                f"{expert!r}. {ADVICE}"
            )
        different = {id(x): x for x in inputs.values()}
        outputs = {key: expert(x) for key, x in different.items()}
        for y in outputs.values():
            if not isinstance(y, keras.KerasTensor):
                raise ValueError(
                    f"Expected the layer of `expert({name!r})` to return one "
                    f"tensor. Received: {y!r}"
                )
        own = _weights_of(expert)
        for key, y in outputs.items():
            own |= _weights_between(different[key], y)
        self._check_is_new(name, expert, own)
        self._made[name] = expert, own
        return {task: outputs[id(x)] for task, x in inputs.items()}

    def several(self, name: str, x: Tensor, count: int, level: int = 0) -> dict:
        """Makes and calls `count` experts.

        Returns:
            Dict of name to symbolic tensor; the names end by a number.
        """
        names = [f"{name}_{i}" for i in range(count)]
        return {name: self(name, x, level) for name in names}

    def _check_is_new(self, name, expert, own):
        for other, (known, weights) in self._made.items():
            if known is expert or own & weights:
                raise ValueError(
                    "Expected `expert` to make a new layer each time. "
                    f"Received: {expert!r} for {name!r}, which has layers of "
                    f"the one for {other!r}. Make all layers inside of the "
                    f"function. {ADVICE}"
                )


ADVICE = (
    "Type `expert=lambda name: keras.layers.Dense(64, name=name)`, or make a "
    "`keras.Sequential` there."
)


def _check_is_maker(make):
    if isinstance(make, keras.Layer) or not callable(make):
        raise ValueError(
            "Expected `expert` to be a function of a name that makes a new "
            f"layer. Received: expert={make!r}. {ADVICE}"
        )


def _weights_of(operation):
    if not isinstance(operation, keras.Layer):
        return set()
    return {id(v) for v in operation.weights}


def _weights_between(x, y):
    """Returns the ids of the weights of the layers from `x` to `y`."""
    try:
        operations = Function(keras.tree.flatten(x), y).operations
    except ValueError:  # A function of other tensors, too.
        return set()
    return set().union(*map(_weights_of, operations))


def inputs_and_experts(
    x: Any, expert: Any, levels: int | None = None
) -> Experts:
    """Checks the input of an architecture, and returns its `Experts`."""
    check_tensors("x", x)
    return Experts(expert, levels)
