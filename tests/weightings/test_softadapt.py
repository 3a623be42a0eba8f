import numpy as np
import pytest

from keras_mtl.weightings import SoftAdapt

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.parametrize("variant", ["original", "loss_weighted"])
def test_all_losses_fall_from_huge_ones(variant):
    softadapt = SoftAdapt(variant=variant)
    for losses in ([1e12, 3e12, 0.0], [1.0, 2.0, 0.0]):
        weights = np.array(softadapt(np.array(losses, "float32")))
    np.testing.assert_allclose(weights, [1.0, 0.0, 0.0])


def test_the_sum_of_huge_losses_is_finite():
    softadapt = SoftAdapt(variant="loss_weighted")
    weights = np.array(softadapt(np.full(3, 3e38, "float32")))
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-6)


def reference(losses, beta, variant):
    """Algorithm 1 and the variants in float64, from step to step."""
    last = losses[0]
    weights = []
    for step in losses:
        changes = step - last
        if variant == "normalized" and np.any(changes):
            changes = changes / np.abs(changes).sum()
        exponentials = np.exp(beta * changes)
        if variant == "loss_weighted":
            exponentials = step * exponentials
        weights.append(exponentials / exponentials.sum())
        last = step
    return np.stack(weights)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("variant", ["original", "normalized", "loss_weighted"])
def test_is_algorithm_1(variant):
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (60, 4))
    weighting = SoftAdapt(0.7, variant)
    weights = np.stack([np.array(weighting(step)) for step in losses])
    np.testing.assert_allclose(
        weights, reference(losses, 0.7, variant), rtol=2e-5
    )


def test_a_window_compares_means():
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (5, 4, 3))
    weighting = SoftAdapt(1.0, window=4)
    for window in losses:
        for step in window:
            weights = np.array(weighting(step))
    expected = reference(losses.mean(axis=1), 1.0, "original")[-1]
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_the_unit_does_not_matter_if_normalized():
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (5, 3))
    for scale in (1e-6, 1e6):
        plain = SoftAdapt(variant="normalized")
        other = SoftAdapt(variant="normalized")
        for step in losses:
            weights = np.array(plain(step))
            np.testing.assert_allclose(other(scale * step), weights, rtol=1e-4)
    assert np.ptp(weights) > 0.01


def test_a_task_without_a_label():
    weighting = SoftAdapt(1.0)
    weighting(np.array([1.0, 1.0, 1.0]))
    weights = np.array(weighting(np.array([2.0, 0.0, 1.0])))
    expected = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    np.testing.assert_allclose(weights[[0, 2]], expected, rtol=1e-5)
    assert weights[1] == 0.0
    # Its last loss is that of its last label.
    weights = np.array(weighting(np.array([2.0, 3.0, 1.0])))
    expected = np.exp([0.0, 2.0, 0.0]) / np.exp([0.0, 2.0, 0.0]).sum()
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
