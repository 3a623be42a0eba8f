import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import DWA

pytestmark = pytest.mark.quick_on_torch


def reference(epochs, temperature=2.0):
    """Equation 7 of the paper in float64."""
    means = [losses.mean(axis=0) for losses in epochs]
    weights = []
    for epoch, losses in enumerate(epochs):
        row = np.ones(losses.shape[1])
        if epoch >= 2:
            ratios = means[epoch - 1] / means[epoch - 2]
            exponentials = np.exp(ratios / temperature)
            row = len(row) * exponentials / exponentials.sum()
        weights += [row] * len(losses)
    return np.stack(weights)


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
    return np.random.default_rng(0).uniform(0.05, 3.0, shape)


@pytest.mark.every_backend
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_is_equation_7(temperature):
    epochs = random_losses(5, 6, 4)
    np.testing.assert_allclose(
        run(DWA(temperature), epochs),
        reference(epochs, temperature),
        rtol=1e-5,
    )


@pytest.mark.parametrize("window", [1, 3, 4])
def test_a_window_of_steps_takes_the_place_of_an_epoch(window):
    weighting = DWA(window=window)
    assert DWA().needs_epochs and not weighting.needs_epochs
    windows = random_losses(8, window, 3)
    # Epochs, which may begin anywhere, change nothing.
    epochs = windows.reshape(2, -1, 3)
    np.testing.assert_allclose(
        run(weighting, epochs), reference(windows), rtol=1e-5
    )


def test_batches_without_labels_do_not_count_in_the_means():
    epochs = random_losses(4, 4, 2)
    holes = epochs.copy()
    holes[1, 2:, 0] = 0.0
    means = np.array([epochs[1, :2, 0].mean(), epochs[1, :, 1].mean()])
    exponentials = np.exp(means / epochs[0].mean(axis=0) / 2.0)
    expected = 2 * exponentials / exponentials.sum()
    weights = run(DWA(), holes)[8:12]
    np.testing.assert_allclose(weights, [expected] * 4, rtol=1e-5)


def test_an_epoch_without_labels_keeps_the_means():
    epochs = random_losses(5, 4, 2)
    holes = epochs.copy()
    holes[2, :, 0] = 0.0
    means = epochs.mean(axis=1)
    ratios = [means[1, 0] / means[0, 0], means[2, 1] / means[1, 1]]
    exponentials = np.exp(np.array(ratios) / 2.0)
    expected = 2 * exponentials / exponentials.sum()
    weights = run(DWA(), holes)[12:16]
    np.testing.assert_allclose(weights, [expected] * 4, rtol=1e-5)


def test_a_task_whose_mean_is_not_positive_counts_as_level():
    epochs = random_losses(3, 4, 3)
    epochs[:, :, 0] *= -1
    epochs[1, :, 1] = 0.0
    means = epochs.mean(axis=1)
    exponentials = np.exp([0.5, 0.5, means[1, 2] / means[0, 2] / 2])
    expected = 3 * exponentials / exponentials.sum()
    weights = run(DWA(), epochs)[8:]
    np.testing.assert_allclose(weights, [expected] * 4, rtol=1e-5)


def test_a_loss_that_explodes_takes_all_the_weight():
    weighting = DWA(window=1)
    for losses in ([1e-30, 1.0], [1e30, 1.0]):
        weighting(np.array(losses, "float32"))
    weights = np.array(weighting(np.ones(2, "float32")))
    np.testing.assert_allclose(weights, [2.0, 0.0])


def test_an_interrupted_epoch_begins_again():
    epochs = random_losses(4, 5, 2)
    expected = run(DWA(), epochs)
    weighting = DWA()
    run(weighting, epochs[:2])
    weighting.on_epoch_begin()
    weighting(np.float32(epochs[3, 0]))  # What is seen before the interruption.
    np.testing.assert_allclose(
        run(weighting, epochs[2:]), expected[10:], rtol=1e-6
    )


def test_model_tells_it_of_epochs():
    inputs = keras.Input((2,))
    features = keras.layers.Dense(3)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), loss="mse", weighting="dwa")
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    y = {"a": x[:, :1], "b": 3 * x[:, 1:]}
    history = model.fit(x, y, batch_size=4, epochs=4, verbose=0).history
    losses = np.stack([history["a_loss"], history["b_loss"]], axis=1)
    weights = np.stack([history["weight/a"], history["weight/b"]], axis=1)
    np.testing.assert_allclose(weights, reference(losses[:, None]), rtol=1e-5)


def test_names_bad_arguments():
    with pytest.raises(ValueError, match="Received: temperature=0"):
        DWA(temperature=0)
    with pytest.raises(ValueError, match="Received: window=0"):
        DWA(window=0)
    with pytest.raises(ValueError, match="Received: window='step'"):
        DWA(window="step")
