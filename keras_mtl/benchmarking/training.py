"""One run of a benchmark: a model of its own, trained and tested."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras

from keras_mtl import weightings as weightings_module
from keras_mtl.backend.checks import as_list
from keras_mtl.benchmarking.arguments import CompileArgs
from keras_mtl.benchmarking.seeded_order import order_by_seed
from keras_mtl.benchmarking.settings import describe
from keras_mtl.benchmarking.settings import describe_model
from keras_mtl.benchmarking.step_timer import StepTimer
from keras_mtl.model import MultiTaskModel
from keras_mtl.training.epoch_warnings import named_run


class Training:
    """What all runs have in common.

    Args:
        build: As of `benchmark`.
        compile_args: As of `benchmark`.
        fitting: Dict of the arguments of `fit`, without the callbacks.
        testing: Dict of the arguments of `evaluate`.
        callbacks: As of `benchmark`.
    """

    def __init__(
        self,
        build: Callable[[], MultiTaskModel],
        compile_args: CompileArgs,
        fitting: dict[str, Any],
        testing: dict[str, Any],
        callbacks: Any,
    ) -> None:
        self._build = build
        self._compile_args = compile_args
        self._fitting = fitting
        self._testing = testing
        self._callbacks = callbacks
        self._ordered: tuple[int | None, Mapping[str, Any]] = None, fitting

    def prototype(self, weightings: Iterable[Any]) -> MultiTaskModel:
        """Returns a model that was compiled with each weighting, for checks."""
        model = self._new_model()
        for weighting in weightings:
            self._compile(model, weighting)
        return model

    def _new_model(self) -> MultiTaskModel:
        model = self._build()
        if not isinstance(model, MultiTaskModel) or model.compiled:
            raise ValueError(
                "Expected `build` to return a new, uncompiled MultiTaskModel "
                f"at each call. Received: {model} of type {type(model)}"
                f"{', compiled' if getattr(model, 'compiled', False) else ''}"
            )
        return model

    def _compile(self, model: MultiTaskModel, weighting: Any) -> None:
        model.compile(**_resolve(self._compile_args), weighting=anew(weighting))

    def settings(self, model: MultiTaskModel) -> dict[str, Any]:
        """Describes what a run depends on, beside seed and weighting.

        The entries are those of files that exist: another name would make an
        interrupted benchmark begin anew.
        """
        return {
            "backend": keras.backend.backend(),
            "model": describe_model(model),
            "compile": describe(_resolve(self._compile_args)),
            "fit": describe(self._fitting | {"verbose": None}),
            "evaluate": describe(self._testing),
            "callbacks": describe(self._callbacks),
        }

    def run(
        self,
        seed: int,
        weighting: Any,
        callback: keras.callbacks.Callback,
        name: str,
    ) -> tuple[MultiTaskModel, dict[str, Any]]:
        """Trains and tests a new model.

        Args:
            seed: Integer.
            weighting: What `keras_mtl.weightings.get` takes.
            callback: Callback of `fit` that comes before the user's.
            name: Name of the run, for warnings.

        Returns:
            The model, and what is recorded of the run.
        """
        keras.utils.set_random_seed(seed)
        model = self._new_model()
        self._compile(model, weighting)
        callbacks = self._callbacks
        callbacks = as_list(callbacks() if callable(callbacks) else callbacks)
        timer = StepTimer()
        with named_run(name):
            history = model.fit(
                **{"verbose": 0, **self._arguments_of(seed)},
                callbacks=[timer, callback, *callbacks],
            ).history
        metrics = model.evaluate(**self._testing, verbose=0, return_dict=True)
        return model, {
            "epochs": len(history["loss"]),
            "seconds": timer.seconds,
            "seconds_per_step": timer.seconds_per_step,
            "metrics": {key: float(value) for key, value in metrics.items()},
            "history": {
                key: [float(value) for value in values]
                for key, values in history.items()
            },
        }

    def _arguments_of(self, seed: int) -> Mapping[str, Any]:
        """Returns the arguments of `fit`, kept for the other runs of a seed."""
        if self._ordered[0] != seed:
            # The arrays of the last seed leave the memory before there are new
            # ones.
            self._ordered = None, self._fitting
            self._ordered = seed, order_by_seed(self._fitting, seed)
        return self._ordered[1]


def _resolve(compile_args: CompileArgs) -> dict[str, Any]:
    """Returns the arguments of `compile` with an optimizer of their own."""
    arguments = dict(compile_args() if callable(compile_args) else compile_args)
    if "weighting" in arguments:
        raise ValueError(
            "Expected `compile_args` to have no weighting, since `weightings` "
            f"has. Received: compile_args={arguments}"
        )
    optimizer = arguments.get("optimizer")
    if isinstance(optimizer, keras.Optimizer):
        arguments["optimizer"] = anew(optimizer)
    elif callable(optimizer):
        arguments["optimizer"] = optimizer()
    return arguments


def anew(value: Any) -> Any:
    """Copies what has a state, without the state."""
    if isinstance(value, (list, tuple)):
        return [anew(item) for item in value]
    if isinstance(value, (weightings_module.Weighting, keras.Optimizer)):
        return type(value).from_config(value.get_config())
    return value
