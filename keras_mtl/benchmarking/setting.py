import dataclasses
import inspect
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras

from keras_mtl import weightings as weightings_module
from keras_mtl.backend import checks

# Arguments of `compile`, or a function that returns them.
CompileArgs = Mapping[str, Any] | Callable[..., Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A weighting with what else its runs have of their own in a benchmark.

    `keras_mtl.tune` returns such settings. What is `None` is as for the other
    weightings of the benchmark.

    Example:

    >>> setting = keras_mtl.benchmarking.Setting("cagrad", learning_rate=3e-4)
    >>> setting.learning_rate
    0.0003

    Args:
        weighting: What `keras_mtl.weightings.get` takes.
        learning_rate: That of the optimizer of `compile_args`. If that is a
            function with an argument `learning_rate`, it is called with it.
        epochs: Number of epochs.
        compile_args: Dict of arguments of `compile` that replace the common
            ones.
        select: As of `benchmark`.
        search_seed: The seed of the search that found it, which `benchmark`
            refuses.

    Raises:
        ValueError: If an argument is not as described.
    """

    weighting: Any
    learning_rate: float | None = None
    epochs: int | None = None
    compile_args: Mapping[str, Any] | None = None
    select: str | tuple[str, str] | None = None
    search_seed: int | None = None

    def __post_init__(self) -> None:
        checks.positive("learning_rate", self.learning_rate, optional=True)
        checks.positive_integer("epochs", self.epochs, optional=True)
        if isinstance(self.weighting, Setting):
            raise ValueError(
                "Expected `weighting` to be what `keras_mtl.weightings.get` "
                f"takes. Received: {self.weighting}"
            )

    @classmethod
    def of(cls, value: Any) -> "Setting":
        """Returns a setting as it is, and one of a weighting alone."""
        return value if isinstance(value, cls) else cls(value)

    def own(self) -> dict[str, Any]:
        """Returns in what its training differs from that of other settings."""
        names = ("learning_rate", "epochs", "compile_args")
        values = {name: getattr(self, name) for name in names}
        return {name: x for name, x in values.items() if x is not None}

    def resolve(self, compile_args: CompileArgs, epochs: int) -> dict[str, Any]:
        """Returns the arguments of `compile`, with an optimizer of their own.

        Args:
            compile_args: As of `benchmark`.
            epochs: Those of `benchmark`.
        """
        known = {"learning_rate": self.learning_rate}
        known["epochs"] = self.epochs or epochs
        arguments = dict(
            call(compile_args, known)
            if callable(compile_args)
            else compile_args
        )
        arguments |= self.compile_args or {}
        if "weighting" in arguments:
            raise ValueError(
                "Expected `compile_args` to have no weighting, since "
                f"`weightings` has. Received: compile_args={arguments}"
            )
        optimizer = arguments.get("optimizer")
        if "optimizer" in (self.compile_args or {}):
            compile_args = self.compile_args
        if isinstance(optimizer, keras.Optimizer):
            arguments["optimizer"] = anew(optimizer)
        elif callable(optimizer):
            arguments["optimizer"] = call(optimizer, known)
        # A function that takes a value follows the setting by itself.
        changes = [
            name
            for name in ("learning_rate", "epochs")
            if getattr(self, name) is not None
            and not takes(compile_args, name)
            and not takes(optimizer, name)
        ]
        return _with_rate(arguments, changes, self.learning_rate)


def _with_rate(
    arguments: dict[str, Any], changes: list[str], rate: float | None
) -> dict[str, Any]:
    """Gives the optimizer another learning rate.

    Args:
        arguments: Those of `compile`.
        changes: What the setting changes, of the learning rate and the epochs.
        rate: The learning rate.
    """
    if not changes:
        return arguments
    optimizer = keras.optimizers.get(arguments.get("optimizer", "rmsprop"))
    # With mixed precision, it may be wrapped.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = inner.get_config().get("learning_rate")
    if isinstance(schedule, dict):
        raise ValueError(
            "Expected a function as `compile_args`, since the learning rate "
            f"follows a schedule, and its {' and '.join(changes)} may change. "
            "Type compile_args=lambda learning_rate, epochs: {...}, with a "
            f"schedule that is made of them. Received: {schedule}"
        )
    if "learning_rate" in changes:
        optimizer.learning_rate = rate
        arguments = {**arguments, "optimizer": optimizer}
    return arguments


def takes(function: Any, name: str) -> bool:
    """Whether a function has an argument of that name, and is no class."""
    if not callable(function) or inspect.isclass(function):
        return False
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def call(function: Callable, known: Mapping[str, Any]) -> Any:
    """Calls a function with those of the known values that it has names for."""
    arguments = {
        name: value
        for name, value in known.items()
        if value is not None and takes(function, name)
    }
    try:
        inspect.signature(function).bind(**arguments)
    except ValueError:
        # Of some callables the arguments are not known.
        pass
    except TypeError as error:
        raise ValueError(
            "Expected a function whose arguments are `learning_rate`, `epochs` "
            "or none; without a learning rate of a setting, its `learning_rate`"
            f" needs a default. Received: {function}, {error}"
        ) from error
    return function(**arguments)


def anew(value: Any) -> Any:
    """Copies what has a state, without the state."""
    if isinstance(value, (list, tuple)):
        return [anew(item) for item in value]
    if isinstance(value, (weightings_module.Weighting, keras.Optimizer)):
        return type(value).from_config(value.get_config())
    return value
