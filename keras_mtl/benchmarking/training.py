"""One run of a benchmark: a model of its own, trained and tested."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.backend.checks import as_list
from keras_mtl.benchmarking.seeded_order import order_by_seed
from keras_mtl.benchmarking.selection import DELTA_M
from keras_mtl.benchmarking.selection import BestEpoch
from keras_mtl.benchmarking.selection import has_validation
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.setting import anew
from keras_mtl.benchmarking.setting import call
from keras_mtl.benchmarking.settings import describe
from keras_mtl.benchmarking.settings import describe_model
from keras_mtl.benchmarking.step_timer import StepTimer
from keras_mtl.callbacks import DeltaM
from keras_mtl.callbacks import TaskScores
from keras_mtl.callbacks.task_scores import keys_by_task
from keras_mtl.model import MultiTaskModel
from keras_mtl.training.epoch_warnings import named_run
from keras_mtl.training.fit_arguments import PAIRED
from keras_mtl.weightings import get
from keras_mtl.weightings.pivrg import with_scores


def _is_of_all(baseline: Mapping[str, float], tasks: Sequence[str]) -> bool:
    """Whether a baseline has results of each task, and no others."""
    try:
        keys_by_task(baseline, tasks)
    except ValueError:
        return False
    return True


class Training:
    """What all runs have in common.

    Args:
        build: As of `benchmark`.
        compile_args: As of `benchmark`.
        fitting: Dict of the arguments of `fit`, without the callbacks.
        testing: Dict of the arguments of `evaluate`, or `None`: the results
            are those of the validation in the best epoch.
        callbacks: As of `benchmark`.
    """

    def __init__(
        self,
        build: Callable[[], MultiTaskModel],
        compile_args: CompileArgs,
        fitting: dict[str, Any],
        testing: dict[str, Any] | None,
        callbacks: Any,
    ) -> None:
        self._build = build
        self._compile_args = compile_args
        self._fitting = fitting
        self._testing = testing
        self._callbacks = callbacks
        self._baseline: Mapping[str, float] | None = None
        self._higher: Any = None
        self._has_all_tasks = False
        self.epochs = fitting["epochs"]
        self._ordered: tuple[int | None, Mapping[str, Any]] = None, fitting

    def prototype(self, settings: Iterable[Setting]) -> MultiTaskModel:
        """Returns a model that was compiled with each setting, for checks."""
        model = self._new_model()
        self.check(model, settings)
        return model

    def check(self, model: MultiTaskModel, settings: Iterable[Setting]) -> None:
        """Raises an error if the model cannot be compiled with a setting."""
        for setting in settings:
            self._compile(model, setting)

    def compare_with(
        self,
        baseline: Mapping[str, float] | None,
        higher_is_better: Any,
        tasks: Sequence[str],
    ) -> None:
        """Lets the runs that need it compare themselves on validation data.

        They log Δm, or tell their weighting how far each task is behind.

        Args:
            baseline: Dict of key to value, or `None`.
            higher_is_better: As of `benchmark`.
            tasks: Names of the tasks, of which scores need one key each.
        """
        self._baseline = baseline
        self._higher = higher_is_better
        self._has_all_tasks = baseline is not None and _is_of_all(
            baseline, tasks
        )

    def _new_model(self) -> MultiTaskModel:
        model = self._build()
        if not isinstance(model, MultiTaskModel) or model.compiled:
            raise ValueError(
                "Expected `build` to return a new, uncompiled MultiTaskModel "
                f"at each call. Received: {model} of type {type(model)}"
                f"{', compiled' if getattr(model, 'compiled', False) else ''}"
            )
        return model

    def _compile(self, model: MultiTaskModel, setting: Setting) -> None:
        model.compile(
            **setting.resolve(self._compile_args, self.epochs),
            weighting=anew(setting.weighting),
        )

    def settings(
        self, model: MultiTaskModel, settings: Mapping[str, Setting]
    ) -> dict[str, dict[str, Any]]:
        """Describes what runs depend on, beside seed and weighting, by label.

        The entries are those of files that exist: another name would make an
        interrupted benchmark begin anew.
        """
        common = {
            "backend": keras.backend.backend(),
            "model": describe_model(model),
            "fit": describe(self._fitting | {"verbose": None}),
            "evaluate": describe(self._testing),
            "callbacks": describe(self._callbacks),
        }
        return {
            label: {**common, **self._own_settings(setting, common)}
            for label, setting in settings.items()
        }

    def _own_settings(
        self, setting: Setting, common: Mapping[str, Any]
    ) -> dict[str, Any]:
        compile_args = setting.resolve(self._compile_args, self.epochs)
        own: dict[str, Any] = {"compile": describe(compile_args)}
        if setting.own():
            own["setting"] = describe(setting.own())
            own["fit"] = {**common["fit"], "epochs": self._epochs_of(setting)}
        if setting.select is not None:
            own["select"] = describe(setting.select)
            if setting.select[0] == DELTA_M:
                own["delta_m"] = describe(self._baseline)
        if self._gives_scores(setting):
            own["task_scores"] = describe(self._baseline)
        return own

    def _epochs_of(self, setting: Setting) -> int:
        return setting.epochs or self.epochs

    def run(
        self,
        seed: int,
        setting: Setting,
        callback: keras.callbacks.Callback,
        name: str,
    ) -> tuple[MultiTaskModel, dict[str, Any]]:
        """Trains and tests a new model.

        Args:
            seed: Integer.
            setting: `Setting`.
            callback: Callback of `fit` that comes before the user's.
            name: Name of the run, for warnings.

        Returns:
            The model, and what is recorded of the run.
        """
        keras.utils.set_random_seed(seed)
        model = self._new_model()
        self._compile(model, setting)
        epochs = self._epochs_of(setting)
        timer = StepTimer()
        callbacks = [timer, callback, *self._callbacks_of(setting)]
        best = None
        if setting.select is not None:
            # It comes last, to see what the others have logged.
            best = BestEpoch(*setting.select)
            callbacks.append(best)
        fitting = _fitting_of(model, self._arguments_of(seed))
        with named_run(name):
            history = model.fit(
                **{"verbose": 0, **fitting, "epochs": epochs},
                callbacks=callbacks,
            ).history
        record = {
            "epochs": len(history["loss"]),
            "seconds": timer.seconds,
            "seconds_per_step": timer.seconds_per_step,
            "metrics": self._test(model, best),
            "history": {
                key: [float(value) for value in values]
                for key, values in history.items()
            },
        }
        if best is not None:
            record |= {"best_epoch": best.epoch, "validation": best.results}
        return model, record

    def epoch(
        self, setting: Setting
    ) -> Callable[[keras.callbacks.Callback], Any]:
        """Returns a function of a callback that trains a model for an epoch.

        The model is a new one, and goes on where the last call left it.
        """
        keras.utils.set_random_seed(0)
        model = self._new_model()
        self._compile(model, setting)
        fitting = _fitting_of(model, self._fitting)
        return lambda callback: model.fit(
            **{"verbose": 0, **fitting, "epochs": 1},
            callbacks=[callback],
        )

    def _test(
        self, model: MultiTaskModel, best: BestEpoch | None
    ) -> dict[str, float]:
        """Returns the results; without test data, those of the best epoch."""
        if self._testing is None:
            return best.results
        metrics = model.evaluate(**self._testing, verbose=0, return_dict=True)
        return {key: float(value) for key, value in metrics.items()}

    def _callbacks_of(self, setting: Setting) -> list[keras.callbacks.Callback]:
        """Returns the user's callbacks, after those that a run needs."""
        callbacks = self._callbacks
        if callable(callbacks):
            callbacks = call(callbacks, {"epochs": self._epochs_of(setting)})
        callbacks = as_list(callbacks)

        def has(kind: type) -> bool:
            return any(isinstance(x, kind) for x in callbacks)

        needed = []
        if self._gives_scores(setting) and not has(TaskScores):
            needed.append(TaskScores(self._baseline, self._higher))
        if (setting.select or [None])[0] == DELTA_M and not has(DeltaM):
            needed.append(self._delta_m())
        return [*needed, *callbacks]

    def _gives_scores(self, setting: Setting) -> bool:
        """Whether a weighting follows scores, and there are such."""
        if not (self._has_all_tasks and has_validation(self._fitting)):
            return False
        return bool(with_scores(get(anew(setting.weighting))))

    def _delta_m(self) -> DeltaM:
        if self._baseline is None:
            raise ValueError(
                "Expected a `baseline` of values, such as that of "
                "`keras_mtl.benchmarking.single_task`, or a callback "
                f'`DeltaM`, for select="{DELTA_M}". Received: none of them'
            )
        return DeltaM(self._baseline, self._higher)

    def _arguments_of(self, seed: int) -> Mapping[str, Any]:
        """Returns the arguments of `fit`, kept for the other runs of a seed."""
        if self._ordered[0] != seed:
            # The arrays of the last seed leave the memory before there are new
            # ones.
            self._ordered = None, self._fitting
            self._ordered = seed, order_by_seed(self._fitting, seed)
        return self._ordered[1]


def _fitting_of(model, arguments):
    """Returns the arguments of `fit` that are those of the model's method."""
    if model.weighting.needs_validation:
        return arguments
    return {k: v for k, v in arguments.items() if k != PAIRED}
