import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

import keras_mtl
from keras_mtl.agents import KerasAgent
from keras_mtl.weightings.igb_v2 import IGBv2
from tests import utils
from tests.compiled import compiled_call

pytestmark = pytest.mark.quick_on_torch

SMALL = dict(
    agent="keras",
    update_epoch=4,
    use_epoch=5,
    update_every=3,
    updates=4,
    batch_size=8,
    buffer_size=16,
    hidden_units=(8, 8),
    seed=0,
)


def create(num_tasks=3, **kwargs):
    weighting = IGBv2(**{**SMALL, **kwargs})
    weighting.build((num_tasks,))
    return weighting


def caller(weighting):
    # Calls that are not compiled would compile each loop anew on JAX; on
    # TensorFlow, compiling takes longer than the steps.
    if keras.backend.backend() == "jax":
        return compiled_call(weighting)
    return lambda losses: numpy(weighting(losses))


def run(weighting, epochs, rates=None):
    """Returns λ of each step, shape `(epochs, steps, T)`."""
    call = caller(weighting)
    weights = []
    for i, losses in enumerate(epochs):
        weighting.on_epoch_begin()
        if rates is not None:
            weighting.model_learning_rate.assign(rates[i])
        weights.append([call(step) * step for step in losses])
        weighting.on_epoch_end()
    return np.array(weights)


def random_epochs(epochs=6, steps=4, num_tasks=3):
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.3, 2.0, (epochs, steps, num_tasks))
    return (losses * 10.0 ** np.arange(num_tasks)).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def buffer_rows(weighting):
    """The transitions from the oldest to the newest."""
    rows = numpy(weighting.buffer.rows)
    added = int(weighting.buffer.added)
    if added > len(rows):
        return np.roll(rows, -(added % len(rows)), axis=0)
    return rows[:added]


def updates(weighting):
    return int(numpy(weighting.learner.state["updates"]))


def state(weighting):
    return [numpy(v) for v in weighting.variables]


def test_has_the_defaults_of_the_paper():
    config = IGBv2().get_config()
    expected = dict(
        update_epoch=4,
        use_epoch=6,
        base_epoch=2,
        update_every=50,
        updates=50,
        batch_size=256,
        buffer_size=10000,
        discount=0.99,
        learning_rate=3e-4,
        hidden_units=[128, 128],
        initial_temperature=0.2,
        reward="min",
        scale_reward=True,
    )
    assert {name: config[name] for name in expected} == expected


def test_a_learning_rate_that_decays_to_zero_has_a_bounded_scale():
    weighting = create()
    epochs = random_epochs()
    with pytest.warns(UserWarning, match="α stays at 16") as warned:
        run(weighting, epochs, [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-9])
    assert len([w for w in warned if "α stays at 16" in str(w.message)]) == 1
    assert np.array(weighting.last_scale) == 16.0


@pytest.mark.parametrize("bound", [0.5, *utils.further_cases(3.0)])
def test_first_weights_are_the_softmax_of_normal_numbers(bound):
    weighting = create(logit_bound=bound)
    losses = np.full((3, 100, 3), [0.5, 1.0, 20.0], "float32")
    gaps = run(weighting, losses)
    np.testing.assert_allclose(gaps.sum(axis=-1), 3.0, rtol=1e-5)
    logits = np.log(gaps).reshape(-1, 3)
    for i, j in ((0, 1), (1, 2)):
        # Differences of two standard normal numbers.
        differences = (logits[:, i] - logits[:, j]) / np.sqrt(2)
        assert stats.kstest(differences, "norm").pvalue > 1e-3
        lagged = np.corrcoef(differences[1:], differences[:-1])[0, 1]
        assert abs(lagged) < 4 / np.sqrt(len(differences))


