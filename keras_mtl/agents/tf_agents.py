import functools
from collections.abc import Callable
from typing import Any

from keras_mtl.agents.agent import MAX_LOG_SCALE
from keras_mtl.agents.agent import MIN_LOG_SCALE
from keras_mtl.agents.agent import Agent
from keras_mtl.agents.legacy_keras import import_tf_agents
from keras_mtl.agents.legacy_keras import legacy_keras
from keras_mtl.agents.registry import register
from keras_mtl.agents.sac import KerasAgent
from keras_mtl.agents.state import load_state

Tensor = Any


tf, tf_agents = import_tf_agents()


class SacAgent(tf_agents.agents.SacAgent):
    """`SacAgent` of TF-Agents, with the caller's noise in all that it draws."""

    def set_noise(self, noise: Tensor) -> None:
        # The noise is kept in a function, since TensorFlow would track a tensor
        # as a part of the agent.
        self._noise = lambda: noise

    def _actions_and_log_probs(self, time_steps, training=False):
        distribution = self._train_policy.distribution(time_steps).action
        return draw(distribution, self._noise())


@register("tf_agents", package="keras_mtl")
class TFAgentsAgent(Agent):
    """Soft actor-critic of TF-Agents, on the TensorFlow backend.

    Agent, networks, distribution and losses are those of TF-Agents, and the
    optimizers those of Keras 2. `SacAgent.train` itself is not called, as it
    stops the training with an error where a loss overflows: here, updates that
    are not finite change nothing. With the same seed, the first weights are
    those of `KerasAgent`.

    Args:
        **kwargs: See `Agent`.

    Raises:
        ImportError: On import, if the backend is not TensorFlow or TF-Agents
            is not installed.

    Example:

    >>> agent = keras_mtl.agents.get("tf_agents")(seed=0)
    >>> agent.build(num_tasks=3)
    >>> tuple(agent.act(np.ones(3, "float32"), np.zeros(3, "float32")).shape)
    (3,)

    Reference:
        - [Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905),
          Algorithm 1.
        - [TF-Agents](https://github.com/tensorflow/agents), `SacAgent`.
    """

    def build(self, num_tasks: int) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                "Expected one device, on which alone the TF-Agents agent runs. "
                f"Received: {replicas} replicas"
            )
        if self.target_entropy is None:
            self.target_entropy = -float(num_tasks)
        # The layer may be built while a function is traced.
        with tf.init_scope(), legacy_keras():
            self._build_agent(num_tasks)
            self._build_moments()
            first = KerasAgent(
                self.hidden_units,
                initial_temperature=self.initial_temperature,
                seed=self.seed,
            )
            first.build(num_tasks)
            self.set_networks(first.get_networks())
        # The update is compiled even where the model is not: it is some hundred
        # operations on small tensors, three times as fast in one.
        self._compiled_update = tf.function(
            self.update, autograph=False, jit_compile=True
        )

    def _build_agent(self, num_tasks):
        specs, shape = tf_agents.specs, (num_tasks,)
        observation = specs.TensorSpec(shape, "float32")
        action = specs.BoundedTensorSpec(shape, "float32", -1.0, 1.0)
        self._build_networks(observation, action)
        self.optimizers = {
            name: tf.keras.optimizers.legacy.Adam(
                self.learning_rate, epsilon=self.epsilon
            )
            for name in ("critics", "actor", "log_temperature")
        }
        self.agent = SacAgent(
            tf_agents.trajectories.time_step_spec(observation),
            action,
            actor_network=self.actor,
            critic_network=self.critics[0],
            critic_network_2=self.critics[1],
            target_critic_network=self.targets[0],
            target_critic_network_2=self.targets[1],
            actor_optimizer=self.optimizers["actor"],
            critic_optimizer=self.optimizers["critics"],
            alpha_optimizer=self.optimizers["log_temperature"],
            gamma=self.discount,
            target_update_tau=self.target_rate,
            target_entropy=self.target_entropy,
            # By default the agent would count in TensorFlow's global step.
            train_step_counter=tf.Variable(0, dtype="int64"),
        )
        self.learned = {
            "critics": self.critics[0].variables + self.critics[1].variables,
            "actor": self.actor.variables,
            "log_temperature": [self.agent._log_alpha],
        }

    def _build_networks(self, observation, action):
        from tf_agents.agents.ddpg import critic_network
        from tf_agents.agents.sac import tanh_normal_projection_network
        from tf_agents.networks import actor_distribution_network

        projection = functools.partial(
            tanh_normal_projection_network.TanhNormalProjectionNetwork,
            std_transform=lambda x: tf.exp(
                tf.clip_by_value(x, MIN_LOG_SCALE, MAX_LOG_SCALE)
            ),
        )
        self.actor = actor_distribution_network.ActorDistributionNetwork(
            observation,
            action,
            fc_layer_params=self.hidden_units,
            kernel_initializer="glorot_uniform",
            continuous_projection_net=projection,
        )
        critics = [
            critic_network.CriticNetwork(
                (observation, action),
                joint_fc_layer_params=self.hidden_units,
                name=name,
            )
            for name in ("critic_1", "critic_2", "target_1", "target_2")
        ]
        self.critics, self.targets = critics[:2], critics[2:]

    def _build_moments(self):
        """Makes the state of the optimizers, which a loop may not make."""
        for name, variables in self.learned.items():
            zeros = [tf.zeros_like(v) for v in variables]
            self.optimizers[name].apply_gradients(zip(zeros, variables))
            self.optimizers[name].iterations.assign(0)

    @property
    def tf_variables(self) -> list[Any]:
        """All state of the agent, which Keras 3 does not track."""
        parts = [
            *self.learned.values(),
            *(target.variables for target in self.targets),
            *(optimizer.variables() for optimizer in self.optimizers.values()),
        ]
        return [variable for part in parts for variable in part]

    def untracked_variables(self) -> list[Any]:
        return self.tf_variables

    # AutoGraph would translate TF-Agents, which takes seconds.
    @tf.autograph.experimental.do_not_convert
    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        observation = tf.convert_to_tensor(observation, "float32")
        noise = tf.convert_to_tensor(noise, "float32")
        distribution, _ = self.actor(observation[None], (), ())
        return draw(distribution, noise[None])[0][0]

    @tf.autograph.experimental.do_not_convert
    def run_updates(self, count: Tensor | int, sample: Callable) -> None:
        count = tf.convert_to_tensor(count, "int32")

        def update(i):
            self._compiled_update(*sample(i))
            return [i + 1]

        def train():
            variables = self.tf_variables
            before = [tf.identity(v) for v in variables]
            tf.while_loop(lambda i: i < count, update, [0])
            finite = [
                tf.reduce_all(tf.math.is_finite(v))
                for v in variables
                if v.dtype.is_floating
            ]
            finite = tf.reduce_all(finite)
            for variable, value in zip(variables, before):
                variable.assign(tf.where(finite, variable, value))

        tf.cond(count > 0, train, lambda: None)

    def update(
        self, transitions: dict[str, Tensor], noise: dict[str, Tensor]
    ) -> None:
        """Makes one update, on TensorFlow's variables.

        Args:
            transitions: See `Agent.learn`.
            noise: See `Agent.learn`.
        """
        agent = self.agent
        now = time_step(transitions["observation"], transitions["reward"])
        later = time_step(
            transitions["next_observation"], transitions["reward"]
        )
        agent.set_noise(noise["next"])
        self._descend(
            "critics",
            lambda: (
                0.5
                * agent.critic_loss(
                    now,
                    transitions["action"],
                    later,
                    td_errors_loss_fn=tf.math.squared_difference,
                    gamma=self.discount,
                    training=True,
                )
            ),
        )
        agent.set_noise(noise["actor"])
        self._descend("actor", lambda: agent.actor_loss(now, training=True))
        self._descend(
            "log_temperature", lambda: agent.alpha_loss(now, training=True)
        )
        for critic, target in zip(self.critics, self.targets):
            tf_agents.utils.common.soft_variables_update(
                critic.variables, target.variables, self.target_rate
            )

    def _descend(self, name, loss):
        variables = self.learned[name]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = loss()
        gradients = tape.gradient(value, variables)
        self.optimizers[name].apply_gradients(zip(gradients, variables))

    def get_networks(self) -> dict[str, Any]:
        def weights(network):
            return [v.numpy() for v in network.variables]

        return {
            "actor": weights(self.actor),
            "critics": [weights(critic) for critic in self.critics],
            "targets": [weights(target) for target in self.targets],
            "log_temperature": self.agent._log_alpha.numpy(),
        }

    def set_networks(self, networks: dict[str, Any]) -> None:
        pairs = [
            (self.actor, networks["actor"]),
            *zip(self.critics, networks["critics"]),
            *zip(self.targets, networks["targets"]),
        ]
        for network, weights in pairs:
            for variable, value in zip(network.variables, weights):
                variable.assign(value)
        self.agent._log_alpha.assign(networks["log_temperature"])

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.tf_variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        load_state(self, store, self.tf_variables)


def time_step(observation: Tensor, reward: Tensor) -> Any:
    """Returns a step from which the episode goes on."""
    ones = tf.ones_like(reward)
    return tf_agents.trajectories.TimeStep(
        tf.cast(ones, "int32"), reward, ones, observation
    )


def draw(distribution: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draws actions, shape `(B, T)`, with their log-densities, `(B,)`.

    Args:
        distribution: Normal distribution of TF-Agents, squashed to (-1, 1).
        noise: Tensor of shape `(B, T)`, standard normal.
    """
    normal = distribution.input_distribution
    logits = normal.mean() + normal.stddev() * noise
    # The log-density is computed from the logits. `log_prob(action)` would
    # find them again from the action, where float32 has lost them near ±1.
    tanh = tf_agents.distributions.tanh_bijector_stable.Tanh()
    slope = tanh.forward_log_det_jacobian(logits, event_ndims=1)
    return tf.tanh(logits), normal.log_prob(logits) - slope
