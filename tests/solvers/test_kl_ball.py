import doctest

import keras
import numpy as np
import pytest
import scipy.optimize
from keras import ops

from keras_mtl.solvers import kl_ball as module
from keras_mtl.solvers.kl_ball import project_onto_kl_ball

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


def scipy_solution(logits, radius):
    """Equation 12 of the BanditMTL paper, by sequential quadratic programs."""
    num_tasks = len(logits)
    q = softmax(logits)

    def bregman(p):
        return p @ np.log(p / q)

    uniform = np.full(num_tasks, 1 / num_tasks)
    result = scipy.optimize.minimize(
        bregman,
        0.9 * uniform + 0.1 * q,
        jac=lambda p: np.log(p / q) + 1,
        method="SLSQP",
        bounds=[(1e-12, 1)] * num_tasks,
        constraints=[
            {
                "type": "eq",
                "fun": lambda p: p.sum() - 1,
                "jac": lambda p: np.ones(num_tasks),
            },
            {
                "type": "ineq",
                "fun": lambda p: radius - p @ np.log(num_tasks * p),
                "jac": lambda p: -np.log(num_tasks * p) - 1,
            },
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    # 8: no further decrease, which rounding causes at the solution.
    assert result.status in (0, 8), result.message
    p = result.x
    assert abs(p.sum() - 1) < 1e-7
    assert p @ np.log(num_tasks * p) <= radius + 1e-7
    return p


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("num_tasks", [2, 3, 11])
@pytest.mark.parametrize("seed", range(3))
def test_matches_a_convex_solver(seed, num_tasks, radius):
    logits = np.random.default_rng(seed).normal(size=num_tasks) * 2
    np.testing.assert_allclose(
        np.exp(solve(logits, radius)),
        scipy_solution(logits, radius),
        atol=1e-5,
    )


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
