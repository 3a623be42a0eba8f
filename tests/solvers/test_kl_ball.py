import doctest

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.solvers import kl_ball as module
from keras_mtl.solvers.kl_ball import project_onto_kl_ball

pytestmark = pytest.mark.quick_on_torch

NUM_TASKS = (2, 3, 11, 100)
RADII = (1e-3, 0.05, 0.3, 1.2, 3.0)


def solve(logits, radius):
    logits = ops.convert_to_tensor(logits, dtype="float32")
    return ops.convert_to_numpy(project_onto_kl_ball(logits, radius)).astype(
        "float64"
    )


def divergence(log_p):
    """KL(p || uniform) in nats."""
    return np.exp(log_p) @ log_p + np.log(len(log_p))


def softmax(logits):
    exponentials = np.exp(logits - np.max(logits))
    return exponentials / exponentials.sum()


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("num_tasks", [2, 3, 11])
@pytest.mark.parametrize("seed", range(3))
def test_conditions_of_the_convex_problem(seed, num_tasks, radius):
    """Those of equation 12 of the BanditMTL paper, in float64.

    The derivative of `KL(p || q) + multiplier * KL(p || uniform)` is the same
    for all tasks, and the multiplier is 0 unless `p` is at the radius.
    """
    logits = np.random.default_rng(seed).normal(size=num_tasks) * 2
    log_p = solve(logits, radius)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-6)
    assert divergence(log_p) <= radius + 1e-6
    minus_slopes = np.log(softmax(logits)) - log_p
    multiplier, offset = np.polyfit(log_p, minus_slopes, 1)
    error = np.abs(multiplier * log_p + offset - minus_slopes).max()
    assert error <= 2e-6 * (1 + multiplier)
    assert multiplier >= -1e-6
    if divergence(log_p) < radius - 1e-6:
        assert multiplier <= 1e-6


@pytest.mark.diagonal
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2, 1e16, 1e28])
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_reaches_the_radius_where_the_constraint_binds(
    num_tasks, radius, scale
):
    logits = np.random.default_rng(0).normal(size=num_tasks) * scale
    log_p = solve(logits, radius)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-6)
    free = softmax(logits)
    free_divergence = free @ np.log(np.maximum(free, 1e-300) * num_tasks)
    if free_divergence > radius:
        assert abs(divergence(log_p) - radius) <= 1e-5
    else:
        np.testing.assert_allclose(np.exp(log_p), free, atol=1e-6)


@pytest.mark.parametrize("num_tasks", [3, 11])
def test_is_a_power_of_the_free_probabilities(num_tasks):
    logits = np.random.default_rng(0).normal(size=num_tasks) * 5
    log_p = solve(logits, 0.4)
    slope, offset = np.polyfit(logits, log_p, 1)
    assert 0 < slope < 1  # 1 / (1 + multiplier)
    np.testing.assert_allclose(slope * logits + offset, log_p, atol=1e-5)


@pytest.mark.parametrize("radius", [np.log(3), 2.0, float("inf")])
def test_never_binds_beyond_log_t(radius):
    logits = np.array([0.0, 5.0, -200.0])
    expected = logits - 5 - np.log1p(np.exp(-5) + np.exp(-205))
    np.testing.assert_allclose(solve(logits, radius), expected, rtol=1e-6)


@pytest.mark.parametrize("radius", [0.0, 1e-12, 1e-9])
@pytest.mark.parametrize("scale", [1.0, 1e16])
def test_a_ball_of_no_size_leaves_uniform_probabilities(radius, scale):
    logits = np.random.default_rng(0).normal(size=5) * scale
    np.testing.assert_allclose(np.exp(solve(logits, radius)), 0.2, atol=2e-3)
    assert divergence(solve(logits, radius)) <= 1e-6


@pytest.mark.parametrize("value", [0.0, 1e16, -3e38])
def test_equal_logits_give_uniform_probabilities(value):
    np.testing.assert_allclose(
        np.exp(solve(np.full(4, value), 0.1)), 0.25, rtol=1e-6
    )


def test_ties_at_the_top_share_what_the_ball_leaves():
    # Its divergence is at most log(3 / 2), which is in the ball.
    log_p = solve(np.array([1e6, 1e6, 0.0]), 0.5)
    np.testing.assert_allclose(np.exp(log_p), [0.5, 0.5, 0.0], atol=1e-6)


def test_a_lost_probability_keeps_its_logarithm():
    log_p = solve(np.array([0.0, -500.0]), 1.0)
    np.testing.assert_allclose(log_p, [0.0, -500.0], rtol=1e-6)


@pytest.mark.slow
def test_compiled_is_as_eager():
    logits = np.random.default_rng(0).normal(size=11).astype("float32") * 9
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(
            lambda x: project_onto_kl_ball(x, 0.7), jit_compile=True
        )
    elif backend == "jax":
        import jax

        function = jax.jit(lambda x: project_onto_kl_ball(x, 0.7))
    else:
        pytest.skip("nothing to compile")
    log_p = ops.convert_to_numpy(function(ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(log_p, solve(logits, 0.7), rtol=1e-5)


def test_example_of_the_docstring():
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
