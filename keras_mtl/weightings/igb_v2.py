import random
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl import agents
from keras_mtl.agents import noise
from keras_mtl.backend import checks
from keras_mtl.backend.numerics import MAX_SEED
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.igb_v1 import IGBv1
from keras_mtl.weightings.present_tasks import shared_by
from keras_mtl.weightings.registry import register

# A batch whose loss explodes would otherwise rule all that the critics learn.
MAX_OBSERVATION = 10.0
# A learning rate that decays to 0 has no finite ratio. This is the largest one
# of the paper's schedules, that on NYUv2: above it, the reward of a step near
# the end would be all that the critics learn.
MAX_REWARD_SCALE = 16.0


@register(
    "igb_v2",
    package="keras_mtl",
    paper="Dai et al., Improvable Gap Balancing for Multi-Task Learning",
    year=2023,
    when="Research: an agent learns weights. igb_v1 did better so far.",
)
class IGBv2(IGBv1):
    """Improvable gap balancing by reinforcement learning.

    A soft actor-critic agent (SAC) sees the losses of a batch and chooses the
    task weights λ, which sum to `T`; the weights are λ / L (the gradient of
    Σ λ log L). The reward is the decline of the losses until the next batch,
    relative to `base`, the mean losses of the second epoch:
    r = α min((L_t - L_{t+1}) / base), with α the initial over the current
    learning rate. Losses must be positive: a task whose loss is not gets no
    weight in that step, and the agent learns nothing from it.

    - Until `use_epoch`, λ = T softmax(z) with z standard normal. The agent
      learns from the action that comes closest to z.
    - After `base_epoch`, each batch adds a transition to the replay buffer.
    - From `update_epoch` on, the agent is updated every `update_every` batches.
    - From `use_epoch` on, λ = T softmax(`logit_bound` a) with the agent's
      action a in (-1, 1), which it draws at random.

    What the paper leaves open, and where the official code differs:

    - The agent observes the losses over `base`, at most 10 (raw losses there),
      so that their scale does not matter; the reward is that of the same
      numbers.
    - α is the largest learning rate so far over the current one, so that a
      warm-up does not count as progress, and at most 16, the largest in the
      paper (its schedule on NYUv2). A warning says where that is reached.
    - The actions are a tanh-squashed normal distribution on bounded logits.
      There, they are a softmax with the density of a tanh.
    - The temperature begins at 0.2 and logits are within ±1. Rewards of about
      0.01 are too small for a temperature of 1 and logits within ±3: the
      weights would be random.
    - A batch of transitions has `batch_size` of them, where it grows there with
      the buffer from 128 to 256. The number of updates is as there
      `updates` k / 2, with k = 1 + the filled share of the buffer.

    The paper's claim was not found again: the reward hardly depends on the
    action (R² of at most 0.02 in the replay buffers), and no other reward that
    was tried made the agent useful (`experiments/igb_v2_rewards.py`). On two
    generated problems it is no better than random weights and worse than
    `igb_v1`. On QM9 its Δm of 33 ± 3 is between that of random weights of log
    L, 46 ± 4, and that of λ = 1, 20 ± 2. On FDU-MTL's fourteen domains it is
    -5.0 ± 0.2, that of λ = 1 is -4.7 ± 0.2, and that of random weights is the
    best, -5.4 ± 0.1. With its defaults log λ has a standard deviation of 0.5.
    A temperature of 0.01 with logits within ±3 equals `igb_v1` where the tasks
    differ in scale, and is the worst of all where they differ in difficulty
    (`experiments/igb_v2_settings.py`).

    Args:
        agent: `"tf_agents"` (TensorFlow only, with TF-Agents installed),
            `"keras"`, or `"auto"`: the first where it can be imported, else the
            second.
        update_epoch: The epoch, from 1, from which the agent is updated.
        use_epoch: The epoch, from 1, from which the agent gives the weights.
        base_epoch: The epoch, from 1, whose mean losses are `base`.
        update_every: Number of batches between updates.
        updates: Largest number of updates at a time.
        batch_size: Number of transitions in an update.
        buffer_size: Number of transitions that the replay buffer keeps.
        discount: Discount γ of the agent's future rewards.
        learning_rate: Learning rate of the agent.
        hidden_units: Sizes of the hidden layers of the agent's networks.
        reward: `"min"` or `"mean"`, over the tasks.
        scale_reward: Whether α multiplies the reward.
        logit_bound: Largest logit of the agent's λ: no two of its weights
            differ by more than the factor exp(2 `logit_bound`).
        initial_temperature: The agent's temperature before its first update:
            the reward that one nat of the policy's entropy is worth.
        seed: Integer or `None`. The numbers that are drawn are the same on all
            backends.
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> weighting = keras_mtl.weightings.IGBv2(agent="keras")
    >>> losses = ops.array([0.5, 2.0, 1.0], "float32")
    >>> ops.sum(weighting(losses) * losses)  # Σ λ
    3.0

    Reference:
        - [Dai et al., 2023](https://arxiv.org/abs/2307.15429), Algorithm 2 and
          equation 4.
        - [Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905), the agent.
    """

    # The agent of older versions began with this temperature.
    implied_arguments = {
        **IGBv1.implied_arguments,
        "initial_temperature": 1.0,
    }

    def __init__(
        self,
        agent: str = "auto",
        update_epoch: int = 4,
        use_epoch: int = 6,
        base_epoch: int = 2,
        update_every: int = 50,
        updates: int = 50,
        batch_size: int = 256,
        buffer_size: int = 10000,
        discount: float = 0.99,
        learning_rate: float = 3e-4,
        hidden_units: Sequence[int] = (128, 128),
        reward: str = "min",
        scale_reward: bool = True,
        logit_bound: float = 1.0,
        initial_temperature: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base_epoch=base_epoch, **kwargs)
        agents.check_name(agent)
        positive_integer = checks.positive_integer
        self.agent = agent
        self.update_epoch = positive_integer("update_epoch", update_epoch)
        self.use_epoch = positive_integer("use_epoch", use_epoch)
        self.update_every = positive_integer("update_every", update_every)
        self.updates = positive_integer("updates", updates)
        self.batch_size = positive_integer("batch_size", batch_size)
        self.buffer_size = positive_integer("buffer_size", buffer_size)
        self.discount = checks.fraction("discount", discount)
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.hidden_units = checks.sizes("hidden_units", hidden_units)
        self.reward = checks.one_of("reward", reward, ("min", "mean"))
        self.scale_reward = checks.boolean("scale_reward", scale_reward)
        self.logit_bound = checks.positive("logit_bound", logit_bound)
        self.initial_temperature = checks.positive(
            "initial_temperature", initial_temperature
        )
        self.seed = checks.seed("seed", seed)
        self._has_warned = False
        if not self.base_epoch < min(self.update_epoch, self.use_epoch):
            raise ValueError(
                "Expected `update_epoch` and `use_epoch` to be after "
                f"`base_epoch`. Received: base_epoch={base_epoch}, "
                f"update_epoch={update_epoch}, use_epoch={use_epoch}"
            )

    @property
    def needs_learning_rate(self) -> bool:
        return self.scale_reward

    def build_state(self, num_tasks: int) -> None:
        super().build_state(num_tasks)
        # The seed decides on all that is drawn, and is saved.
        seed = random.randrange(2**30) if self.seed is None else self.seed
        seed = seed % MAX_SEED
        self.drawn_seed = self.add_state(
            (), keras.initializers.Constant(seed), "seed", dtype="int32"
        )
        self.steps = self.add_state(dtype="int32", name="steps")
        self.last_losses = self.add_state((num_tasks,), name="last_losses")
        self.last_action = self.add_state((num_tasks,), name="last_action")
        self.last_scale = self.add_state((), "ones", "last_scale")
        self.largest_rate = self.add_state(name="largest_rate")
        self.buffer = agents.ReplayBuffer(self.buffer_size)
        self.buffer.build(num_tasks)
        self.learner = agents.get(self.agent)(
            hidden_units=self.hidden_units,
            learning_rate=self.learning_rate,
            discount=self.discount,
            initial_temperature=self.initial_temperature,
            seed=seed,
        )
        self.learner.build(num_tasks)

    def _unguarded_variables(self):
        return [*self.buffer.variables, *self.learner.variables]

    def untracked_variables(self) -> list:
        return self.learner.untracked_variables()

    def call(self, losses: Tensor, gramian: Tensor = None) -> Tensor:
        self._check_shapes(losses, gramian)
        self.train_agent(self._above_floor(losses))
        return super().call(losses, gramian)

    def train_agent(self, losses: Tensor) -> None:
        """Adds the last transition to the buffer, and updates the agent."""
        finite = ops.all(ops.isfinite(losses))
        losses = ops.where(finite, losses, ops.zeros_like(losses))
        self.remember(losses)
        self.update_agent(finite)

    def remember(self, losses: Tensor) -> None:
        """Adds the last transition to the buffer, if all have labels."""
        epoch = ops.convert_to_tensor(self.epochs) + 1
        labelled = ops.logical_and(
            ops.all(losses > TINY), ops.all(self.last_losses > TINY)
        )
        self.buffer.add(
            self.observe(self.last_losses),
            self.last_action,
            self.compute_reward(losses),
            self.observe(losses),
            when=ops.logical_and(labelled, epoch > self.base_epoch),
        )

    def update_agent(self, finite: Tensor) -> None:
        """Updates the agent in the steps in which it is due."""
        epoch = ops.convert_to_tensor(self.epochs) + 1
        steps = ops.convert_to_tensor(self.steps)
        due = ops.logical_and(finite, epoch >= self.update_epoch)
        due = ops.logical_and(
            due, ops.equal((steps + 1) % self.update_every, 0)
        )
        size = self.buffer.size()
        share = ops.cast(size, "float32") / self.buffer_size
        count = ops.cast(self.updates * (1.0 + share) / 2, "int32")
        due = ops.logical_and(due, size > 0)
        self.learner.run_updates(
            ops.where(due, count, ops.zeros_like(count)), self.draw_batch
        )

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        # `+ 0`, because under `tf.distribute` the variable has no value.
        scale = float(self.last_scale + 0) if self.built else 1.0
        if scale >= MAX_REWARD_SCALE and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "Expected a learning rate of at least 1/16 of the largest one, "
                "by which IGBv2 divides its reward. Received: a lower one; α "
                "stays at 16, the largest of the paper. A schedule that ends "
                "higher, or `scale_reward=False`, avoids it.",
                stacklevel=2,
            )

    def draw_batch(self, i: Tensor) -> tuple[dict, dict]:
        """Draws the transitions and the noise of an update."""
        key = (ops.convert_to_tensor(self.drawn_seed), self.steps, i)
        size = self.buffer.size()
        indices = noise.integers((self.batch_size,), size, *key, 0)
        shape = (self.batch_size, self.num_tasks)
        return self.buffer.gather(indices), {
            "next": noise.normal(shape, *key, 1),
            "actor": noise.normal(shape, *key, 2),
        }

    def observe(self, losses: Tensor) -> Tensor:
        """Returns what the agent sees of losses, shape `(T,)`."""
        base = self.base()
        relative = losses / ops.maximum(base, TINY)
        relative = ops.where(base > TINY, relative, ops.ones_like(relative))
        return ops.minimum(relative, MAX_OBSERVATION)

    def compute_reward(self, losses: Tensor) -> Tensor:
        """Returns the reward of the last action, a scalar (equation 4)."""
        declines = self.observe(self.last_losses) - self.observe(losses)
        reduce = ops.min if self.reward == "min" else ops.mean
        return self.last_scale * reduce(declines)

    def compute_weights(self, losses: Tensor) -> Tensor:
        epoch = ops.convert_to_tensor(self.epochs) + 1
        self.update_base(losses, epoch)
        self.update_scale()
        drawn = noise.normal(losses.shape, self.drawn_seed, self.steps)
        is_random = epoch < self.use_epoch
        action = ops.where(
            is_random,
            ops.clip(drawn / self.logit_bound, -1.0, 1.0),
            self.learner.act(self.observe(losses), drawn),
        )
        logits = ops.where(is_random, drawn, self.logit_bound * action)
        self.last_losses.assign(losses)
        self.last_action.assign(action)
        self.steps.assign(self.steps + 1)
        balanced = shared_by(logits, losses > TINY)
        return balanced * inverse(losses)

    def update_base(self, losses: Tensor, epoch: Tensor) -> None:
        counts = ops.convert_to_tensor(self.loss_count)
        # A task without a label in the base epoch has its first loss as base.
        counted = ops.logical_or(
            ops.equal(epoch, self.base_epoch),
            ops.logical_and(epoch > self.base_epoch, ops.equal(counts, 0)),
        )
        counted = ops.cast(ops.logical_and(counted, losses > TINY), "float32")
        self.count_losses(losses, counted)

    def update_scale(self) -> None:
        """Computes α, the factor of the reward of this step."""
        if not self.scale_reward:
            return
        rate = ops.maximum(self.model_learning_rate, TINY)
        self.largest_rate.assign(ops.maximum(self.largest_rate, rate))
        scale = ops.minimum(self.largest_rate / rate, MAX_REWARD_SCALE)
        self.last_scale.assign(scale)
