"""The base class of the methods in which one task comes first."""

from collections.abc import Sequence
from typing import Any

from keras_mtl.weightings.gradient_weighting import GradientWeighting


class MainTaskWeighting(GradientWeighting):
    """Base class of the methods in which one task comes first.

    Args:
        main: Name of the main task, a key of `loss`, or `None`: the first one.
        **kwargs: See `GradientWeighting`.

    Raises:
        ValueError: If the model has no such task.
    """

    implied_arguments = {**GradientWeighting.implied_arguments, "main": None}

    def __init__(self, main: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if main is not None and not isinstance(main, str):
            raise ValueError(
                "Expected `main` to be the name of a task or None. "
                f"Received: main={main!r} of type {type(main)}"
            )
        self.main = main
        self._main_index = 0 if main is None else None

    def name_tasks(self, tasks: Sequence[str]) -> None:
        if self.main is None:
            return
        if self.main not in tasks:
            raise ValueError(
                f"Expected `main` to be one of the tasks {list(tasks)}. "
                f"Received: main={self.main!r}"
            )
        self._main_index = list(tasks).index(self.main)

    @property
    def main_index(self) -> int:
        """The place of the main task."""
        # Keras builds the weighting of a file before the model tells the names.
        if self._main_index is None:
            raise ValueError(
                "Expected the names of the tasks before the first call, since "
                f"`main` is one. Received: main={self.main!r}. A model tells "
                "them; without one, call `weighting.name_tasks([...])` first."
            )
        return self._main_index
