import math
import warnings

import keras
import numpy as np


class EpochHooks(keras.callbacks.Callback):
    """Calls the weighting's hooks of epochs, and warns of losses that are NaN.

    Args:
        model: `MultiTaskModel`.
        data: What `fit` was given; a method `set_epoch` that it has is called
            with the number of each epoch.
        steps: `SingleTaskSteps` where a `TaskSampler` chooses the tasks.
    """

    def __init__(self, model, data, steps=None):
        super().__init__()
        # A callback list that the user made sets only the model of its own
        # callbacks.
        self.set_model(model)
        self._set_epoch = getattr(data, "set_epoch", None)
        self._steps = steps
        self._weighting = model.weighting
        self._tasks = model.tasks

    def put_first(self, callbacks):
        """Returns callbacks that begin with these hooks.

        They come first, since what a later callback saves must be up to date.

        Args:
            callbacks: As of `fit`: `None`, a callback, a list of them, or a
                `keras.callbacks.CallbackList`, which is changed in place.
        """
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            if not isinstance(callbacks, (list, tuple)):
                callbacks = [] if callbacks is None else [callbacks]
            return [self, *callbacks]
        others = [
            callback
            for callback in callbacks.callbacks
            if not isinstance(callback, EpochHooks)
        ]
        callbacks.callbacks[:] = [self, *others]
        return callbacks

    def on_train_begin(self, logs=None):
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        # Only here is it known whether the training goes on: a callback may
        # have restored it.
        self.model._saved_state.begin_epoch(self._begins and epoch > 0)
        self._begins = False
        if self._set_epoch is not None:
            self._set_epoch(epoch)
        self._weighting.on_epoch_begin()
        if self._steps is not None:
            self._steps.begin_epoch()

    def on_epoch_end(self, epoch, logs=None):
        self._weighting.on_epoch_end()
        tasks = self._tasks
        if self._steps is not None:
            tasks = self._steps.drawn_tasks()
            logs.update(self._steps.validate(epoch))
        losses = {task: logs.get(f"{task}_loss", 0.0) for task in tasks}
        # `ReduceLROnPlateau` adds the learning rate to the logs in this way.
        logs["task_variance"] = float(np.var(list(losses.values())))
        _warn("was not finite", losses, lambda x: not math.isfinite(x))
        if self._weighting.needs_positive_losses:
            what = (
                "was negative, which the weighting "
                f"{type(self._weighting).__name__} gives no weight"
            )
            _warn(what, losses, lambda x: x < 0)


def _warn(what, losses, is_bad):
    bad = {task: float(x) for task, x in losses.items() if is_bad(float(x))}
    if bad:
        warnings.warn(
            f"The mean loss of the epoch {what}, for the tasks: {bad}",
            stacklevel=3,
        )
