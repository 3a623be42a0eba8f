"""Nash-MTL and FairGrad where there is no solution, and close to there."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.weightings import FairGrad
from keras_mtl.weightings import NashMTL
from tests.solvers.problems import normal
from tests.weightings.gradients import cosines
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch

METHODS = {
    "nash_mtl": lambda: NashMTL(max_norm=None),
    "fairgrad": lambda: FairGrad(max_norm=None),
    "fairgrad, alpha = 5": lambda: FairGrad(alpha=5.0, max_norm=None),
    "fairgrad, alpha = 0.5": lambda: FairGrad(alpha=0.5, max_norm=None),
}
# The noise of gradients that cancel but for it, and their scale.
CASES = [
    (0.0, 1.0),
    (1e-6, 1e-6),
    (1e-5, 1e6),
    (1e-4, 1.0),
    (1e-3, 1e-6),
    (1e-3, 1e6),
]


def around_stationary(num_tasks, size, noise, seed=0):
    """Gradients whose sum is zero, but for noise."""
    gradients = normal(num_tasks, size, seed)
    gradients -= gradients.mean(axis=0)
    gradients += noise * normal(num_tasks, size, seed + 100)
    return gradients.astype("float32").astype("float64")


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("num_tasks", [2, 3, 5, 11, 40])
@pytest.mark.parametrize("name", METHODS)
def test_is_short_and_without_conflict_around_stationary_points(
    name, num_tasks
):
    weighting = METHODS[name]()
    sizes = {num_tasks - 1, num_tasks, 2 * num_tasks}
    for seed, size in enumerate(sorted(sizes)):
        for noise, scale in CASES:
            jacobian = around_stationary(num_tasks, size, noise, seed)
            jacobian *= scale
            direction = direction_of(weighting, jacobian)
            norms = np.linalg.norm(jacobian, axis=1)
            norm = np.linalg.norm(direction)
            case = (size, noise, scale)
            assert norm <= norms.sum() * (1 + 1e-6), case
            if norm > 0:
                assert cosines(jacobian, direction).min() >= -1e-4, case


@pytest.mark.diagonal
@pytest.mark.parametrize("num_tasks", [2, 5, 40])
@pytest.mark.parametrize("name", METHODS)
def test_is_continuous_up_to_stationary_points(name, num_tasks):
    """The noise grows by a tenth in each step, from 1e-4 to where all counts.

    A tenth of change of all that does not cancel changes the direction by about
    as much, and by another tenth where it fades out.
    """
    weighting, directions = METHODS[name](), []
    for noise in 1e-4 * 1.1 ** np.arange(60):
        jacobian = around_stationary(num_tasks, 2 * num_tasks, noise)
        direction = direction_of(weighting, jacobian)
        if np.any(direction):
            assert cosines(jacobian, direction).min() >= -1e-4
        directions.append(direction)
    norms = np.linalg.norm(directions, axis=1)
    changes = np.linalg.norm(np.diff(directions, axis=0), axis=1)
    assert norms[0] == 0.0 and norms[-1] > 0.0
    assert changes.max() <= 0.25 * norms.max()


@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad"])
def test_training_ends_at_a_stationary_point(name):
    """Three quadratics in the plane, whose minima are a triangle."""
    minima = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]])
    weighting = METHODS[name]()
    point = np.array([3.0, 2.0])
    for _ in range(100):
        direction = direction_of(weighting, point - minima)
        norm = np.linalg.norm(direction)
        point = point - 0.1 * direction / max(norm, 1.0)
    assert np.linalg.norm(point) < 1.2
    assert norm < 1e-6


def test_heads_go_on_where_the_trunk_is_stationary():
    weighting = NashMTL()
    jacobian = around_stationary(3, 2, 0.0)
    np.testing.assert_array_equal(weights_of(weighting, jacobian), 0.0)
    weighting = NashMTL()
    gramian = (jacobian @ jacobian.T).astype("float32")
    weighting(np.ones(3, "float32"), gramian)
    heads = ops.convert_to_numpy(weighting.head_weights())
    relative = heads * np.sqrt(np.diag(gramian))
    assert np.all(relative > 1.0) and np.all(relative < 200.0)
    # Where the solution is certain, they have the weights of all else.
    gramian = np.diag([1.0, 4.0, 9.0]).astype("float32")
    weights = ops.convert_to_numpy(weighting(np.ones(3, "float32"), gramian))
    heads = ops.convert_to_numpy(weighting.head_weights())
    np.testing.assert_array_equal(heads, weights)


def test_older_files_have_no_weights_of_heads():
    weighting, other = NashMTL(), NashMTL()
    gramian = np.diag([1.0, 4.0]).astype("float32")
    weighting(np.ones(2, "float32"), gramian)
    store = {}
    weighting.save_own_variables(store)
    del store[str(len(store) - 1)]
    other.build((2,))
    other.load_own_variables(store)
    heads = ops.convert_to_numpy(other.head_weights())
    np.testing.assert_allclose(heads, [1.0, 0.5], rtol=1e-5)


def test_fairgrad_limits_the_norm_by_default():
    """Without a limit, it grows as gradients vanish."""
    jacobian = 1e-2 * normal(3, 5)
    limited = ops.convert_to_numpy(FairGrad().aggregate(jacobian))
    free = ops.convert_to_numpy(FairGrad(max_norm=None).aggregate(jacobian))
    assert np.linalg.norm(limited) == pytest.approx(1.0, rel=1e-4)
    assert np.linalg.norm(free) > 1.5
    config = {**FairGrad().get_config(), "max_norm": None}
    assert FairGrad.from_config(config).measurement.max_norm is None
