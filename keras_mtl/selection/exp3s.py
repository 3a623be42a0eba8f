import math
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend import checks
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import register
from keras_mtl.selection.reservoir import Reservoir
from keras_mtl.selection.state import check_state
from keras_mtl.selection.state import generator_state
from keras_mtl.selection.state import make_generator
from keras_mtl.selection.state import set_generator_state


@register("exp3s", package="keras_mtl")
class Exp3S(Policy):
    """Policy that learns online which tasks are rewarded, as a bandit does.

    The probabilities are the softmax `rho` of weights, mixed with a uniform
    part `epsilon`. The reward of a step, divided by the probability of its
    task, raises the weight of the task; then each weight takes a part, `1 / t`
    at step `t`, of the mean of the others, so that no task is lost when the
    rewards change. Rewards that are not finite are ignored.

    Example:

    >>> policy = keras_mtl.selection.Exp3S(eta=0.1, seed=0)
    >>> policy.build([None, None])
    >>> rng = np.random.default_rng(0)
    >>> for _ in range(2000):
    ...     task, propensity = policy.sample(rng)
    ...     policy.update(task, reward=float(task), propensity=propensity)
    >>> bool(policy.probabilities[1] > 0.9)
    True

    Args:
        eta: Positive float, the step size.
        epsilon: Float in [0, 1), the part of steps with a uniform choice.
        importance: By which probability a reward is divided: `"softmax"`, by
            `rho`, as in the paper, or `"propensity"`, by that of the whole
            mixture, as in Graves et al. The latter is at least `epsilon / T`,
            which bounds the change of one step: better with a larger `eta`.
        scale_rewards: Whether rewards are mapped from between the 20th and 80th
            percentile of all rewards until then to [-1, 1]. If not, they
            should lie in this interval.
        reservoir_size: Number of rewards from which percentiles are computed.
        seed: Integer, for the choice of these rewards.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equations 5
        and 6, after
        [Graves et al., 2017](https://arxiv.org/abs/1704.03003). Where the two
        percentiles are equal, which equation 6 leaves open, a reward that is
        equal to them is mapped to 0.
    """

    def __init__(
        self,
        eta: float = 1e-3,
        epsilon: float = 0.05,
        importance: str = "softmax",
        scale_rewards: bool = True,
        reservoir_size: int = 1000,
        seed: int | np.random.Generator | None = None,
    ):
        self.eta = checks.positive("eta", eta)
        self.epsilon = checks.fraction("epsilon", epsilon, "[0, 1)")
        self.importance = checks.one_of(
            "importance", importance, ["softmax", "propensity"]
        )
        self.scale_rewards = checks.boolean("scale_rewards", scale_rewards)
        self.reservoir_size = checks.positive_integer(
            "reservoir_size", reservoir_size
        )
        self.seed = seed
        self._reservoir = Reservoir(reservoir_size, make_generator(seed))
        self._log_weights: np.ndarray | None = None
        self._step = 1

    def build(self, sizes: Sequence[int | None]) -> None:
        super().build(sizes)
        if self._log_weights is None:
            self._log_weights = np.zeros(self.num_tasks)

    @property
    def probabilities(self) -> np.ndarray:
        self.require_built()
        weights = np.exp(self._log_weights - self._log_weights.max())
        rho = weights / weights.sum()
        return (1 - self.epsilon) * rho + self.epsilon / self.num_tasks

    def update(self, task: int, reward: float, propensity: float) -> None:
        self.require_built()
        if not math.isfinite(reward):
            return
        if self.scale_rewards:
            reward = self._scale(reward)
        gain = self.eta * reward / self._divisor(propensity)
        self._step += 1
        self._raise_weight(task, gain, 1 / self._step)

    def _scale(self, reward):
        self._reservoir.add(reward)
        low = self._reservoir.quantile(0.2)
        high = self._reservoir.quantile(0.8)
        if reward < low:
            return -1.0
        if reward > high:
            return 1.0
        return 2 * (reward - low) / (high - low) - 1 if high > low else 0.0

    def _divisor(self, propensity):
        if self.importance == "propensity":
            return propensity
        uniform = 1 / self.num_tasks
        rho = (propensity - self.epsilon * uniform) / (1 - self.epsilon)
        # The mixing of the weights keeps our own `rho` above this bound. Only a
        # propensity that another policy has logged can be lower.
        return max(rho, uniform / self._step)

    def _raise_weight(self, task, gain, alpha):
        raised = self._log_weights.copy()
        raised[task] += gain
        top = raised.max()
        weights = np.exp(raised - top)
        others = (weights.sum() - weights) / max(self.num_tasks - 1, 1)
        self._log_weights = top + np.log((1 - alpha) * weights + alpha * others)

    def get_state(self) -> dict[str, np.ndarray]:
        self.require_built()
        reservoir = self._reservoir.get_state()
        return {
            "log_weights": self._log_weights.copy(),
            "step": np.array(self._step, "int64"),
            "rng": generator_state(self._reservoir.rng),
            **{f"reservoir_{key}": x for key, x in reservoir.items()},
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        check_state(self, state)
        self._log_weights = np.array(state["log_weights"], "float64")
        self._step = int(state["step"])
        set_generator_state(self._reservoir.rng, state["rng"])
        self._reservoir.set_state(
            {key: state[f"reservoir_{key}"] for key in ("values", "count")}
        )

    def __repr__(self) -> str:
        return f"Exp3S(eta={self.eta}, epsilon={self.epsilon})"
