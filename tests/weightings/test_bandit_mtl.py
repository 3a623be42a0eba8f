import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from keras_mtl.weightings.bandit_mtl import BanditMTL
from tests.stepping import weights_of_steps

pytestmark = pytest.mark.quick_on_torch


def projection(logits, rho):
    """Equation 12 in float64: the λ at which KL(p ‖ uniform) is ρ."""

    def probabilities(multiplier):
        return scipy.special.softmax(logits / (1 + multiplier))

    def excess(multiplier):
        p = probabilities(multiplier)
        return np.sum(scipy.special.xlogy(p, len(p) * p)) - rho

    if excess(0.0) <= 0:
        return probabilities(0.0)
    root = scipy.optimize.brentq(excess, 0.0, 1e6, xtol=1e-14, rtol=1e-14)
    return probabilities(root)


def reference(losses, rho, eta):
    """Algorithm 1 of the paper, with equation 12 solved by bisection."""
    num_tasks = losses.shape[1]
    p = np.full(num_tasks, 1 / num_tasks)
    weights = []
    for step in losses:
        weights.append(num_tasks * p)
        p = projection(np.log(p) + eta * step, rho)
    return np.stack(weights)


def divergences(weights):
    num_tasks = weights.shape[1]
    p = weights.astype("float64") / num_tasks
    return (p * np.log(np.maximum(weights, 1e-300))).sum(axis=1)


def random_losses(steps=30, num_tasks=4, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 3.0, (steps, num_tasks))


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("rho, eta", [(1.2, 0.5), (0.1, 0.5), (0.5, 0.1)])
def test_is_algorithm_1(rho, eta):
    losses = random_losses()
    # The errors of the float32 steps add up, a little.
    np.testing.assert_allclose(
        weights_of_steps(BanditMTL(rho, eta), losses),
        reference(losses, rho, eta),
        atol=2e-4,
    )


def test_has_the_defaults_of_the_paper():
    assert BanditMTL().rho == 1.2
    assert BanditMTL().eta == 0.5


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e16])
@pytest.mark.parametrize("rho", [0.01, 0.4, 1.2])
def test_stays_in_the_ball_and_on_the_simplex(rho, scale):
    # Every fifth loss is large: the bandit goes back and forth.
    losses = random_losses(60, num_tasks=11)
    losses[::5] *= scale
    weights = weights_of_steps(BanditMTL(rho), losses)
    assert np.all(weights > 0)
    np.testing.assert_allclose(weights.sum(axis=1), 11, rtol=1e-5)
    assert np.all(divergences(weights) <= rho + 1e-5)
    # One task leads by far: the constraint binds.
    if scale == 1e16:
        assert np.all(np.abs(divergences(weights[1::5]) - rho) <= 1e-5)


def test_constraint_never_binds_beyond_log_t():
    losses = random_losses()
    logits = 0.5 * losses.cumsum(axis=0)[:-1]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    weights = weights_of_steps(BanditMTL(rho=np.log(4)), losses)
    np.testing.assert_allclose(weights[1:], 4 * p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 1e-10])
@pytest.mark.parametrize("scale", [1.0, 1e16])
def test_a_small_rho_is_equal_weighting(rho, scale):
    weights = weights_of_steps(BanditMTL(rho), random_losses() * scale)
    np.testing.assert_allclose(weights, 1.0, atol=2e-3)


def test_approximates_the_mean_and_the_variance():
    """Equation 4, for constant losses of a small variance.

    The paper writes sqrt(rho Var). The divergence grows as half of the squared
    distance, so that it is sqrt(2 rho Var).
    """
    losses = np.array([0.9, 1.0, 1.02, 1.1])
    weights = weights_of_steps(
        BanditMTL(rho=1e-2, eta=5.0), np.stack([losses] * 60)
    )[-1]
    expected = losses.mean() + np.sqrt(2e-2 * losses.var())
    assert weights @ losses / 4 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("rho", [1.2, 1.4])
def test_a_task_comes_back_from_nothing(rho):
    hopeless = np.array([[1e16, 0.01, 0.01, 0.01]])
    other = np.array([[0.01, 0.01, 0.01, 3.0]])
    losses = np.concatenate([hopeless] * 3 + [other] * 80)
    weights = weights_of_steps(BanditMTL(rho), losses)
    assert weights[3].argmax() == 0
    assert weights[-1].argmax() == 3
    assert weights[-1, 3] > 2


@pytest.mark.parametrize("scale", [1e-16, 1e16, 1e36])
def test_is_finite_for_losses_of_all_scales(scale):
    losses = random_losses() * scale
    losses[::2, 1:] /= scale
    losses[5:8] *= -1
    weighting = BanditMTL()
    weights = weights_of_steps(weighting, losses)
    assert np.all(np.isfinite(weights))
    log_p = keras.ops.convert_to_numpy(weighting.log_p)
    assert np.all(np.isfinite(log_p))
    assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-5)


def test_a_task_without_labels_keeps_its_weight():
    losses = random_losses()
    losses[10:20, 2] = 0.0
    weights = weights_of_steps(BanditMTL(rho=2.0, eta=0.05), losses)
    np.testing.assert_allclose(weights[11:21, 2], weights[10, 2], rtol=1e-5)
    others = np.delete(weights, 2, axis=1)
    expected = weights_of_steps(
        BanditMTL(rho=2.0, eta=0.05), np.delete(losses, 2, axis=1)
    )
    np.testing.assert_allclose(
        others / others.sum(axis=1, keepdims=True), expected / 3, rtol=1e-4
    )


def test_a_batch_without_labels_changes_nothing():
    losses = random_losses()
    losses[10:12] = 0.0
    weights = weights_of_steps(BanditMTL(), losses)
    np.testing.assert_allclose(weights[11], weights[10], rtol=1e-5)
    np.testing.assert_allclose(weights[12], weights[10], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rho": -0.1}, "Received: rho=-0.1"),
        ({"rho": float("nan")}, "Received: rho=nan"),
        ({"eta": 0.0}, "Received: eta=0.0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BanditMTL(**arguments)
