import keras
import numpy as np

from keras_mtl.training.epoch_warnings import EpochWarnings


class EpochHooks(keras.callbacks.Callback):
    """Calls the weighting's hooks of epochs, and warns of what went wrong.

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
        self.set_data(data)
        self._steps = steps

    def set_data(self, data):
        """Sets what is told of the number of each epoch."""
        self._set_epoch = getattr(data, "set_epoch", None)

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
        self._warnings = EpochWarnings(self.model.weighting)

    def on_epoch_begin(self, epoch, logs=None):
        # Only here is it known whether the training goes on: a callback may
        # have restored it.
        self.model._saved_state.begin_epoch(self._begins and epoch > 0)
        self._begins = False
        if self._set_epoch is not None:
            self._set_epoch(epoch)
        self.model.weighting.on_epoch_begin()
        if self._steps is not None:
            self._steps.begin_epoch()

    def on_epoch_end(self, epoch, logs=None):
        self.model.weighting.on_epoch_end()
        tasks = self.model.tasks
        if self._steps is not None:
            tasks = self._steps.drawn_tasks()
            logs.update(self._steps.validate(epoch))
        losses = {task: logs.get(f"{task}_loss", 0.0) for task in tasks}
        # `ReduceLROnPlateau` adds the learning rate to the logs in this way.
        logs["task_variance"] = float(np.var(list(losses.values())))
        weights = {
            task: float(logs[f"weight/{task}"])
            for task in tasks
            if f"weight/{task}" in logs
        }
        losses = {task: float(loss) for task, loss in losses.items()}
        self._warnings.check(losses, weights)
