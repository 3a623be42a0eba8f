import numpy as np
import pytest

from keras_mtl.weightings import MGDA
from keras_mtl.weightings import CAGrad
from keras_mtl.weightings import IMGrad
from tests import utils
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.test_cagrad import on_simplex

pytestmark = pytest.mark.quick_on_torch


def dominated_steps(count):
    """Gradients of which the first one is long, and against the others."""
    rng = np.random.default_rng(1)
    jacobians = rng.normal(size=(count, 4, 12))
    jacobians[:, 1:] -= rng.uniform(0, 1, (count, 1, 1)) * jacobians[:, :1]
    jacobians[:, 0] *= rng.uniform(1, 5, (count, 1))
    return jacobians.astype("float32").astype("float64")


def cosine(jacobian):
    shortest = on_simplex(lambda w: (w @ jacobian) @ (w @ jacobian), 4)
    shortest, mean = shortest @ jacobian, jacobian.mean(axis=0)
    return shortest @ mean / np.linalg.norm(shortest) / np.linalg.norm(mean)


def scipy_direction(jacobian, c):
    """The formula of the official code, with minima by SLSQP in float64."""
    mean = jacobian.mean(axis=0)
    kappa, radius = cosine(jacobian), c * np.linalg.norm(mean)

    def objective(w):
        combined = w @ jacobian
        norm = np.linalg.norm(combined)
        return (1.5 - kappa) * combined @ mean + kappa * radius * norm

    combined = on_simplex(objective, 4) @ jacobian
    return mean + radius * combined / np.linalg.norm(combined)


@pytest.mark.parametrize("c", [0.8, *utils.further_cases(0.3)])
def test_is_the_formula_of_the_official_code(c):
    cosines = []
    for jacobian in [*steps(4, count=20), *dominated_steps(40)]:
        direction = direction_of(IMGrad(c), jacobian)
        expected = scipy_direction(jacobian, c)
        error = np.linalg.norm(direction - expected)
        # SLSQP's gradients are differences.
        assert error <= 1e-3 * np.linalg.norm(expected)
        cosines.append(cosine(jacobian))
    assert min(cosines) < 0.3 and max(cosines) > 0.9


def test_the_distance_from_the_mean_is_c():
    for jacobian in [
        *steps(),
        *dominated_steps(10),
        *np.eye(3)[:, None] * [[1], [-1]],
    ]:
        mean = jacobian.mean(axis=0)
        distance = np.linalg.norm(direction_of(IMGrad(), jacobian) - mean)
        expected = 0.8 * np.linalg.norm(mean)
        assert distance == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_is_cagrad_where_the_cosine_is_three_quarters():
    # The shortest vector is (1, 0, 0), and the mean (1, 0, 7 ** 0.5 / 3).
    height = 2 * 7**0.5 / 3
    jacobian = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, height]])
    np.testing.assert_allclose(
        direction_of(IMGrad(0.5), jacobian),
        direction_of(CAGrad(0.5), jacobian),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_worst_task_gets_more_than_from_cagrad():
    """In what is lost for the sake of balance; both are as far from g₀."""
    better = 0
    for jacobian in dominated_steps(40):
        if not 0.05 < cosine(jacobian) < 0.6:
            continue
        mean = jacobian.mean(axis=0)
        worst = np.argmin(jacobian @ mean)
        ours, theirs = (
            jacobian[worst] @ direction_of(cls(0.8), jacobian)
            for cls in (IMGrad, CAGrad)
        )
        assert ours >= theirs - 1e-5 * np.abs(jacobian @ mean).max()
        better += ours > theirs + 1e-3 * abs(theirs)
    assert better > 5


def test_at_a_pareto_stationary_point_the_worst_task_leads():
    jacobian = np.array([[3.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(direction_of(MGDA(), jacobian), 0.0, atol=1e-6)
    # The mean is (1, 0), against the second gradient.
    np.testing.assert_allclose(
        direction_of(IMGrad(0.5), jacobian), [0.5, 0.0], atol=1e-5
    )


@pytest.mark.parametrize("c", [0.0, -1.0])
def test_names_a_bad_c(c):
    with pytest.raises(ValueError, match="Received: c="):
        IMGrad(c)
