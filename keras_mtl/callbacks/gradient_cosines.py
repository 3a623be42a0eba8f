from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.backend import checks
from keras_mtl.callbacks.arguments import check_batch
from keras_mtl.callbacks.arguments import check_model
from keras_mtl.training.gramian import TaskGramian
from keras_mtl.training.gramian import cosines


class GradientCosines(keras.callbacks.Callback):
    """Records how much the gradients of the tasks agree during training.

    After each epoch it computes the gradients of all tasks on one batch, and
    the cosines of the angles between them: 1 where two tasks ask the same of
    the shared layers, 0 where what helps one neither helps nor hurts the other,
    and negative where what helps one task hurts the other. The gradients are
    those of a training step, whatever the weighting is; no variable of the
    model changes. (The weights of a loss balancing do not change a cosine.)

    It costs about what a training step with gradient balancing costs on that
    batch. The gradients of a small batch are noisy, which brings their cosines
    closer to 0.

    Example:

    ```python
    batch = x[:256], {task: labels[:256] for task, labels in y.items()}
    cosines = keras_mtl.callbacks.GradientCosines(batch)
    model.fit(x, y, epochs=10, callbacks=[cosines])
    cosines.cosines[-1]  # after the last epoch, shape (T, T)
    keras_mtl.plots.gradient_cosines(cosines)
    ```

    Args:
        data: The batch, as `validation_data` of `fit`: `(x, y)` or
            `(x, y, sample_weight)`, of arrays.
        gradients: `"parameters"` or `"features"`, as of `GradientWeighting`.
        shared: `"auto"`, `"last"` or a list of layers, as of
            `GradientWeighting`.
        every: Number of epochs from one measurement to the next.

    Attributes:
        tasks: List of the names of the tasks.
        epoch: List of the epochs after which it measured, as that of a
            `History`: the first is 0.
        gramians: Float32 array of shape `(measurements, T, T)`, the inner
            products of the gradients.
        cosines: Float64 array of that shape, NaN for a task whose gradient is
            zero, such as one without a label in the batch.

    Raises:
        ValueError: If an argument is not valid, or, when training begins, if
            the model balances no tasks or its tasks share nothing.
    """

    def __init__(
        self,
        data: tuple,
        gradients: str = "parameters",
        shared: str | Sequence[str | keras.layers.Layer] = "auto",
        every: int = 1,
    ) -> None:
        super().__init__()
        check_batch(data)
        self.data = data
        self.gradients = gradients
        self.shared = shared
        self.every = checks.positive_integer("every", every)
        self._reset(tasks=[])

    def _reset(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        self.epoch: list[int] = []
        self.gramians = np.zeros((0, len(tasks), len(tasks)), "float32")

    @property
    def cosines(self) -> np.ndarray:
        return cosines(self.gramians)

    def on_train_begin(self, logs: Any = None) -> None:
        check_model(self, self.model)
        self._reset(self.model.tasks)
        self._gramian = TaskGramian(self.model, self.gradients, self.shared)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every == 0:
            gramian = self._gramian(*self.data)
            self.epoch.append(epoch)
            self.gramians = np.concatenate([self.gramians, gramian[None]])
