import numpy as np
import pytest
import scipy.optimize

from keras_mtl.weightings import CAGrad
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch


def on_simplex(objective, size):
    """Returns the minimizer on the probability simplex, by SLSQP."""
    best = scipy.optimize.minimize(
        objective,
        np.full(size, 1 / size),
        bounds=[(0, 1)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return best.x


def scipy_direction(jacobian, c):
    """Algorithm 1 of the paper, with its minimum by SLSQP in float64."""
    size = len(jacobian)
    mean = jacobian.mean(axis=0)
    radius = c * np.linalg.norm(mean)

    def objective(w):
        combined = w @ jacobian
        return combined @ mean + radius * np.linalg.norm(combined)

    combined = on_simplex(objective, size) @ jacobian
    return mean + radius * combined / np.linalg.norm(combined)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("c", [0.4, 1.0])
def test_is_algorithm_1(c):
    for jacobian in steps():
        direction = direction_of(CAGrad(c), jacobian)
        expected = scipy_direction(jacobian, c)
        error = np.linalg.norm(direction - expected)
        # SLSQP's gradients are differences.
        assert error <= 2e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("c", [0.4, 1.0, 2.0])
def test_no_direction_of_the_ball_is_better_for_the_worst_task(c):
    rng = np.random.default_rng(1)
    for jacobian in steps():
        direction = direction_of(CAGrad(c), jacobian)
        mean = jacobian.mean(axis=0)
        radius = c * np.linalg.norm(mean)
        assert np.linalg.norm(direction - mean) <= radius * (1 + 1e-5)
        best = (jacobian @ direction).min()
        for size in (1e-3, 0.1, 1.0):
            other = direction + size * radius * rng.normal(size=(50, 12))
            distances = np.linalg.norm(other - mean, axis=1, keepdims=True)
            other = mean + (other - mean) * np.minimum(radius / distances, 1)
            worst = (other @ jacobian.T).min(axis=1)
            assert np.all(worst <= best + 1e-5 * radius)


@pytest.mark.parametrize("rescale, divisor", [(0, 1.0), (1, 1.25), (2, 1.5)])
def test_rescale(rescale, divisor):
    jacobian = steps()[0]
    np.testing.assert_allclose(
        direction_of(CAGrad(0.5, rescale=rescale), jacobian) * divisor,
        direction_of(CAGrad(0.5), jacobian),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "arguments, message",
    [({"c": -0.1}, "Received: c=-0.1"), ({"rescale": 3}, "rescale=3")],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CAGrad(**arguments)
