import functools
import math
import random
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_mtl.agents.agent import MAX_LOG_SCALE
from keras_mtl.agents.agent import MIN_LOG_SCALE
from keras_mtl.agents.agent import Agent
from keras_mtl.agents.registry import register
from keras_mtl.backend.compiling import compiled
from keras_mtl.backend.compiling import compiled_reader
from keras_mtl.backend.gradients import gradient

Tensor = Any


BETA_1, BETA_2 = 0.9, 0.999


@register("keras", package="keras_mtl")
class KerasAgent(Agent):
    """Soft actor-critic in Keras, on every backend.

    Args:
        **kwargs: See `Agent`.

    Example:

    >>> agent = keras_mtl.agents.KerasAgent(seed=0)
    >>> agent.build(num_tasks=3)
    >>> agent.act(np.ones(3, "float32"), np.zeros(3, "float32")).shape
    (3,)

    Reference:
        - [Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905), Algorithm 1
          and appendix C (the density of the squashed normal distribution).
    """

    # The vectors of the state that an optimizer moves.
    learned = ("critics", "actor", "log_temperature")

    def build(self, num_tasks: int) -> None:
        if self.target_entropy is None:
            self.target_entropy = -float(num_tasks)
        seed = random.randrange(2**30) if self.seed is None else self.seed
        rng = np.random.default_rng(seed)
        self.actor_shapes = shapes(
            (num_tasks, *self.hidden_units, 2 * num_tasks)
        )
        # The two critics are one network with one more axis.
        critic_sizes = (2 * num_tasks, *self.hidden_units, 1)
        self.critic_shapes = shapes(critic_sizes, copies=(2,))
        critics = first_weights(rng, self.critic_shapes, critic_limit)
        # Each network is one vector: so an update has few operations, and is
        # compiled quickly.
        first = {
            "actor": first_weights(rng, self.actor_shapes, actor_limit),
            "critics": critics,
            "targets": critics,
            "log_temperature": np.log([self.initial_temperature]),
            "updates": np.zeros(()),
        }
        for name in self.learned:
            first[f"{name}_mean"] = np.zeros_like(first[name])
            first[f"{name}_square"] = np.zeros_like(first[name])
        self.state = {
            name: self.add_weight(
                value.shape,
                functools.partial(_constant, value),
                trainable=False,
                name=name,
            )
            for name, value in first.items()
        }
        self._compiled = {}
        self._learn = compiled(self._update_if_finite)

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        observation = ops.convert_to_tensor(observation, "float32")
        noise = ops.convert_to_tensor(noise, "float32")
        actor = split(ops.copy(self.state["actor"]), self.actor_shapes)
        actions, _ = draw(actor, observation[None], noise[None])
        return actions[0]

    def learn(
        self, transitions: dict[str, Tensor], noise: dict[str, Tensor]
    ) -> None:
        state = {name: ops.copy(v) for name, v in self.state.items()}
        self._assign(self._learn(state, transitions, noise))

    def run_updates(self, count: Tensor | int, sample: Callable) -> None:
        count = ops.convert_to_tensor(count, "int32")
        # The updates are many operations on small tensors: they are compiled
        # once, even where the step is not.
        if sample not in self._compiled:
            train = functools.partial(self._train, sample)
            self._compiled[sample] = compiled_reader(train)
        state = {name: ops.copy(v) for name, v in self.state.items()}
        new = ops.cond(
            count > 0,
            lambda: self._compiled[sample](state, count),
            lambda: state,
        )
        self._assign(new)

    def _assign(self, state):
        for name, variable in self.state.items():
            variable.assign(state[name])

    def _train(self, sample, state, count):
        """Makes updates, and none if they lead to what is not finite."""
        new = ops.fori_loop(
            0, count, lambda i, state: self.update(state, *sample(i)), state
        )
        return _new_if_finite(new, state)

    def _update_if_finite(self, state, transitions, noise):
        return _new_if_finite(self.update(state, transitions, noise), state)

    def update(
        self,
        state: dict[str, Tensor],
        transitions: dict[str, Tensor],
        noise: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Makes one update, a pure function of tensors.

        Args:
            state: Dict of tensors, the values of `self.state`.
            transitions: See `Agent.learn`.
            noise: See `Agent.learn`.

        Returns:
            The new state.
        """
        state = {**state, "updates": state["updates"] + 1.0}
        observation = transitions["observation"]
        temperature = ops.exp(state["log_temperature"])
        target = self._target(state, transitions, noise["next"])

        def critic_loss(critics):
            found = values(critics, observation, transitions["action"])
            return 0.5 * ops.sum(ops.mean(ops.square(found - target), axis=1))

        critics = split(state["critics"], self.critic_shapes)
        state = self._descend(state, "critics", gradient(critic_loss, critics))
        critics = split(state["critics"], self.critic_shapes)

        def actor_loss(actor):
            actions, log_densities = draw(actor, observation, noise["actor"])
            value = ops.min(values(critics, observation, actions), axis=0)
            return ops.mean(temperature * log_densities - value)

        actor = split(state["actor"], self.actor_shapes)
        state = self._descend(state, "actor", gradient(actor_loss, actor))
        actor = split(state["actor"], self.actor_shapes)
        _, log_densities = draw(actor, observation, noise["actor"])
        surplus = -ops.mean(log_densities) - self.target_entropy
        state = self._descend(state, "log_temperature", [surplus])
        change = self.target_rate * (state["critics"] - state["targets"])
        return {**state, "targets": state["targets"] + change}

    def _target(self, state, transitions, noise):
        """Returns what the critics should say, shape `(B,)`."""
        following = transitions["next_observation"]
        actor = split(state["actor"], self.actor_shapes)
        actions, log_densities = draw(actor, following, noise)
        targets = split(state["targets"], self.critic_shapes)
        value = ops.min(values(targets, following, actions), axis=0)
        soft = value - ops.exp(state["log_temperature"]) * log_densities
        return transitions["reward"] + self.discount * soft

    def _descend(self, state, name, gradients):
        """Takes Adam's step of one vector of the state."""
        slope = ops.concatenate([ops.reshape(g, (-1,)) for g in gradients])
        mean, square = state[f"{name}_mean"], state[f"{name}_square"]
        mean = mean + (1 - BETA_1) * (slope - mean)
        square = square + (1 - BETA_2) * (ops.square(slope) - square)
        bias_1 = 1 - ops.power(BETA_1, state["updates"])
        bias_2 = 1 - ops.power(BETA_2, state["updates"])
        rate = self.learning_rate * ops.sqrt(bias_2) / bias_1
        change = rate * mean / (ops.sqrt(square) + self.epsilon)
        new = {name: state[name] - change}
        return {**state, **new, f"{name}_mean": mean, f"{name}_square": square}

    def get_networks(self) -> dict[str, Any]:
        def arrays(name, shapes):
            tensors = split(ops.copy(self.state[name]), shapes)
            return [ops.convert_to_numpy(tensor) for tensor in tensors]

        def plain(weights):
            # A bias has one more axis here than in the networks.
            return [w[0] if i % 2 else w for i, w in enumerate(weights)]

        networks = {"actor": plain(arrays("actor", self.actor_shapes))}
        for name in ("critics", "targets"):
            both = arrays(name, self.critic_shapes)
            networks[name] = [plain([w[i] for w in both]) for i in range(2)]
        temperature = ops.convert_to_numpy(self.state["log_temperature"])
        return {**networks, "log_temperature": temperature[0]}

    def set_networks(self, networks: dict[str, Any]) -> None:
        def vector(weights):
            return np.concatenate([np.reshape(w, -1) for w in weights])

        self.state["actor"].assign(vector(networks["actor"]))
        for name in ("critics", "targets"):
            both = [np.stack(pair) for pair in zip(*networks[name])]
            self.state[name].assign(vector(both))
        self.state["log_temperature"].assign([networks["log_temperature"]])


def shapes(
    sizes: Sequence[int], copies: Sequence[int] = ()
) -> list[tuple[int, ...]]:
    """Returns the shapes of `[kernel, bias, ...]` of dense layers."""
    layers = [
        [(*copies, inputs, outputs), (*copies, 1, outputs)]
        for inputs, outputs in zip(sizes, sizes[1:])
    ]
    return sum(layers, [])


def split(vector: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Returns the tensors of the given shapes that a vector consists of."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    starts = [0, *ends]
    return [
        ops.reshape(vector[start:end], shape)
        for start, end, shape in zip(starts, ends, shapes)
    ]


# The limits of the first weights are those of the networks of TF-Agents.


def actor_limit(inputs: int, outputs: int) -> float:
    return math.sqrt(6 / (inputs + outputs))


def critic_limit(inputs: int, outputs: int) -> float:
    return 0.003 if outputs == 1 else 1 / math.sqrt(inputs)


def first_weights(
    rng: np.random.Generator,
    shapes: Sequence[tuple[int, ...]],
    limit: Callable[[int, int], float],
) -> np.ndarray:
    """Draws kernels from uniform distributions, as one vector."""
    parts = []
    for kernel, bias in zip(shapes[::2], shapes[1::2]):
        largest = limit(*kernel[-2:])
        parts.append(rng.uniform(-largest, largest, math.prod(kernel)))
        parts.append(np.zeros(math.prod(bias)))
    return np.concatenate(parts)


def _new_if_finite(new, old):
    """Returns a state, or the old one if a value of the new is not finite."""
    finite = [ops.all(ops.isfinite(value)) for value in new.values()]
    finite = ops.all(ops.stack(finite))
    return {name: ops.where(finite, new[name], old[name]) for name in old}


def _constant(value, shape, dtype=None):
    return ops.convert_to_tensor(value, dtype)


def network(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Applies dense layers `[kernel, bias, ...]`, with ReLU but at the end."""
    for i in range(0, len(weights), 2):
        x = ops.relu(x) if i else x
        x = ops.matmul(x, weights[i]) + weights[i + 1]
    return x


def values(
    critics: Sequence[Tensor], observation: Tensor, action: Tensor
) -> Tensor:
    """Returns what the critics say, shape `(2, B)`."""
    both = ops.concatenate([observation, action], axis=-1)
    # The critics' first layers are one product, as both have the same inputs.
    # The others are two products, which are faster than a batch of two.
    first = [ops.concatenate([w[0], w[1]], axis=-1) for w in critics[:2]]
    hidden = ops.split(ops.relu(network(first, both)), 2, axis=-1)
    found = [
        network([w[i] for w in critics[2:]], hidden[i])[:, 0] for i in range(2)
    ]
    return ops.stack(found)


def draw(
    actor: Sequence[Tensor], observation: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws actions, shape `(B, T)`, with their log-densities, `(B,)`."""
    mean, log_scale = ops.split(network(actor, observation), 2, axis=-1)
    log_scale = ops.clip(log_scale, MIN_LOG_SCALE, MAX_LOG_SCALE)
    logits = mean + ops.exp(log_scale) * noise
    return ops.tanh(logits), log_density(logits, log_scale, noise)


def log_density(logits: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
    """Log-density of tanh(logits), summed over the last axis.

    Args:
        logits: Tensor of shape `(..., T)`, mean + exp(log_scale) noise.
        log_scale: Tensor of shape `(..., T)`.
        noise: Tensor of shape `(..., T)`, standard normal.
    """
    normal = -0.5 * ops.square(noise) - log_scale - 0.5 * math.log(2 * math.pi)
    # This is log(1 - tanh²), which written so is -inf in float32 from logits of
    # 9 on. `log` and `exp` are vectorized where `softplus` is not.
    size = ops.abs(logits)
    slope = 2.0 * (math.log(2.0) - size - ops.log(1.0 + ops.exp(-2.0 * size)))
    return ops.sum(normal - slope, axis=-1)
