import keras
import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import logsumexp

import keras_mtl
from keras_mtl.weightings import SmoothTchebycheff
from keras_mtl.weightings import Tchebycheff

pytestmark = pytest.mark.quick_on_torch


def run(weighting, epochs):
    if not weighting.built:
        weighting.build((epochs.shape[-1],))
    weights = []
    for losses in epochs.astype("float32"):
        weighting.on_epoch_begin()
        weights += [np.array(weighting(step)) for step in losses]
        weighting.on_epoch_end()
    return np.stack(weights)


def random_losses(*shape):
    return np.random.default_rng(0).uniform(0.2, 3.0, shape)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "mu, preference, ideal",
    [
        (1.0, None, None),
        (0.1, [0.2, 0.5, 0.3], 0.05),
        (0.5, None, [0.0, 0.4, -1.0]),
    ],
)
def test_is_the_gradient_of_the_smooth_maximum(mu, preference, ideal):
    def scalarization(losses):
        factors = np.full(3, 1 / 3) if preference is None else preference
        distances = factors * (losses - (0 if ideal is None else ideal))
        return mu * logsumexp(distances / mu)

    weighting = SmoothTchebycheff(mu, preference, ideal)
    for losses in random_losses(20, 3):
        expected = approx_fprime(losses, scalarization, 1e-7)
        weights = np.array(weighting(losses.astype("float32")))
        # The tolerance is that of finite differences with a step of 1e-7.
        np.testing.assert_allclose(weights, expected, rtol=2e-5, atol=1e-7)


def test_is_the_hard_form_for_small_mu():
    losses = random_losses(20, 3).astype("float32")
    smooth = SmoothTchebycheff(1e-6, [1.0, 2.0, 0.5], 0.1)
    hard = Tchebycheff([1.0, 2.0, 0.5], 0.1)
    for step in losses:
        np.testing.assert_allclose(
            np.array(smooth(step)), np.array(hard(step)), atol=1e-6
        )


def test_large_losses_over_a_small_mu_do_not_overflow():
    weights = SmoothTchebycheff(1e-6)(np.array([3e37, 1e37], "float32"))
    np.testing.assert_array_equal(np.array(weights), [0.5, 0.0])


@pytest.mark.parametrize("warmup_epoch", [None, 1])
def test_tasks_without_a_label_take_no_part(warmup_epoch):
    # Below their ideal points, the others are nearer than a loss of 0.
    weighting = SmoothTchebycheff(
        0.1, [1.0] * 3, ideal=1.0, warmup_epoch=warmup_epoch
    )
    pair = SmoothTchebycheff(
        0.1, [1.0] * 2, ideal=1.0, warmup_epoch=warmup_epoch
    )
    epochs = random_losses(3, 4, 3)
    epochs[:, :, 1] = 0.0
    weights = run(weighting, epochs)
    np.testing.assert_allclose(
        weights[:, [0, 2]], run(pair, epochs[:, :, [0, 2]]), rtol=1e-5
    )
    np.testing.assert_array_equal(weights[:, 1], 0.0)
    nothing = np.array(weighting(np.zeros(3, "float32")))
    np.testing.assert_array_equal(nothing, 0.0)


@pytest.mark.parametrize("warmup_epoch", [1, 2])
def test_is_the_gradient_for_logarithms_after_the_warmup(warmup_epoch):
    mu, preference = 0.2, np.array([0.2, 0.5, 0.3])
    epochs = random_losses(4, 6, 3)
    base = epochs[warmup_epoch - 1].mean(axis=0)

    def scalarization(losses):
        return mu * logsumexp(preference * np.log(losses / base) / mu)

    weights = run(
        SmoothTchebycheff(mu, list(preference), warmup_epoch=warmup_epoch),
        epochs,
    )
    steps, first = epochs.reshape(-1, 3), 6 * warmup_epoch
    np.testing.assert_allclose(
        weights[:first], preference / (3 * steps[:first]), rtol=1e-5
    )
    expected = [approx_fprime(x, scalarization, 1e-7) for x in steps[first:]]
    # The tolerance is that of finite differences with a step of 1e-7.
    np.testing.assert_allclose(weights[first:], expected, rtol=2e-5, atol=1e-6)


def test_batches_without_a_label_do_not_count_in_the_base():
    epochs = random_losses(2, 4, 2)
    holes = epochs.copy()
    holes[0, 2:, 0] = 0.0
    base = np.array([epochs[0, :2, 0].mean(), epochs[0, :, 1].mean()])
    weights = run(SmoothTchebycheff(warmup_epoch=1), holes)[4:]
    exponentials = np.sqrt(epochs[1] / base)
    shares = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights, shares / 2 / epochs[1], rtol=1e-5)


def test_the_scale_of_a_loss_does_not_matter_with_a_warmup():
    epochs = random_losses(3, 4, 3)
    scale = np.array([1e-3, 1.0, 1e4])
    weights = run(SmoothTchebycheff(warmup_epoch=1), epochs)
    scaled = run(SmoothTchebycheff(warmup_epoch=1), epochs * scale)
    np.testing.assert_allclose(scaled * scale, weights, rtol=1e-5)


def test_an_interrupted_warmup_epoch_begins_again():
    epochs = random_losses(3, 4, 2)
    expected = run(SmoothTchebycheff(warmup_epoch=2), epochs)
    weighting = SmoothTchebycheff(warmup_epoch=2)
    run(weighting, epochs[:1])
    weighting.on_epoch_begin()
    weighting(np.float32(epochs[2, 0]))  # What is seen before the interruption.
    np.testing.assert_allclose(
        run(weighting, epochs[1:]), expected[4:], rtol=1e-6
    )


def test_trains_and_saves_with_a_warmup(tmp_path):
    inputs = keras.Input((2,))
    features = keras.layers.Dense(3)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    weighting = SmoothTchebycheff(warmup_epoch=1)
    model.compile("sgd", loss="mse", weighting=weighting)
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    y = {"a": x[:, :1], "b": 3 * x[:, 1:]}
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    means = [history["a_loss"][0], history["b_loss"][0]]
    np.testing.assert_allclose(np.array(weighting.base), means, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").weighting
    np.testing.assert_array_equal(loaded.base, weighting.base)
    assert int(loaded.epochs) == 2


def test_needs_epochs_and_positive_losses_only_with_a_warmup():
    plain, warm = SmoothTchebycheff(), SmoothTchebycheff(warmup_epoch=5)
    assert not plain.needs_epochs and not plain.needs_positive_losses
    assert warm.needs_epochs and warm.needs_positive_losses


def test_names_bad_arguments():
    with pytest.raises(ValueError, match="Received: mu=0"):
        SmoothTchebycheff(0)
    with pytest.raises(ValueError, match="Received: warmup_epoch=0"):
        SmoothTchebycheff(warmup_epoch=0)
