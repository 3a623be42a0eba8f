import math
import operator
import os
from array import array
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend.files import reading
from keras_mtl.selection import log_file


class SelectionLog:
    """A log of which tasks were chosen, how probably, and with what reward.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> log.append(task=1, propensity=0.75, reward=0.2, loss=0.6)
    >>> log.append(task=0, propensity=0.25, reward=0.0, loss=0.9)
    >>> len(log)
    2
    >>> log.propensities
    [0.75, 0.25]

    Args:
        tasks: List of `T` names.

    Raises:
        ValueError: If `tasks` is not a list of different names.
    """

    def __init__(self, tasks: Sequence[str]):
        if (
            not isinstance(tasks, (list, tuple))
            or not tasks
            or not all(isinstance(task, str) for task in tasks)
            or len(set(tasks)) < len(tasks)
        ):
            raise ValueError(
                "Expected `tasks` to be a list of different names. "
                f"Received: tasks={tasks}"
            )
        self.tasks = list(tasks)
        self._tasks = array("q")
        self._propensities = array("d")
        self._rewards = array("d")
        self._losses = array("d")
        # The indices at which the runs of a joined log end, but for the last.
        self._ends = []

    def append(
        self,
        task: int,
        propensity: float,
        reward: float,
        loss: float = math.nan,
    ) -> None:
        """Adds a step.

        Args:
            task: Index of the task.
            propensity: The probability with which it was chosen.
            reward: Float.
            loss: Float, or NaN if it is not known.

        Raises:
            ValueError: If `task` is not one of the log's, `propensity` is not
                in (0, 1], or `reward` is not finite.
        """
        # Everything is converted first: if one column fails, the others must
        # not have become longer.
        task = operator.index(task)
        propensity, reward, loss = map(float, (propensity, reward, loss))
        if not 0 <= task < len(self.tasks):
            raise ValueError(
                f"Expected `task` to be the index of one of {self.tasks}. "
                f"Received: task={task}"
            )
        # A probability of 1 may be larger by the rounding of a sum.
        if not 0 < propensity < 1 + 1e-6:
            raise ValueError(
                "Expected `propensity` to be a probability above 0. "
                f"Received: propensity={propensity}"
            )
        if not math.isfinite(reward):
            raise ValueError(
                f"Expected `reward` to be finite. Received: reward={reward}"
            )
        self._tasks.append(task)
        self._propensities.append(propensity)
        self._rewards.append(reward)
        self._losses.append(loss)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def task_indices(self) -> np.ndarray:
        """The index of each step's task, int64 array of shape `(n,)`."""
        return np.array(self._tasks, "int64")

    @property
    def propensities(self) -> np.ndarray:
        """The probability of each step's task, shape `(n,)`."""
        return np.array(self._propensities, "float64")

    @property
    def rewards(self) -> np.ndarray:
        """The reward of each step, shape `(n,)`."""
        return np.array(self._rewards, "float64")

    @property
    def losses(self) -> np.ndarray:
        """The loss of each step, shape `(n,)`."""
        return np.array(self._losses, "float64")

    @property
    def run_lengths(self) -> list[int]:
        """Number of steps of each of the runs that were joined, list."""
        ends = [0, *self._ends, len(self)]
        return [end - start for start, end in zip(ends, ends[1:])]

    def balanced_propensities(self) -> np.ndarray:
        """The probability of each step's task, averaged over all joined runs.

        The probability of a task in a run is the harmonic mean of those that
        were logged: exact for a policy that stayed the same, and for others an
        estimate of their mean. It is 0 for a task that a run never chose.

        Returns:
            Array of shape `(n,)`.

        Reference:
            Veach and Guibas, "Optimally combining sampling techniques for Monte
            Carlo rendering", SIGGRAPH 1995, the balance heuristic.
        """
        tasks, lengths = self.task_indices, self.run_lengths
        shape = len(lengths), len(self.tasks)
        runs = np.repeat(np.arange(len(lengths)), lengths)
        counts, inverses = np.zeros(shape), np.zeros(shape)
        np.add.at(counts, (runs, tasks), 1)
        np.add.at(inverses, (runs, tasks), 1 / self.propensities)
        means = counts / np.where(counts, inverses, 1)
        return (np.array(lengths) @ means / len(self))[tasks]

    @classmethod
    def join(cls, logs: Iterable["SelectionLog"]) -> "SelectionLog":
        """Joins the logs of several runs.

        Args:
            logs: List of logs of the same tasks. Where their order differs, it
                becomes that of the first.

        Returns:
            A new `SelectionLog`.

        Raises:
            ValueError: If there is no log, or if tasks differ.

        Example:

        >>> log = keras_mtl.selection.SelectionLog(["cola", "sst2"])
        >>> log.append(task=1, propensity=0.75, reward=0.2)
        >>> joined = keras_mtl.selection.SelectionLog.join([log, log])
        >>> joined.run_lengths
        [1, 1]
        """
        logs = list(logs)
        if not logs:
            raise ValueError("Expected at least one log. Received: none")
        joined = cls(logs[0].tasks)
        for log in logs:
            joined._extend(log)
        return joined

    def _extend(self, log):
        if set(log.tasks) != set(self.tasks):
            raise ValueError(
                f"Expected logs of the same tasks, {self.tasks}. "
                f"Received: a log of {log.tasks}"
            )
        indices = [self.tasks.index(task) for task in log.tasks]
        if len(self):
            self._ends.append(len(self))
        self._ends += [len(self) + end for end in log._ends]
        self._tasks.extend(indices[i] for i in log._tasks)
        self._propensities.extend(log._propensities)
        self._rewards.extend(log._rewards)
        self._losses.extend(log._losses)

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns the steps, a dict of name to array."""
        return {
            "task_indices": self.task_indices,
            "propensities": self.propensities,
            "rewards": self.rewards,
            "losses": self.losses,
            "ends": np.array(self._ends, "int64"),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` of a log of the same tasks returned.

        Raises:
            ValueError: If these are not the steps of such a log.
        """
        self._check_state(state)
        self._tasks = array("q", np.asarray(state["task_indices"]).tolist())
        self._propensities = array("d", state["propensities"])
        self._rewards = array("d", state["rewards"])
        self._losses = array("d", state["losses"])
        self._ends = [int(end) for end in state["ends"]]

    def save(self, path: str | os.PathLike) -> None:
        """Saves the log to one file, without loss and without pickle.

        The file is written whole or not at all.

        Args:
            path: Path of the file, which is replaced if it exists.
        """
        log_file.write(path, self.tasks, self.get_state())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "SelectionLog":
        """Loads a log that `save` has written.

        Args:
            path: Path of the file.

        Returns:
            A `SelectionLog`.

        Raises:
            ValueError: If the file is not a whole file of a log.
        """
        tasks, state = log_file.read(path)
        with reading(path, log_file.EXPECTED):
            log = cls(tasks)
            log.set_state(state)
        return log

    def _check_state(self, state):
        expected = set(self.get_state())
        if set(state) != expected:
            raise ValueError(
                f"Expected the arrays {sorted(expected)}. "
                f"Received: {sorted(state)}"
            )
        tasks, propensities, rewards, losses, ends = (
            np.asarray(state[key]) for key in self.get_state()
        )
        columns = propensities, rewards, losses
        if (
            tasks.ndim != 1
            or any(column.shape != tasks.shape for column in columns)
            or any(column.dtype.kind != "f" for column in columns)
            or tasks.dtype.kind not in "iu"
            or ends.dtype.kind not in "iu"
            or not np.all((tasks >= 0) & (tasks < len(self.tasks)))
            or not np.all((propensities > 0) & (propensities < 1 + 1e-6))
            or not np.all(np.isfinite(rewards))
            or ends.ndim != 1
            or not np.all(np.diff([0, *ends, len(tasks)]) >= 0)
        ):
            raise ValueError(
                f"Expected steps of the {len(self.tasks)} tasks {self.tasks}, "
                "with propensities above 0 and finite rewards. Received: "
                + ", ".join(
                    f"{key} of shape {np.shape(x)}" for key, x in state.items()
                )
            )
