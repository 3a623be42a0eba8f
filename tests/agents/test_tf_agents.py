import functools
import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from keras import tree

from keras_mtl import agents
from keras_mtl.agents import noise as noises
from keras_mtl.agents.legacy_keras import import_tf_agents
from tests import utils
from tests.test_mixed_precision import check_skipped_steps
from tests.test_mixed_precision import igb_v2
from tests.utils import further_cases

ROOT = pathlib.Path(__file__).parents[2]
MISSING = [
    name
    for name in ("tensorflow", "tf_agents", "tf_keras")
    if importlib.util.find_spec(name) is None
]
REASON = "not installed: " + ", ".join(MISSING)
if keras.backend.backend() != "tensorflow":
    REASON = "TF-Agents needs the TensorFlow backend"
needs_tf_agents = pytest.mark.skipif(
    bool(MISSING) or keras.backend.backend() != "tensorflow", reason=REASON
)
TASKS, BATCH = 2, 8
# The updates are what is compared: larger rates than the defaults, and an ε
# with which gradients do not matter that float32 does not know exactly.
OPTIONS = {
    "learning_rate": 0.01,
    "discount": 0.9,
    "target_rate": 0.1,
    "epsilon": 1e-3,
}
COMPILED = pytest.mark.parametrize("compiled", ["eager", "xla"])


def make_agent(name="tf_agents", tasks=TASKS, **kwargs):
    options = {"hidden_units": (6, 5), "seed": 1, **kwargs}
    agent = agents.get(name)(**options)
    agent.build(tasks)
    return agent


