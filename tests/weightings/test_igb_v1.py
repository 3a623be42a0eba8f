import numpy as np
import pytest

from keras_mtl.weightings import IGBv1

pytestmark = pytest.mark.quick_on_torch


def reference(epochs, base_epoch=2):
    """Algorithm 1 of the paper in float64, as λ / L."""
    base = epochs[base_epoch - 1].mean(axis=0)
    weights = []
    for epoch, losses in enumerate(epochs, start=1):
        for step in losses:
            gaps = np.ones_like(step)
            if epoch > base_epoch:
                exponentials = np.exp(step / base)
                gaps = len(step) * exponentials / exponentials.sum()
            weights.append(gaps / step)
    return np.stack(weights)


def run(weighting, epochs):
    if not weighting.built:
        weighting.build((epochs.shape[-1],))
    weights = []
    for losses in epochs:
        weighting.on_epoch_begin()
        weights += [np.array(weighting(step)) for step in losses]
        weighting.on_epoch_end()
    return np.stack(weights)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("base_epoch", [1, 2, 3])
def test_is_algorithm_1(base_epoch):
    epochs = np.random.default_rng(0).uniform(0.05, 3.0, (5, 6, 4))
    np.testing.assert_allclose(
        run(IGBv1(base_epoch), epochs.astype("float32")),
        reference(epochs, base_epoch),
        rtol=1e-5,
    )


def test_batches_without_labels_do_not_count_in_the_base():
    epochs = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4, 2))
    holes = epochs.copy()
    holes[1, 2:, 0] = 0.0
    weights = run(IGBv1(), holes.astype("float32"))
    base = np.array([epochs[1, :2, 0].mean(), epochs[1, :, 1].mean()])
    exponentials = np.exp(epochs[2] / base)
    gaps = 2 * exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights[8:], gaps / epochs[2], rtol=1e-5)
    np.testing.assert_array_equal(weights[6:8, 0], 0.0)


def test_an_interrupted_base_epoch_begins_again():
    epochs = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4, 2))
    epochs = epochs.astype("float32")
    expected = run(IGBv1(), epochs)
    weighting = IGBv1()
    run(weighting, epochs[:1])
    weighting.on_epoch_begin()
    weighting(epochs[2, 0])  # What is seen before the interruption.
    np.testing.assert_allclose(
        run(weighting, epochs[1:]), expected[4:], rtol=1e-6
    )


def test_names_a_bad_base_epoch():
    with pytest.raises(ValueError, match="Received: base_epoch=0"):
        IGBv1(base_epoch=0)
