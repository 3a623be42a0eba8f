from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.agents.state import load_state
from keras_mtl.backend import checks

Tensor = Any

# The bounds of log σ in the official code of soft actor-critic: beyond them,
# one overflow would end learning.
MIN_LOG_SCALE, MAX_LOG_SCALE = -20.0, 2.0


class Agent(keras.layers.Layer):
    """Base class of the soft actor-critic agents that weight the tasks.

    Both agents are the same algorithm on the same networks: with the same
    weights, transitions and noise, one update of each gives the same result.

    - Actor: a network of `T` inputs, `hidden_units` with ReLU and `2 T`
      outputs, the means μ and log σ, within [-20, 2], of a normal distribution;
      the action is tanh(μ + σ noise), in (-1, 1).
    - Twin critics: networks of the `2 T` values (observation, action),
      `hidden_units` with ReLU, and one output. Their targets start as copies.
    - One update, in this order, each step with the results of those before:
      critics (half the sum of the two mean squared errors, against
      reward + discount (min Q' - temperature log π) of an action drawn with
      `noise["next"]`), actor (the mean of temperature log π - min Q, with
      `noise["actor"]`), temperature (the mean of
      -log temperature (log π + target entropy), with `noise["actor"]` and the
      actor just updated), and targets (exponential moving averages).
    - Three Adam optimizers as Keras's: ε is added to the square root of the
      second moment before its bias is corrected.

    No agent draws random numbers after `build`, and none is terminal: an
    episode has no end.

    Args:
        hidden_units: Sizes of the hidden layers of actor and critics.
        learning_rate: Learning rate of actor, critics and temperature.
        discount: Discount γ of the reward of the next step.
        target_rate: Share of the critics in each update of the targets.
        target_entropy: Entropy that the temperature keeps, in nats; by default
            `-T`.
        initial_temperature: The temperature before the first update: what one
            nat of the policy's entropy is worth in units of the reward.
        epsilon: Adam's ε.
        seed: Integer or `None`, for the first weights of the networks.

    Raises:
        ValueError: If an argument is not of the kind that is named above.
    """

    def __init__(
        self,
        hidden_units: Sequence[int] = (128, 128),
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        target_rate: float = 0.005,
        target_entropy: float | None = None,
        initial_temperature: float = 1.0,
        epsilon: float = 1e-7,
        seed: int | None = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.hidden_units = tuple(checks.sizes("hidden_units", hidden_units))
        self.learning_rate = checks.positive("learning_rate", learning_rate)
        self.discount = checks.fraction("discount", discount)
        self.target_rate = checks.fraction("target_rate", target_rate)
        if target_entropy is not None:
            target_entropy = checks.finite("target_entropy", target_entropy)
        self.target_entropy = target_entropy
        self.initial_temperature = checks.positive(
            "initial_temperature", initial_temperature
        )
        self.epsilon = checks.positive("epsilon", epsilon)
        self.seed = checks.seed("seed", seed)

    def build(self, num_tasks: int) -> None:
        """Makes networks, optimizers and all their state, for `T` tasks.

        All that a later run needs to go on is saved and restored with the
        layer (`save_own_variables`, `load_own_variables`).
        """
        raise NotImplementedError

    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Returns an action.

        Args:
            observation: Float32 tensor of shape `(T,)`.
            noise: Float32 tensor of shape `(T,)`, standard normal.

        Returns:
            Float32 tensor of shape `(T,)`, in (-1, 1).
        """
        raise NotImplementedError

    # The method is not called `train`, since layers are modules on PyTorch, and
    # those have a method of that name.

    def learn(
        self, transitions: dict[str, Tensor], noise: dict[str, Tensor]
    ) -> None:
        """Makes one update of critics, actor, temperature and targets.

        Args:
            transitions: Dict of float32 tensors: `observation`, `action` and
                `next_observation` of shape `(B, T)`, `reward` of shape `(B,)`.
            noise: Dict of float32 tensors of shape `(B, T)`, standard normal:
                `actor` and `next`.
        """
        self.run_updates(ops.ones((), "int32"), lambda _: (transitions, noise))

    def run_updates(self, count: Tensor | int, sample: Callable) -> None:
        """Makes `count` updates.

        Variables are assigned here, which may not be inside of a condition or
        a loop on JAX: the caller gives a count of 0 instead of calling in a
        branch.

        Args:
            count: Integer tensor, known in the graph only; 0 changes nothing.
            sample: Function that takes the number of the update, an int32
                tensor from 0, and returns `transitions` and `noise` as `learn`
                takes them. It depends on tensors alone, reads and writes no
                random state, and may be traced once for all updates.
        """
        raise NotImplementedError

    def untracked_variables(self) -> list[Any]:
        """Lists the state that is not in Keras variables."""
        return []

    def get_networks(self) -> dict[str, Any]:
        """Returns the weights of all networks as NumPy arrays.

        Returns:
            Dict of `actor`, a list `[kernel, bias, ...]` from the first layer
            to the last, with kernels of shape `(inputs, outputs)`; `critics`
            and `targets`, each a list of two such lists; and
            `log_temperature`, a scalar.
        """
        raise NotImplementedError

    def load_own_variables(self, store: Any) -> None:
        load_state(self, store)

    def set_networks(self, networks: dict[str, Any]) -> None:
        """Sets the weights of all networks, as `get_networks` returns them."""
        raise NotImplementedError