def make_batches(count=1, tasks=TASKS, batch=BATCH, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype("float32")

    batches = []
    for _ in range(count):
        transitions = {
            "observation": normal(batch, tasks),
            "action": np.tanh(normal(batch, tasks)),
            "reward": normal(batch),
            "next_observation": normal(batch, tasks),
        }
        noise = {name: normal(batch, tasks) for name in ("actor", "next")}
        batches.append((transitions, noise))
    return batches


def stack(batches):
    return tree.map_structure(lambda *x: np.stack(x), *batches)


def update(agent, count, batches):
    agent.run_updates(
        count, lambda i: tree.map_structure(lambda x: x[i], batches)
    )


@functools.cache
def make_compiled():
    """Returns an agent and its compiled `update`.

    The tests share them, as compiling takes most of the time.
    """
    import tensorflow as tf

    agent = make_agent(**OPTIONS)
    function = functools.partial(update, agent)
    return agent, tf.function(function, jit_compile=True)


def run_updates(agent, batches, compiled="eager"):
    """Makes one update a batch, all in one call."""
    import tensorflow as tf

    count, batches = len(batches), stack(batches)
    batches = tree.map_structure(tf.constant, batches)
    if compiled == "eager":
        return update(agent, count, batches)
    same, function = make_compiled()
    same.load_own_variables(own_variables(agent))
    function(tf.constant(count), batches)
    agent.load_own_variables(own_variables(same))


def own_variables(agent):
    store = {}
    agent.save_own_variables(store)
    return store


def assert_same(networks, expected, **tolerance):
    for name, part in expected.items():
        for value, other in zip(
            tree.flatten(networks[name]), tree.flatten(part)
        ):
            np.testing.assert_allclose(value, other, err_msg=name, **tolerance)


class Reference:
    """Soft actor-critic in float64, with gradients by finite differences."""

    def __init__(self, networks, learning_rate, discount, target_rate, epsilon):
        as_float64 = lambda x: np.asarray(x, "float64")  # noqa: E731
        self.parts = tree.map_structure(as_float64, networks)
        self.rate, self.epsilon = learning_rate, epsilon
        self.discount, self.target_rate = discount, target_rate
        self.moments, self.updates = {}, 0

    def mlp(self, weights, x):
        for i in range(0, len(weights), 2):
            x = np.maximum(x, 0) if i else x
            x = x @ weights[i] + weights[i + 1]
        return x

    def draw(self, actor, observation, noise):
        mean, log_scale = np.split(self.mlp(actor, observation), 2, axis=-1)
        action = np.tanh(mean + np.exp(log_scale) * noise)
        density = np.exp(-(noise**2) / 2) / np.sqrt(2 * np.pi)
        density = density / np.exp(log_scale) / (1 - action**2)
        return action, np.log(density.prod(axis=-1))

    def value(self, critics, observation, action):
        x = np.concatenate([observation, action], axis=-1)
        return np.min([self.mlp(critic, x)[:, 0] for critic in critics], axis=0)

    def critic_loss(self, critics, batch, noise):
        parts = self.parts
        later = batch["next_observation"]
        action, log_density = self.draw(parts["actor"], later, noise["next"])
        value = self.value(parts["targets"], later, action)
        value = value - np.exp(parts["log_temperature"]) * log_density
        target = batch["reward"] + self.discount * value
        x = np.concatenate([batch["observation"], batch["action"]], axis=-1)
        return sum(
            0.5 * np.mean((self.mlp(critic, x)[:, 0] - target) ** 2)
            for critic in critics
        )

    def actor_loss(self, actor, batch, noise):
        now, temperature = batch["observation"], self.parts["log_temperature"]
        action, log_density = self.draw(actor, now, noise["actor"])
        value = self.value(self.parts["critics"], now, action)
        return np.mean(np.exp(temperature) * log_density - value)

    def temperature_loss(self, log_temperature, batch, noise):
        now, actor = batch["observation"], self.parts["actor"]
        _, log_density = self.draw(actor, now, noise["actor"])
        return -log_temperature * np.mean(log_density - TASKS)

    def descend(self, name, loss, batch, noise):
        flat = tree.flatten(self.parts[name])
        sizes = np.cumsum([x.size for x in flat])[:-1]
        vector = np.concatenate([x.ravel() for x in flat])

        def pack(vector):
            values = [
                x.reshape(old.shape)
                for x, old in zip(np.split(vector, sizes), flat)
            ]
            return tree.pack_sequence_as(self.parts[name], values)

        steps = 1e-6 * np.eye(vector.size)
        gradient = [
            (
                loss(pack(vector + step), batch, noise)
                - loss(pack(vector - step), batch, noise)
            )
            / 2e-6
            for step in steps
        ]
        mean, square = self.moments.get(name, (0.0, 0.0))
        mean = 0.9 * mean + 0.1 * np.array(gradient)
        square = 0.999 * square + 0.001 * np.array(gradient) ** 2
        self.moments[name] = mean, square
        correction = np.sqrt(1 - 0.999**self.updates) / (1 - 0.9**self.updates)
        step = correction * mean / (np.sqrt(square) + self.epsilon)
        self.parts[name] = pack(vector - self.rate * step)

    def update(self, batch, noise):
        self.updates += 1
        self.descend("critics", self.critic_loss, batch, noise)
        self.descend("actor", self.actor_loss, batch, noise)
        self.descend("log_temperature", self.temperature_loss, batch, noise)
        rate = self.target_rate
        self.parts["targets"] = tree.map_structure(
            lambda new, old: rate * new + (1 - rate) * old,
            self.parts["critics"],
            self.parts["targets"],
        )


@needs_tf_agents
@pytest.mark.slow
@pytest.mark.parametrize("compiled", ["xla", "eager"])
def test_updates_are_those_of_the_paper(compiled):
    agent = make_agent(**OPTIONS)
    # Biases of 0 may leave a unit at the kink of its ReLU.
    rng = np.random.default_rng(1)
    networks = tree.map_structure(
        lambda x: x + rng.normal(size=x.shape, scale=0.2), agent.get_networks()
    )
    agent.set_networks(networks)
    reference = Reference(networks, **OPTIONS)
    batches = make_batches(6)
    for transitions, noise in batches:
        reference.update(transitions, noise)
    run_updates(agent, batches, compiled)
    assert_same(agent.get_networks(), reference.parts, rtol=1e-4, atol=1e-4)


@needs_tf_agents
def test_an_update_is_that_of_sac_agent():
    import tensorflow as tf
    from tf_agents import trajectories

    agent, other = make_agent(), make_agent()
    for batch in make_batches(4):
        transitions, noise = tree.map_structure(tf.constant, batch)
        agent.learn(transitions, noise)
        ones = tf.ones((BATCH,))
        step = tf.ones((BATCH,), "int32")
        now, later = (
            trajectories.TimeStep(
                step, transitions["reward"], ones, transitions[name]
            )
            for name in ("observation", "next_observation")
        )
        draws = iter([noise["next"], noise["actor"], noise["actor"]])
        other.agent._noise = lambda draws=draws: next(draws)
        action = trajectories.PolicyStep(transitions["action"])
        other.agent.train(trajectories.Transition(now, action, later))
    assert_same(
        agent.get_networks(), other.get_networks(), rtol=1e-6, atol=1e-7
    )


@needs_tf_agents
def test_the_density_is_that_of_the_distribution():
    from keras_mtl.agents.tf_agents import draw

    agent = make_agent()
    transitions, noise = make_batches()[0]
    distribution, _ = agent.actor(transitions["observation"], (), ())
    action, log_density = draw(distribution, noise["actor"])
    np.testing.assert_allclose(
        log_density, distribution.log_prob(action), rtol=1e-4
    )
    # Actions of 1.0 in float32, whose density is still that of the logits.
    action, log_density = draw(distribution, 30 * noise["actor"])
    assert np.abs(action).max() == 1.0
    assert np.isfinite(log_density).all()


# Each is compared with the same reference in less time.
@pytest.mark.slow
@needs_tf_agents
@pytest.mark.parametrize("tasks", [1, 3, 11])
def test_both_agents_make_the_same_updates(tasks):
    options = {"tasks": tasks, "hidden_units": (128, 128)}
    agent = make_agent(**options)
    keras_agent = make_agent("keras", **options)
    assert_same(agent.get_networks(), keras_agent.get_networks(), rtol=0)
    # The weights of one are those of the other.
    other = make_agent("keras", **{**options, "seed": 2})
    agent.set_networks(other.get_networks())
    keras_agent.set_networks(other.get_networks())
    assert_same(agent.get_networks(), other.get_networks(), rtol=0)
    batches = make_batches(3, tasks, batch=64)
    for transitions, noise in batches:
        agent.learn(transitions, noise)
        keras_agent.learn(transitions, noise)
        assert_same(
            agent.get_networks(),
            keras_agent.get_networks(),
            rtol=1e-4,
            atol=1e-6,
        )
        observation = transitions["observation"][0]
        np.testing.assert_allclose(
            agent.act(observation, noise["actor"][0]),
            keras_agent.act(observation, noise["actor"][0]),
            atol=1e-4,
        )


@needs_tf_agents
def test_a_compiled_action_is_an_action():
    import tensorflow as tf

    agent = make_agent()
    transitions, noise = make_batches()[0]
    args = transitions["observation"][0], noise["actor"][0]
    expected = agent.act(*args)
    assert expected.shape == (TASKS,) and expected.dtype == "float32"
    for jit_compile in (False, True):
        act = tf.function(agent.act, jit_compile=jit_compile)
        np.testing.assert_allclose(act(*args), expected, rtol=1e-5)


def state(agent):
    return [v.numpy() for v in agent.tf_variables]


def assert_same_state(agent, values):
    for value, other in zip(state(agent), values, strict=True):
        np.testing.assert_array_equal(value, other)


@needs_tf_agents
def test_without_an_update_nothing_changes():
    agent = make_agent()
    before = state(agent)
    agent.run_updates(np.int32(0), lambda i: make_batches()[0])
    assert_same_state(agent, before)


@needs_tf_agents
@COMPILED
@pytest.mark.diagonal
@pytest.mark.parametrize("reward", [1e30, np.nan])
def test_updates_that_are_not_finite_change_nothing(compiled, reward):
    agent = make_agent(**OPTIONS)
    batches = make_batches(6)
    run_updates(agent, batches, compiled)
    before = state(agent)
    batches[1][0]["reward"][2] = reward
    run_updates(agent, batches, compiled)
    assert_same_state(agent, before)


class Holder(layers.Layer):
    """A layer that holds an agent, as a weighting does."""

    def build(self, shape):
        self.agent = make_agent(seed=None)

    def call(self, x):
        return x


def make_holder():
    holder = Holder()
    x = keras.Input((TASKS,))
    return keras.Model(x, holder(x)), holder


@pytest.mark.slow
@needs_tf_agents
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    model, holder = make_holder()
    batches = make_batches(6)
    run_updates(holder.agent, batches[:3])
    model.save_weights(tmp_path / "agent.weights.h5")
    values = state(holder.agent)
    run_updates(holder.agent, batches[3:])
    resumed_model, resumed = make_holder()
    assert not np.allclose(state(resumed.agent)[0], values[0])
    resumed_model.load_weights(tmp_path / "agent.weights.h5")
    assert_same_state(resumed.agent, values)
    run_updates(resumed.agent, batches[3:])
    assert_same_state(resumed.agent, state(holder.agent))


@needs_tf_agents
def test_all_variables_are_saved():
    """None of TF-Agents' but counters that nothing reads."""
    agent = make_agent()
    saved = {id(v) for v in agent.tf_variables}
    others = [v for v in agent.agent.variables if id(v) not in saved]
    assert [v.name for v in others if v.dtype.is_floating] == []
    run_updates(agent, make_batches(2))
    assert all(int(v.numpy()) == 0 for v in others)


@needs_tf_agents
def test_the_state_of_another_agent_is_not_loaded():
    agent, other, store = make_agent(), make_agent(hidden_units=(4,)), {}
    other.save_own_variables(store)
    before = state(agent)
    with pytest.warns(UserWarning, match="Expected the state of TFAgentsAgent"):
        agent.load_own_variables(store)
    agent.load_own_variables({})
    assert_same_state(agent, before)


@needs_tf_agents
def test_seeds():
    first, same = make_agent(seed=3), make_agent(seed=3)
    assert_same_state(first, state(same))
    assert not np.allclose(state(first)[0], state(make_agent(seed=4))[0])
    critics = first.get_networks()["critics"]
    assert not np.allclose(critics[0][0], critics[1][0])


@pytest.mark.slow
@needs_tf_agents
def test_can_be_built_while_a_function_is_traced():
    import tensorflow as tf

    built = []

    @tf.function
    def step(transitions, noise):
        if not built:
            built.append(make_agent())
        built[0].learn(transitions, noise)

    batches = make_batches(2)
    for transitions, noise in batches:
        step(transitions, noise)
    expected = make_agent()
    run_updates(expected, batches)
    assert_same(
        built[0].get_networks(), expected.get_networks(), rtol=1e-4, atol=1e-6
    )


@needs_tf_agents
@pytest.mark.slow
def test_learns_the_best_action():
    """One step, the reward of which is -|action - best(observation)|²."""
    import tensorflow as tf

    agent = make_agent(hidden_units=(32, 32), learning_rate=3e-3, discount=0.0)
    slope = np.array([0.6, -0.6], "float32")

    def sample(i):
        observation, action, actor, later = (
            noises.normal((64, TASKS), j, i) for j in range(4)
        )
        action = tf.tanh(action)
        best = slope * tf.tanh(observation)
        transitions = {
            "observation": observation,
            "action": action,
            "reward": -tf.reduce_sum((action - best) ** 2, axis=-1),
            "next_observation": observation,
        }
        return transitions, {"actor": actor, "next": later}

    tf.function(agent.run_updates)(tf.constant(1000), sample)
    observations = np.random.default_rng(0).normal(size=(20, TASKS))
    zeros = np.zeros(TASKS, "float32")
    actions = np.stack([agent.act(x, zeros) for x in observations])
    best = slope * np.tanh(observations)
    assert np.abs(actions - best).mean() < 0.05


BESIDE = """
import os, sys
import numpy as np, keras, keras_mtl.agents, tensorflow as tf
assert not any(name in sys.modules for name in ("tf_agents", "tf_keras"))
{before}
before = vars(tf)["keras"]
agent = keras_mtl.agents.get("tf_agents")()
agent.build(2)
assert vars(tf)["keras"] is before
from tensorflow.keras import layers
assert tf.keras.layers.Dense is layers.Dense is keras.layers.Dense
assert tf.keras.__version__ == keras.__version__
assert tf.optimizers.Adam is keras.optimizers.Adam
assert "TF_USE_LEGACY_KERAS" not in os.environ
x = np.ones((4, 2), "float32")
transitions = {{"observation": x, "action": x / 2, "next_observation": x,
    "reward": x[:, 0]}}
agent.learn(transitions, {{"actor": x, "next": x}})
model = keras.Sequential([layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, x[:, :1], verbose=0)
assert np.isfinite(agent.act(x[0], x[0])).all()
print("done")
"""
# With Keras 3, TF-Agents cannot be imported.
TOO_LATE = """
tf.keras.layers.Dense; tf.compat.v2.keras.layers
from tensorflow.keras import layers
try:
    import tf_agents
except AttributeError:
    pass
"""


@pytest.mark.slow
@needs_tf_agents
@pytest.mark.parametrize(
    "before",
    [pytest.param("", id="first"), *further_cases(TOO_LATE)],
)
def test_keras_3_goes_on_beside_it(before):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("TF_USE_LEGACY_KERAS", None)
    done = subprocess.run(
        [sys.executable, "-c", BESIDE.format(before=before)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert "done" in done.stdout, done.stderr
    # What Gym prints is not printed.
    assert before or "Gym" not in done.stderr


@needs_tf_agents
def test_says_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_agents", None)
    with pytest.raises(ImportError, match="pip install tf-agents tf-keras"):
        import_tf_agents()


@needs_tf_agents
def test_says_that_tf_agents_was_imported_with_keras_3(monkeypatch):
    tf_agents = agents.get("tf_agents") and sys.modules["tf_agents"]

    class Network(layers.Layer):
        pass

    monkeypatch.setattr(tf_agents.networks, "Network", Network)
    with pytest.raises(ImportError, match="TF_USE_LEGACY_KERAS=1 before"):
        import_tf_agents()


@needs_tf_agents
def test_says_that_it_runs_on_one_device(monkeypatch):
    import tensorflow as tf

    class Strategy:
        num_replicas_in_sync = 2

    agent = agents.get("tf_agents")()
    monkeypatch.setattr(tf.distribute, "get_strategy", Strategy)
    with pytest.raises(ValueError, match="Received: 2 replicas"):
        agent.build(2)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="it is the backend"
)
def test_says_that_it_needs_tensorflow():
    with pytest.raises(ImportError, match="needs the TensorFlow backend"):
        agents.get("tf_agents")
    assert agents.get("auto") is agents.KerasAgent


@pytest.mark.slow
@needs_tf_agents
def test_a_skipped_step_teaches_it_nothing():
    check_skipped_steps(igb_v2("tf_agents"), **utils.EAGER)


@needs_tf_agents
def test_is_chosen_where_it_can_be():
    assert agents.get("auto") is agents.get("tf_agents")
