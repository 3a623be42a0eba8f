import statistics
import time
from typing import Any

import keras
from keras import ops


class StepTimer(keras.callbacks.Callback):
    """Measures the time of a training step, without validation.

    Attributes:
        seconds: Time from the beginning to the end of `fit`.
        seconds_per_step: Median over the epochs of their mean time per step.
            It leaves out the first epoch, which compiles; if that is the only
            one, its first step.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        self._start = time.perf_counter()
        self._epochs: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._open = True
        # The first epoch is measured from the beginning of its second step.
        self._begin = (0, time.perf_counter())
        self._is_first = not self._epochs
        self._last_step = 0

    # Keras calls this hook of a batch without reading the logs. Before those
    # at the end of a batch it reads them, and waits for the device each time.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._is_first and batch > 0:
            self._begin = (batch, time.perf_counter())
            self._is_first = False
        self._last_step = batch

    def on_test_begin(self, logs: Any = None) -> None:
        # Reading a variable waits for the steps that are still under way.
        ops.convert_to_numpy(self.model.optimizer.iterations)
        self._close_epoch()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._close_epoch()

    def _close_epoch(self) -> None:
        if self._open:
            self._open = False
            skipped, begin = self._begin
            steps = self.params.get("steps") or (
                self._last_step + self.model.steps_per_execution
            )
            seconds = time.perf_counter() - begin
            self._epochs.append(seconds / (steps - skipped))

    def on_train_end(self, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self._start
        self.seconds_per_step = statistics.median(
            self._epochs[1:] or self._epochs
        )
