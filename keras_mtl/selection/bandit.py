import numpy as np

from keras_mtl.backend import checks
from keras_mtl.selection.state import make_generator


class BanditEnvironment:
    """The MTL bandit: tasks that are learned by training, and forgotten.

    Training a task raises its score by the task's increment, up to a maximum
    that is drawn between 0.5 and 1. A policy that chooses tasks with the
    probabilities `oracle` brings all of them there in `num_steps` steps. Every
    step, the scores of all tasks fall by up to 1 % of their increments. Good
    policies choose all tasks again and again, some more than others.

    Example:

    >>> env = keras_mtl.selection.BanditEnvironment(num_tasks=4, seed=0)
    >>> before, after = env.step(2)
    >>> before
    0.0
    >>> bool(after > 0 and env.scores[2] == after)
    True

    Args:
        num_tasks: Number of tasks, `T`.
        num_steps: Number of steps in which the oracle learns all tasks.
        alpha: The parameter of the symmetric Dirichlet distribution from which
            `oracle` is drawn. The smaller it is, the more do tasks differ.
        seed: Integer, or `np.random.Generator`.

    Attributes:
        oracle: Probabilities, shape `(T,)`.
        max_scores: The scores that can be reached, shape `(T,)`.
        scores: The scores at this time, shape `(T,)`.

    Raises:
        ValueError: If an argument is not positive.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), section
        4.1.
    """

    def __init__(
        self,
        num_tasks: int = 8,
        num_steps: int = 4000,
        alpha: float = 2.0,
        seed: int | np.random.Generator | None = None,
    ):
        num_tasks = checks.positive_integer("num_tasks", num_tasks)
        alpha = checks.positive("alpha", alpha)
        rng = make_generator(seed)
        self.num_steps = checks.positive_integer("num_steps", num_steps)
        self.oracle = rng.dirichlet(np.full(num_tasks, alpha))
        self.max_scores = rng.uniform(0.5, 1.0, num_tasks)
        # A task whose share is drawn as 0, which a small `alpha` makes likely,
        # is learned in one step.
        trainings = np.maximum(num_steps * self.oracle, 1e-12)
        self.increments = self.max_scores / trainings
        self.forget_increments = rng.uniform(0, 0.01, num_tasks)
        self.forget_increments *= self.increments
        self.reset()

    def reset(self) -> None:
        """Sets all scores to 0; the environment stays the same."""
        self.scores = np.zeros_like(self.oracle)

    def step(self, task: int) -> tuple[float, float]:
        """Trains a task.

        Returns:
            The score of the task before and after the step.
        """
        before = self.scores[task]
        self.scores[task] = min(
            before + self.increments[task], self.max_scores[task]
        )
        self.scores = np.maximum(self.scores - self.forget_increments, 0)
        return float(before), float(self.scores[task])
