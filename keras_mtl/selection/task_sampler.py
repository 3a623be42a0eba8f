import concurrent.futures
import json
import math
import threading
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_mtl.losses import missing_labels
from keras_mtl.selection.exp3s import Exp3S
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import get
from keras_mtl.selection.registry import get_reward
from keras_mtl.selection.selection_log import SelectionLog
from keras_mtl.selection.state import generator_state
from keras_mtl.selection.state import make_generator
from keras_mtl.selection.state import set_generator_state
from keras_mtl.selection.task_batches import as_tensors
from keras_mtl.selection.task_batches import task_batches

# More steps than this are not kept waiting for their losses to be read.
MAX_UNREAD = 256


class TaskSampler(keras.utils.PyDataset):
    """The data sets of several tasks, from which each step takes one task's.

    It is given to `MultiTaskModel.fit`. Before each step, the policy chooses a
    task. The step trains the shared layers and the head of that task alone, on
    the next batch of its data: other heads get no gradient, no step of the
    optimizer (neither momentum nor weight decay), and no update of their
    metrics. It costs about as much as a step of a model that has no other task.

    The loss of a step reaches the reward, the policy and `log` before the next
    task is chosen. Batches may be prepared in advance (`workers`), since the
    order of each task's own batches does not depend on the choices.

    A step with a loss that is not finite has the reward 0, or what the reward
    says that it has. The model does as any Keras model: its parameters turn
    NaN, and `keras.callbacks.TerminateOnNaN` stops the training.

    While `fit` runs, what saves the model's weights saves the state of the
    sampler with them. So with `keras_mtl.callbacks.BackupAndRestore` an
    interrupted training continues as it would have without the interruption.

    Example:

    ```python
    sampler = keras_mtl.selection.TaskSampler(
        {"cola": (x, y), "sst2": tf_dataset},
        policy=keras_mtl.selection.Exp3S(),
        batch_size=32,
    )
    history = model.fit(sampler, epochs=3)
    history.history["share/cola"]
    sampler.log.save("exp3s.npz")
    ```

    Args:
        data: Dict of task to its data, for all tasks of the model: `(x, y)` or
            `(x, y, sample_weight)` of arrays, or a `tf.data.Dataset`,
            `PyDataset`, PyTorch `DataLoader` or generator of such batches. `y`
            are the labels of this task alone. The inputs have the same
            structure for all tasks; their lengths may differ.
        policy: What `keras_mtl.selection.get` takes: a name, a `Policy`, or
            probabilities of shape `(T,)`.
        reward: `"prediction_gain"`, `"falling_loss"` or a `Reward`. By default
            prediction gain for `Exp3S`, as in the paper, and for other policies
            the falling loss, with which `counterfactual_policy` learns.
            Prediction gain takes another forward pass per step.
        batch_size: Number of examples in each batch of arrays. Other data come
            in batches of their own.
        steps_per_epoch: Number of steps of an epoch. By default the sum of the
            numbers of batches of all tasks. That of `fit` replaces it.
        shuffle: Whether to shuffle arrays, and the order of the batches of a
            `PyDataset`, anew in each pass. Other data shuffle themselves.
        seed: Integer, for the choice of tasks and the order of examples.
        workers: With 2 or more, that many threads prepare the next batch of
            each task.

    Attributes:
        tasks: List of the names of the tasks.
        policy: The `Policy`.
        reward: The `Reward`.
        log: The `SelectionLog` of all steps so far. Its losses are those of
            `<task>_loss`, without `loss_weights` and penalties.

    Raises:
        ValueError: If an argument is not as said, or if `steps_per_epoch` is
            needed, since a task's number of batches is unknown.
    """

    def __init__(
        self,
        data: dict[str, Any],
        policy: str | Policy | type[Policy] | ArrayLike = "uniform",
        reward: Any = None,
        batch_size: int = 32,
        steps_per_epoch: int | None = None,
        shuffle: bool = True,
        seed: int | np.random.Generator | None = None,
        workers: int = 1,
    ):
        super().__init__(workers=workers)
        _check_arguments(data, batch_size, steps_per_epoch)
        self._log = SelectionLog(list(data))
        self.tasks = self._log.tasks
        self._rng = make_generator(seed)
        seeds = self._rng.integers(2**63, size=len(data))
        self._batches = [
            _named(
                task, task_batches, data[task], batch_size, shuffle, int(seed)
            )
            for task, seed in zip(self.tasks, seeds)
        ]
        self.batch_size = batch_size
        self._seeds = seeds
        self._positions = np.zeros(len(data), "int64")
        self._ready = {}
        self._unread = []
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._lock = threading.RLock()
        self.steps_per_epoch = steps_per_epoch or self._total_batches()
        self.policy = get(policy)
        if reward is None:
            is_bandit = isinstance(self.policy, Exp3S)
            reward = "prediction_gain" if is_bandit else "falling_loss"
        self.reward = get_reward(reward)
        self.reward.build(len(self.tasks))
        self.policy.build([self._size(i) for i in range(len(self.tasks))])

    def _total_batches(self):
        counts = [batches.num_batches for batches in self._batches]
        if all(counts):
            return sum(counts)
        unknown = [t for t, count in zip(self.tasks, counts) if not count]
        raise ValueError(
            "Expected `steps_per_epoch`, since the number of batches is not "
            f"known of the tasks {unknown}. Received: steps_per_epoch=None"
        )

    def _size(self, task):
        """The number of examples, in whole batches where no one tells it."""
        batches = self._batches[task]
        if batches.num_examples or not batches.num_batches:
            return batches.num_examples
        x = keras.tree.flatten(self.peek(task)[0])[0]
        return batches.num_batches * int(x.shape[0])

    @property
    def num_batches(self) -> int:
        """Number of steps of an epoch."""
        return self.steps_per_epoch

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getitem__(self, index: int) -> tuple:
        """Chooses a task, and returns its batch with the task's name.

        For a training loop of one's own, `draw` and `update` tell more.

        Returns:
            `(x, {task: y})` or `(x, {task: y}, {task: sample_weight})`.
        """
        task, _, (x, *rest) = self.draw()
        return (x, *({self.tasks[task]: part} for part in rest))

    def draw(self) -> tuple[int, float, tuple]:
        """Chooses a task and takes its next batch.

        Returns:
            Tuple `(task, propensity, batch)`: the index of the task, the
            probability with which it was chosen, and `(x, y)` or `(x, y,
            sample_weight)`.
        """
        with self._lock:
            if self._learns():
                self.read()
            task, propensity = self.policy.sample(self._rng)
            batch = self._fetch(task)
            self._ready.pop(task)
            self._positions[task] += 1
            if self.workers > 1:
                if self._pool is None:
                    self._pool = concurrent.futures.ThreadPoolExecutor(
                        self.workers
                    )
                self._ready[task] = self._pool.submit(self._next_batch, task)
            return task, propensity, batch

    def update(
        self, task: int, propensity: float, loss: Any, loss_after: Any = None
    ) -> None:
        """Passes a step to the reward, the policy and the log.

        Args:
            task: Index of the task.
            propensity: The probability with which it was chosen.
            loss: Its loss on the batch, a float or a scalar tensor.
            loss_after: Its loss after the step, if `reward.needs_loss_after`.
        """
        with self._lock:
            # The loss is read when the next choice depends on it. Until then,
            # the step is computed while Python does other things.
            self._unread.append((task, propensity, loss, loss_after))
            if len(self._unread) > MAX_UNREAD:
                self.read()

    def _learns(self):
        return type(self.policy).update is not Policy.update

    def read(self) -> None:
        """Lets the reward, the policy and the log know all steps so far."""
        unread, self._unread = self._unread, []
        for task, propensity, loss, loss_after in unread:
            loss = float(loss)
            if loss_after is not None:
                loss_after = float(loss_after)
            reward = float(self.reward(task, loss, loss_after))
            if not math.isfinite(reward):
                reward = 0.0
            self.policy.update(task, reward, propensity)
            self._log.append(task, propensity, reward, loss)

    @property
    def log(self) -> SelectionLog:
        with self._lock:
            self.read()
        return self._log

    def peek(self, task: int) -> tuple:
        """Returns the next batch of a task, which stays the next one.

        Args:
            task: Index of the task.
        """
        with self._lock:
            return self._fetch(task)

    def _fetch(self, task):
        batch = self._ready.get(task)
        if batch is None:
            batch = self._next_batch(task)
        elif isinstance(batch, concurrent.futures.Future):
            batch = batch.result()
        self._ready[task] = batch
        return batch

    def _next_batch(self, task):
        name = self.tasks[task]
        x, *rest = _named(name, next, self._batches[task])
        rest = [_of_task(part, name) for part in rest]
        return as_tensors((x, *rest))

    def complete_tasks(self) -> list[str]:
        """Returns the names of the tasks in whose labels none is missing."""
        y = {
            task: _of_task(batches.arrays[1], task)
            for task, batches in zip(self.tasks, self._batches)
            if batches.arrays is not None
        }
        return missing_labels.complete(y, self.tasks)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns all from which a training continues exactly.

        That is the state of the policy and the reward, the log, each task's
        position in its data, and the random numbers.

        Returns:
            Dict of name to array.
        """
        with self._lock:
            self.read()
            parts = self._parts()
            return {
                "tasks": _encode(self.tasks),
                "positions": self._positions.copy(),
                "seeds": self._seeds.copy(),
                "rng": generator_state(self._rng),
                **{
                    f"{prefix}.{name}": value
                    for prefix, part in parts.items()
                    for name, value in part.get_state().items()
                },
            }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` returned.

        Arrays and a `PyDataset` continue exactly where they were. Of other
        data, as many batches are skipped as had been taken, which is exact if
        they come in the same order again.

        Args:
            state: Dict of name to array. The sampler has the same tasks, data,
                batch size, and kinds of policy and reward.

        Raises:
            ValueError: If the state is that of other tasks.
        """
        state = {name: np.asarray(value) for name, value in state.items()}
        tasks = _decode(state["tasks"])
        if tasks != self.tasks:
            raise ValueError(
                f"Expected the state of a sampler of the tasks {self.tasks}. "
                f"Received: one of {tasks}"
            )
        with self._lock:
            self._unread = []
            for prefix, part in self._parts().items():
                start = f"{prefix}."
                part.set_state(
                    {
                        name.removeprefix(start): value
                        for name, value in state.items()
                        if name.startswith(start)
                    }
                )
            set_generator_state(self._rng, state["rng"])
            self._seek(state["positions"], state["seeds"])

    def _parts(self):
        return {
            "policy": self.policy,
            "reward": self.reward,
            "log": self._log,
        }

    def _seek(self, positions, seeds):
        for waiting in self._ready.values():
            if isinstance(waiting, concurrent.futures.Future):
                waiting.result()
        self._ready = {}
        self._positions = positions.astype("int64")
        self._seeds = seeds.astype("int64")
        for batches, position, seed in zip(self._batches, positions, seeds):
            batches.seek(int(position), int(seed))


def _named(task, function, *args):
    """Calls a function, whose errors then name the task."""
    try:
        return function(*args)
    except ValueError as error:
        raise ValueError(f"The data of the task {task!r}: {error}") from error


def _of_task(part, task):
    """Unpacks labels or weights that are given by the task's name."""
    if isinstance(part, dict) and list(part) == [task]:
        return part[task]
    return part


def _encode(names):
    return np.frombuffer(json.dumps(names).encode(), "uint8")


def _decode(array):
    return json.loads(np.asarray(array, "uint8").tobytes().decode())


def _check_arguments(data, batch_size, steps_per_epoch):
    if not isinstance(data, dict) or not data:
        raise ValueError(
            "Expected `data` to be a dict of task to its data. "
            f"Received: {type(data).__name__}"
        )
    for name, value in (
        ("batch_size", batch_size),
        ("steps_per_epoch", steps_per_epoch),
    ):
        if value is not None and not value >= 1:
            raise ValueError(
                f"Expected `{name}` to be positive. Received: {name}={value}"
            )