@pytest.mark.quick_on_torch
@pytest.mark.parametrize(
    "reward, scale_reward", [("min", True), ("mean", True), ("min", False)]
)
def test_remembers_what_the_paper_says(reward, scale_reward):
    epochs = random_epochs()
    rates = [1e-2, 1e-2, 4e-3, 4e-3, 1e-3, 1e-3]
    # No normal number of the random phase is beyond this bound.
    options = dict(reward=reward, scale_reward=scale_reward, logit_bound=5.0)
    weighting = create(**options)
    gaps = run(weighting, epochs, rates if scale_reward else None)
    relative = epochs / epochs[1].astype("float64").mean(axis=0)
    relative = relative[1:].reshape(-1, 3)[3:]  # From the base epoch's last.
    alpha = np.repeat(np.divide(1e-2, rates), 4)[7:-1] if scale_reward else 1.0
    reduce = {"min": np.min, "mean": np.mean}[reward]
    declines = reduce(relative[:-1] - relative[1:], axis=1)
    rows = buffer_rows(weighting)
    np.testing.assert_allclose(rows[:, :3], relative[:-1], rtol=1e-5)
    np.testing.assert_allclose(rows[:, 6], alpha * declines, atol=1e-4)
    np.testing.assert_allclose(rows[:, 7:], relative[1:], rtol=1e-5)
    # The actions are those that gave the weights.
    exponentials = np.exp(weighting.logit_bound * rows[:, 3:6])
    expected = 3 * exponentials / exponentials.sum(axis=1, keepdims=True)
    taken = gaps[1:].reshape(-1, 3)[3:-1]
    np.testing.assert_allclose(expected, taken, rtol=1e-4)


def test_the_buffer_keeps_the_last_transitions():
    epochs = random_epochs()
    large, small = create(), create(buffer_size=5)
    # The agents' updates differ, and so do their actions.
    run(large, epochs)
    run(small, epochs)
    small_rows, large_rows = buffer_rows(small), buffer_rows(large)
    assert len(small_rows) == 5
    assert len(large_rows) == 16
    columns = [0, 1, 2, 6, 7, 8, 9]
    np.testing.assert_allclose(
        small_rows[:, columns], large_rows[-5:, columns], rtol=1e-6
    )


def test_updates_the_agent_as_often_as_told():
    weighting = create()
    call, epochs = caller(weighting), random_epochs()
    step, total, expected, found = 0, 0, [], []
    for epoch, losses in enumerate(epochs, start=1):
        for i, step_losses in enumerate(losses):
            step += 1
            filled = max(4 * (epoch - 3) + i + 1, 0)
            if epoch >= 4 and step % 3 == 0:
                total += int(4 * (1 + filled / 16) / 2)
            expected.append(total)
            call(step_losses)
            found.append(updates(weighting))
        weighting.on_epoch_end()
    assert found == expected
    assert found[-1] > 0


@pytest.mark.quick_on_torch(1)
def test_the_agent_gives_the_weights_from_use_epoch_on():
    weighting = create()
    epochs = random_epochs()
    run(weighting, epochs[:4])
    actor = [np.asarray(w) for w in weighting.learner.get_networks()["actor"]]
    # No noise: σ = 0.
    actor[-2][:, 3:], actor[-1][3:] = 0.0, -30.0
    networks = {**weighting.learner.get_networks(), "actor": actor}
    weighting.learner.set_networks(networks)
    losses = epochs[4, 0]
    x = losses / epochs[1].mean(axis=0)
    for kernel, bias in zip(actor[:-2:2], actor[1:-2:2]):
        x = np.maximum(x @ kernel + bias, 0.0)
    logits = weighting.logit_bound * np.tanh((x @ actor[-2] + actor[-1])[:3])
    expected = 3 * np.exp(logits) / np.exp(logits).sum()
    found = caller(weighting)(losses) * losses
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_batches_without_labels_teach_nothing():
    epochs = random_epochs(4)
    epochs[2, 1, 0] = 0.0
    epochs[3, 2, 1] = 0.0
    weighting = create()
    gaps = run(weighting, epochs)
    # Neither the transition to the batch nor the one from it.
    assert int(weighting.buffer.added) == 8 - 4
    np.testing.assert_array_equal(gaps[2, 1, 0], 0.0)
    assert np.all(buffer_rows(weighting)[:, [0, 1, 2, 7, 8, 9]] > 0)


