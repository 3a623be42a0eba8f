import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.backend import checks
from keras_mtl.callbacks.arguments import check_batch
from keras_mtl.callbacks.arguments import check_model
from keras_mtl.callbacks.event_file import EventFile
from keras_mtl.callbacks.event_file import import_tensorboard
from keras_mtl.callbacks.task_logs import by_task
from keras_mtl.training.gramian import TaskGramian
from keras_mtl.training.gramian import cosines


class TaskTensorBoard(keras.callbacks.Callback):
    """Logs the tasks to TensorBoard, after each epoch.

    Each task is a run of its own, so that one chart has the losses of all
    tasks, another one their weights. The run of the folder itself has what
    concerns all tasks: the sum of the losses, their variance, and, if there is
    a batch `data`, how much the gradients of the tasks agree on it. It works on
    every backend; TensorFlow need not be installed.

    | run | scalars |
    |---|---|
    | `<task>` | `loss`, `weight` (with a `TaskSampler`, `share`), the metrics, and those on the validation data: `val_loss`, … ; with `data` also `gradient_norm` |
    | `.` | `loss`, `val_loss`, `task_variance` and other logs; with `data` `gradients/cosine_mean` and `gradients/cosine_min` of all pairs of tasks, and of the Gramian `gramian/eigenvalue_max`, `gramian/eigenvalue_min` and their ratio `gramian/condition_number` |

    With `data`, it costs about what a training step with gradient balancing
    costs on that batch. No variable of the model changes.

    Example:

    ```python
    batch = x[:256], {task: labels[:256] for task, labels in y.items()}
    board = keras_mtl.callbacks.TaskTensorBoard("logs/nash_mtl", batch)
    model.fit(x, y, epochs=10, callbacks=[board])
    # tensorboard --logdir logs
    ```

    Args:
        log_dir: Path of the folder, one for each training.
        data: The batch, `(x, y)` or `(x, y, sample_weight)` of arrays, or
            `None`.
        gradients: `"parameters"` or `"features"`, as of `GradientWeighting`.
        shared: `"auto"`, `"last"` or a list of layers, as of
            `GradientWeighting`.
        every: Number of epochs from one measurement of gradients to the next.

    Raises:
        ValueError: If an argument is not valid, or, when training begins, if
            the model balances no tasks, or its tasks share nothing and
            there are `data`.
        ImportError: If the package `tensorboard` is not installed.
    """  # noqa: E501

    def __init__(
        self,
        log_dir: Any,
        data: tuple | None = None,
        gradients: str = "parameters",
        shared: str | Sequence[str | keras.layers.Layer] = "auto",
        every: int = 1,
    ) -> None:
        super().__init__()
        import_tensorboard()
        if data is not None:
            check_batch(data)
        self.log_dir = pathlib.Path(log_dir)
        self.data = data
        self.gradients = gradients
        self.shared = shared
        self.every = checks.positive_integer("every", every)

    def on_train_begin(self, logs: Any = None) -> None:
        check_model(self, self.model)
        tasks = self.model.tasks
        if self.data is not None:
            self._gramian = TaskGramian(self.model, self.gradients, self.shared)
        self._file = EventFile(self.log_dir)
        self._files = {
            task: EventFile(self.log_dir / folder_name(task)) for task in tasks
        }

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        tasks, others = by_task(logs or {}, self.model.tasks)
        others = {k: v for k, v in others.items() if np.ndim(v) == 0}
        if self.data is not None and (epoch + 1) % self.every == 0:
            gramian = self._gramian(*self.data)
            others.update(spectrum(gramian))
            norms = np.sqrt(np.diagonal(gramian))
            for own, norm in zip(tasks.values(), norms, strict=True):
                own["gradient_norm"] = norm
        self._file.write(epoch, others)
        for task, own in tasks.items():
            self._files[task].write(epoch, own)

    def on_train_end(self, logs: Any = None) -> None:
        for file in (self._file, *self._files.values()):
            file.close()


def spectrum(gramian: Any) -> dict[str, float]:
    """Returns the scalars of a Gramian, shape `(T, T)`, by name.

    Example:

    >>> spectrum([[4.0, 0.0], [0.0, 1.0]])["gramian/condition_number"]
    4.0
    """
    gramian = np.asarray(gramian, "float64")
    above = np.triu_indices(len(gramian), 1)
    pairs = cosines(gramian)[above]
    # A task whose gradient is zero has no angle.
    pairs = pairs[np.isfinite(pairs)]
    scalars = {}
    if pairs.size:
        scalars["gradients/cosine_mean"] = float(pairs.mean())
        scalars["gradients/cosine_min"] = float(pairs.min())
    if np.all(np.isfinite(gramian)):
        # Rounding makes a zero negative.
        smallest, *_, largest = np.maximum(np.linalg.eigvalsh(gramian), 0.0)
        scalars["gramian/eigenvalue_max"] = float(largest)
        scalars["gramian/eigenvalue_min"] = float(smallest)
        ratio = float(largest / smallest) if smallest else math.inf
        scalars["gramian/condition_number"] = ratio
    return scalars


def folder_name(task: str) -> str:
    """Returns the name of a task's folder.

    Example:

    >>> folder_name("shape/depth")
    'shape_depth'
    """
    return re.sub(r"[^\w.-]", "_", task)
