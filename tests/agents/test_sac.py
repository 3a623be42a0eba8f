import keras
import numpy as np
import pytest
from keras import ops
from scipy import integrate
from scipy import stats

from keras_mtl import agents
from keras_mtl.agents import KerasAgent
from keras_mtl.agents import noise
from keras_mtl.agents.sac import log_density


def create(num_tasks=2, **kwargs):
    agent = KerasAgent(**{"hidden_units": (4, 3), "seed": 0, **kwargs})
    agent.build(num_tasks)
    return agent


def compiled_updates(agent, sample):
    """Returns `agent.run_updates` with `sample` as a compiled function."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(
            lambda count: agent.run_updates(count, sample), jit_compile=True
        )
        return lambda count: run(tf.constant(count))
    if keras.backend.backend() == "torch":
        return lambda count: agent.run_updates(count, sample)
    import jax

    @jax.jit
    def run(state, count):
        with keras.StatelessScope(zip(agent.variables, state)) as scope:
            agent.run_updates(count, sample)
        return [scope.get_current_value(v) for v in agent.variables]

    def call(count):
        new = run([v.value for v in agent.variables], count)
        for variable, value in zip(agent.variables, new):
            variable.assign(value)

    return call


def random_batch(rng, batch_size=5, num_tasks=2):
    shape = (batch_size, num_tasks)
    transitions = {
        "observation": rng.uniform(0.2, 2.0, shape),
        "action": rng.uniform(-0.9, 0.9, shape),
        "reward": rng.normal(size=batch_size),
        "next_observation": rng.uniform(0.2, 2.0, shape),
    }
    drawn = {"actor": rng.normal(size=shape), "next": rng.normal(size=shape)}
    return tensors(transitions), tensors(drawn)


def tensors(arrays):
    return {k: ops.convert_to_tensor(v, "float32") for k, v in arrays.items()}


def state(agent):
    return [ops.convert_to_numpy(v) for v in agent.variables]


class Reference:
    """SAC in float64; gradients are finite differences of the losses."""

    def __init__(self, agent):
        self.agent = agent
        networks = agent.get_networks()
        self.shapes = {"actor": [np.shape(w) for w in networks["actor"]]}
        self.shapes["critic"] = [np.shape(w) for w in networks["critics"][0]]

        def vector(weights):
            return np.concatenate([np.ravel(w) for w in weights]).astype(float)

        self.actor = vector(networks["actor"])
        self.critics = np.stack([vector(w) for w in networks["critics"]])
        self.targets = np.stack([vector(w) for w in networks["targets"]])
        self.log_temperature = np.array([float(networks["log_temperature"])])
        self.moments = {}
        self.updates = 0

    def weights(self, vector, kind):
        sizes = np.cumsum([np.prod(s) for s in self.shapes[kind]])[:-1]
        parts = np.split(vector, sizes.astype(int))
        return [p.reshape(s) for p, s in zip(parts, self.shapes[kind])]

    def network(self, vector, kind, x):
        *hidden, kernel, bias = self.weights(vector, kind)
        for w, b in zip(hidden[::2], hidden[1::2]):
            x = np.maximum(x @ w + b, 0)
        return x @ kernel + bias

    def value(self, critics, *inputs):
        x = np.concatenate(inputs, axis=1)
        return [self.network(c, "critic", x)[:, 0] for c in critics]

    def policy(self, actor, observation, drawn):
        out = self.network(actor, "actor", observation)
        mean, scale = np.split(out, 2, axis=1)
        scale = np.exp(scale)
        action = np.tanh(mean + scale * drawn)
        # The change of variables, from the action back.
        normal = stats.norm.logpdf(np.arctanh(action), mean, scale)
        return action, (normal - np.log(1 - action**2)).sum(axis=1)

    def descend(self, name, gradient):
        m, s = self.moments.get(name, (0, 0))
        m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient**2
        self.moments[name] = m, s
        rate = self.agent.learning_rate * np.sqrt(1 - 0.999**self.updates)
        rate /= 1 - 0.9**self.updates
        change = rate * m / (np.sqrt(s) + self.agent.epsilon)
        setattr(self, name, getattr(self, name) - change)

    def update(self, transitions, drawn):
        x = {k: np.asarray(v, float) for k, v in transitions.items()}
        drawn = {k: np.asarray(v, float) for k, v in drawn.items()}
        self.updates += 1
        temperature = np.exp(self.log_temperature)
        after = x["next_observation"]
        action, density = self.policy(self.actor, after, drawn["next"])
        value = np.minimum(*self.value(self.targets, after, action))
        target = value - temperature * density
        target = x["reward"] + self.agent.discount * target

        def critic_loss(critics):
            found = self.value(critics, x["observation"], x["action"])
            return sum(np.mean((v - target) ** 2) for v in found) / 2

        def actor_loss(actor):
            action, density = self.policy(
                actor, x["observation"], drawn["actor"]
            )
            value = self.value(self.critics, x["observation"], action)
            return np.mean(temperature * density - np.minimum(*value))

        self.descend("critics", differences(critic_loss, self.critics))
        self.descend("actor", differences(actor_loss, self.actor))
        _, density = self.policy(self.actor, x["observation"], drawn["actor"])
        entropy = -density.mean()
        surplus = entropy - self.agent.target_entropy
        self.descend("log_temperature", np.array([surplus]))
        share = self.agent.target_rate
        self.targets = share * self.critics + (1 - share) * self.targets


def differences(function, x, step=1e-6):
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[i] = step
        gradient[i] = (function(x + change) - function(x - change)) / (2 * step)
    return gradient


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_units": ()},
        {"learning_rate": 0.0},
        {"discount": 1.5},
        {"target_rate": float("nan")},
        {"target_entropy": float("inf")},
        {"epsilon": -1e-7},
        {"seed": 0.5},
    ],
)
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}`.*Received: "):
        KerasAgent(**arguments)


def test_update_is_that_of_an_independent_computation():
    agent = create(learning_rate=1e-2, target_rate=0.1)
    # Last layers and targets as after some training: first, they are small.
    rng = np.random.default_rng(0)
    networks = agent.get_networks()
    for name in ("critics", "targets"):
        networks[name] = [
            [w + 0.3 * rng.normal(size=w.shape) for w in weights]
            for weights in networks[name]
        ]
    networks["actor"] = [
        w + 0.1 * rng.normal(size=w.shape) for w in networks["actor"]
    ]
    networks["log_temperature"] = -0.5
    agent.set_networks(networks)
    reference = Reference(agent)
    before = agent.get_networks()
    for _ in range(2):
        batch = random_batch(rng)
        agent.learn(*batch)
        reference.update(*batch)
    after = agent.get_networks()
    expected = {
        "actor": reference.weights(reference.actor, "actor"),
        "critics": sum(
            [reference.weights(c, "critic") for c in reference.critics], []
        ),
        "targets": sum(
            [reference.weights(c, "critic") for c in reference.targets], []
        ),
        "log_temperature": list(reference.log_temperature),
    }
    for name in expected:
        old, new = before[name], after[name]
        if name in ("critics", "targets"):
            old, new = sum(old, []), sum(new, [])
        old, new = (x if isinstance(x, list) else [x] for x in (old, new))
        assert len(new) == len(expected[name])
        for i, j, k in zip(new, expected[name], old):
            np.testing.assert_allclose(i, j, atol=2e-5)
            assert np.any(np.abs(i - k) > 1e-3), name


def test_log_density_is_that_of_the_change_of_variables():
    rng = np.random.default_rng(0)
    mean, log_scale, drawn = rng.normal(size=(3, 20, 4))
    logits = mean + np.exp(log_scale) * drawn
    logits, log_scale, drawn = (
        x[np.abs(logits).max(axis=1) < 6] for x in (logits, log_scale, drawn)
    )
    mean = logits - np.exp(log_scale) * drawn
    found = log_density(
        *(
            ops.convert_to_tensor(x, "float32")
            for x in (logits, log_scale, drawn)
        )
    )
    actions = np.tanh(logits)
    normal = stats.norm.logpdf(np.arctanh(actions), mean, np.exp(log_scale))
    expected = (normal - np.log(1 - actions**2)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (1.0, 0.3), (-0.5, 2.0)])
def test_density_integrates_to_one(mean, scale):
    logits = np.linspace(mean - 8 * scale, mean + 8 * scale, 20001)
    drawn = (logits - mean) / scale
    columns = (logits, np.full_like(logits, np.log(scale)), drawn)
    found = log_density(
        *(ops.convert_to_tensor(x[:, None], "float32") for x in columns)
    )
    density = np.exp(np.asarray(ops.convert_to_numpy(found), float))
    # Over the actions tanh(logits).
    total = integrate.simpson(density / np.cosh(logits) ** 2, x=logits)
    np.testing.assert_allclose(total, 1.0, rtol=1e-4)


def test_log_density_is_finite_at_the_ends():
    logits = ops.convert_to_tensor([[-200.0], [-20.0], [20.0], [200.0]])
    zeros = ops.zeros_like(logits)
    expected = (
        -0.5 * np.log(2 * np.pi)
        - np.log(4)
        + 2 * np.array([200.0, 20.0, 20.0, 200.0])
    )
    np.testing.assert_allclose(
        log_density(logits, zeros, zeros), expected, rtol=1e-5
    )


@pytest.mark.quick_on_torch
def test_acts_as_its_actor_says():
    agent = create(num_tasks=3)
    rng = np.random.default_rng(0)
    reference = Reference(agent)
    for _ in range(5):
        observation, drawn = rng.uniform(size=(2, 1, 3))
        expected, _ = reference.policy(reference.actor, observation, drawn)
        action = agent.act(observation[0], drawn[0])
        np.testing.assert_allclose(action, expected[0], rtol=1e-4)


def test_no_update_changes_nothing():
    agent = create()
    batch = random_batch(np.random.default_rng(0))
    before = state(agent)
    agent.run_updates(0, lambda i: batch)
    for new, old in zip(state(agent), before):
        np.testing.assert_array_equal(new, old)


def test_an_update_is_compiled_once(monkeypatch):
    """A learner that compiles each update is slow, and keeps all programs."""
    traced = []

    def update(self, *args):
        traced.append(args)
        return original(self, *args)

    original = KerasAgent.update
    monkeypatch.setattr(KerasAgent, "update", update)
    agent = create()
    rng = np.random.default_rng(0)
    for _ in range(3):
        agent.learn(*random_batch(rng))
    expected = 3 if keras.backend.backend() == "torch" else 1
    assert len(traced) == expected
    assert float(agent.state["updates"] + 0) == 3.0


@pytest.mark.quick_on_torch
def test_many_updates_are_as_one_by_one():
    rng = np.random.default_rng(0)
    batches = [random_batch(rng) for _ in range(2)]
    one_by_one, at_once = create(), create()
    for batch in batches:
        one_by_one.learn(*batch)
    stacked = [
        {k: ops.stack([b[part][k] for b in batches]) for k in batches[0][part]}
        for part in range(2)
    ]

    def sample(i):
        return [{k: v[i] for k, v in part.items()} for part in stacked]

    compiled_updates(at_once, sample)(2)
    for new, old in zip(state(at_once), state(one_by_one)):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-6)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_an_update_that_is_not_finite_changes_nothing(bad):
    agent = create()
    transitions, drawn = random_batch(np.random.default_rng(0))
    transitions["reward"] = transitions["reward"] * bad
    before = state(agent)
    agent.learn(transitions, drawn)
    for new, old in zip(state(agent), before):
        np.testing.assert_array_equal(new, old)


def test_networks_can_be_read_and_set():
    agent, other = create(seed=0), create(seed=1)
    networks = agent.get_networks()
    assert [w.shape for w in networks["actor"]] == [
        (2, 4), (4,), (4, 3), (3,), (3, 4), (4,)
    ]  # fmt: skip
    assert [w.shape for w in networks["critics"][1]] == [
        (4, 4), (4,), (4, 3), (3,), (3, 1), (1,)
    ]  # fmt: skip
    for critic, target in zip(networks["critics"], networks["targets"]):
        for weights, copy in zip(critic, target):
            np.testing.assert_array_equal(weights, copy)
    kernels = [critic[0] for critic in networks["critics"]]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    other.set_networks(networks)
    for new, old in zip(state(other), state(agent)):
        np.testing.assert_array_equal(new, old)


def test_state_of_another_agent_is_not_loaded():
    agent, other = create(hidden_units=(4, 3)), create(hidden_units=(5,))
    store = {}
    agent.learn(*random_batch(np.random.default_rng(0)))
    agent.save_own_variables(store)
    before = state(other)
    with pytest.warns(UserWarning, match="saved with another agent"):
        other.load_own_variables(store)
    for new, old in zip(state(other), before):
        np.testing.assert_array_equal(new, old)
    again = create(hidden_units=(4, 3), seed=5)
    again.load_own_variables(store)
    for new, old in zip(state(again), state(agent)):
        np.testing.assert_array_equal(new, old)


def test_same_seed_same_first_weights():
    for new, old in zip(state(create(seed=3)), state(create(seed=3))):
        np.testing.assert_array_equal(new, old)
    keras.utils.set_random_seed(1)
    first = state(create(seed=None))
    other = state(create(seed=None))
    keras.utils.set_random_seed(1)
    again = state(create(seed=None))
    assert any(np.any(new != old) for new, old in zip(other, first))
    for new, old in zip(again, first):
        np.testing.assert_array_equal(new, old)


@pytest.mark.quick_on_torch
def test_learns_where_the_optimum_is():
    """A reward of -10 |a - a*(s)|², with a*(s) = (0.5 s_1, -0.3)."""
    agent = create(
        hidden_units=(32, 32),
        learning_rate=5e-3,
        discount=0.0,
        target_entropy=-6.0,
    )
    shape = (64, 2)

    def optimum(observation):
        first = 0.5 * observation[:, 0]
        return ops.stack([first, ops.full_like(first, -0.3)], axis=1)

    def sample(i):
        observation = ops.tanh(noise.normal(shape, 5, i, 0))
        action = ops.tanh(noise.normal(shape, 5, i, 1))
        distance = ops.square(action - optimum(observation))
        transitions = {
            "observation": observation,
            "action": action,
            "reward": -10.0 * ops.sum(distance, axis=1),
            "next_observation": observation,
        }
        drawn = {
            "next": noise.normal(shape, 5, i, 2),
            "actor": noise.normal(shape, 5, i, 3),
        }
        return transitions, drawn

    observation = ops.tanh(noise.normal(shape, 6))
    best = ops.convert_to_numpy(optimum(observation))

    def act(drawn):
        pairs = zip(observation, drawn)
        return np.stack([ops.convert_to_numpy(agent.act(*p)) for p in pairs])

    zeros, drawn = np.zeros(shape), noise.normal(shape, 7)
    assert np.abs(act(zeros) - best).mean() > 0.3
    assert np.std(act(drawn) - act(zeros)) > 0.4
    compiled_updates(agent, sample)(300)
    assert np.abs(act(zeros) - best).mean() < 0.1
    # The actions are no more random than the target entropy says.
    assert np.std(act(drawn) - act(zeros)) < 0.2


def test_names_an_agent_that_does_not_exist():
    with pytest.raises(ValueError, match="Received: agent='dqn'"):
        agents.get("dqn")
    assert agents.get("keras") is KerasAgent


def test_without_tf_agents_it_is_the_keras_agent():
    if keras.backend.backend() != "tensorflow":
        assert agents.get("auto") is KerasAgent
        with pytest.raises(ImportError):
            agents.get("tf_agents")