def test_a_task_without_labels_in_the_base_epoch_has_its_first_loss_as_base():
    epochs = random_epochs(3)
    epochs[1, :, 0] = 0.0
    epochs[2, 0, 0] = 0.0
    weighting = create()
    run(weighting, epochs)
    base = np.array([epochs[2, 1, 0], *epochs[1, :, 1:].mean(axis=0)])
    expected = (epochs[2] / base)[1:]
    rows = buffer_rows(weighting)
    np.testing.assert_allclose(rows[:, :3], expected[:-1], rtol=1e-5)
    np.testing.assert_allclose(rows[:, 7:], expected[1:], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_are_not_finite_change_nothing(bad):
    weighting = create()
    epochs = random_epochs()
    run(weighting, epochs)
    call = caller(weighting)
    for losses in epochs[0]:  # On each of these, an update may be due.
        before = state(weighting)
        call(np.array([1.0, bad, 1.0], "float32"))
        for new, old in zip(state(weighting), before):
            np.testing.assert_array_equal(new, old)
        call(losses)


@pytest.mark.parametrize("scale", [0.0, 1e-16, 1e16])
def test_is_finite_for_extreme_losses_in_all_epochs(scale):
    weighting = create()
    epochs = random_epochs()
    epochs[:, ::2] *= scale
    assert np.all(np.isfinite(run(weighting, epochs)))
    assert all(np.all(np.isfinite(v)) for v in state(weighting))
    if scale:
        assert updates(weighting) > 0


def fit_model(epochs=6, **kwargs):
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4, activation="relu")(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "abc"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(1e-2), loss="mse", weighting=IGBv2(**SMALL)
    )
    return model, fit(model, epochs, **kwargs)


def fit(model, epochs, **kwargs):
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = {name: x[:, :1] * (i + 1) for i, name in enumerate("abc")}
    options = dict(batch_size=4, shuffle=False, verbose=0)
    return model.fit(x, y, epochs=epochs, **options, **kwargs)


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    model, _ = fit_model(5)
    assert updates(model.weighting) > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for new, old in zip(state(loaded.weighting), state(model.weighting)):
        np.testing.assert_array_equal(new, old)
    before = updates(loaded.weighting)
    fit(model, 2)
    fit(loaded, 2)
    assert updates(loaded.weighting) > before
    for new, old in zip(state(loaded.weighting), state(model.weighting)):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-6)
    for new, old in zip(loaded.get_weights(), model.get_weights()):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-6)


def test_sees_the_learning_rate_that_a_callback_sets():
    # A warm-up does not count as progress.
    rates = [1e-3, 1e-2, 5e-3, 1e-3]
    seen = []

    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            seen.append(float(numpy(self.model.weighting.last_scale)))

    schedule = keras.callbacks.LearningRateScheduler(lambda i, _: rates[i])
    fit_model(4, callbacks=[schedule, Log()])
    np.testing.assert_allclose(seen, [1.0, 1.0, 2.0, 10.0], rtol=1e-5)


def test_agents_may_be_chosen():
    assert type(create(agent="keras").learner) is KerasAgent
    if keras.backend.backend() != "tensorflow":
        assert type(create(agent="auto").learner) is KerasAgent


@pytest.mark.parametrize(
    "arguments",
    [
        dict(agent="dqn"),
        dict(reward="max"),
        dict(update_epoch=2),
        dict(use_epoch=1),
        dict(base_epoch=0),
    ],
)
def test_names_bad_arguments(arguments):
    (name, value) = next(iter(arguments.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        IGBv2(**arguments)
