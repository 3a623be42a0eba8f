"""Tells a weighting how far each task is behind a baseline."""

import math
import warnings
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend import checks
from keras_mtl.callbacks.against_baseline import AgainstBaseline
from keras_mtl.weightings.pivrg import with_scores


class TaskScores(AgainstBaseline):
    """Tells `pivrg`, after each epoch, how far each task is behind.

    The score of a task is the relative change of its results for the worse,
    against those of a model of this task alone, in percent; where a task has
    several results, it is the mean of their changes. The next epoch trains with
    these scores. In an epoch without results, or with one that is not finite,
    the scores stay as they are.

    A callback that saves the training must come after it in the list of
    callbacks.

    Example:

    >>> inputs = keras.Input((2,))
    >>> features = keras.layers.Dense(2)(inputs)
    >>> outputs = {t: keras.layers.Dense(1)(features) for t in ("seg", "depth")}
    >>> model = keras_mtl.MultiTaskModel(inputs, outputs)
    >>> model.compile("sgd", "mse", weighting="pivrg", run_eagerly=True)
    >>> x, y = np.ones((4, 2)), {"seg": np.zeros(4), "depth": np.ones(4)}
    >>> alone = {"seg_loss": 0.5, "depth_loss": 0.2}
    >>> history = model.fit(
    ...     x, y, validation_data=(x, y), epochs=2, verbose=0,
    ...     callbacks=[keras_mtl.callbacks.TaskScores(alone)])
    >>> model.weighting.scores.shape
    (2,)

    Args:
        baseline: Dict of the results of models of one task each, as
            `evaluate(return_dict=True)` returns them, without `val_`. Each key
            begins with the name of its task, as `seg_loss`, and each task has
            one or more.
        higher_is_better: List of the keys for which a higher value is better,
            or a dict of key to bool. By default it is known for the losses and
            for Keras' own metrics.
        validation: Whether the results are those on the validation data, else
            those of the training.

    Raises:
        ValueError: If a value of `baseline` is zero or not finite, or, when
            training begins, if the weighting follows no scores, a key is no
            result of a task, a task has none, or it is not known whether a
            higher value is better.

    Reference:

    - Qin et al., Revisiting Fairness in Multitask Learning, CVPR 2025.
    """

    def __init__(
        self,
        baseline: Mapping[str, float],
        higher_is_better: Sequence[str] | Mapping[str, bool] | None = None,
        validation: bool = True,
    ) -> None:
        super().__init__(baseline, higher_is_better)
        self.validation = checks.boolean("validation", validation)
        self._has_scored = False
        self._keys_of: dict[str, list[str]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._has_scored = False
        self._keys_of = keys_by_task(self.baseline, list(self.model.tasks))
        followers = with_scores(self.model.weighting)
        if not followers:
            raise ValueError(
                "Expected a weighting that follows scores, such as "
                f'weighting="pivrg". Received: {self.model.weighting}'
            )
        for weighting in followers:
            weighting.expects_scores = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        results = self._results(logs, "val_" if self.validation else "")
        if results is None:
            return
        keys = self._keys_of.values()
        scores = [self._change_of(results, of_task) for of_task in keys]
        if not all(map(math.isfinite, scores)):
            return
        self._has_scored = True
        for weighting in with_scores(self.model.weighting):
            weighting.set_scores(scores)

    def on_train_end(self, logs: Any = None) -> None:
        if not self._has_scored:
            missing = (
                "validation results. Type `fit(..., validation_data=(x, y))`, "
                "or `TaskScores(..., validation=False)` for those of the "
                "training."
                if self.validation
                else "finite results."
            )
            warnings.warn(
                f"`TaskScores` has set no scores: there were no {missing}",
                stacklevel=2,
            )


def keys_by_task(
    keys: Iterable[str], tasks: Sequence[str]
) -> dict[str, list[str]]:
    """Returns the results of each task, in the order of the tasks.

    Args:
        keys: The keys of a baseline.
        tasks: Names of the tasks.

    Raises:
        ValueError: If a key is no result of a task, or a task has none.
    """
    by_task: dict[str, list[str]] = {task: [] for task in tasks}
    for key in keys:
        # The name of a task may be the beginning of that of another one.
        owners = [task for task in tasks if key.startswith(f"{task}_")]
        if not owners:
            raise ValueError(
                "Expected each key of `baseline` to be the result of a task, "
                f'such as "{tasks[0]}_loss". Received: {key!r}'
            )
        by_task[max(owners, key=len)].append(key)
    without = [task for task, of_task in by_task.items() if not of_task]
    if without:
        raise ValueError(
            "Expected `baseline` to have a result of each task. Received: "
            f"none of the tasks {without} in baseline={keys}"
        )
    return by_task
