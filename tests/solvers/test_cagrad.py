import itertools

import numpy as np
import pytest
from keras import ops

from keras_mtl.solvers.cagrad import conflict_averse
from tests.solvers.problems import KINDS
from tests.solvers.problems import SINGULAR
from tests.solvers.problems import as_float32
from tests.solvers.problems import compiled_with_xla
from tests.solvers.problems import gramian_of
from tests.solvers.problems import normal
from tests.solvers.problems import solve

pytestmark = pytest.mark.quick_on_torch


def weights_of(gradients, c):
    return solve(conflict_averse, gramian_of(gradients), c)


def dual_objective(gradients, w, c):
    mean, combined = gradients.mean(axis=0), w @ gradients
    radius = c * np.linalg.norm(mean)
    return combined @ mean + radius * np.linalg.norm(combined)


def check_conditions(gradients, weights, c, tolerance):
    """The primal value of `d` is the dual one of its `w`: no gap."""
    mean = gradients.mean(axis=0)
    norms = np.linalg.norm(gradients, axis=1)
    # What the rounding of a float32 Gramian is relative to.
    size = np.abs(weights) @ norms
    direction = weights @ gradients
    added = weights - 1 / len(gradients)
    assert np.all(added >= -1e-6 * np.abs(weights).max())
    distance = np.linalg.norm(direction - mean)
    assert distance <= c * np.linalg.norm(mean) + tolerance * size
    if c > 0:
        w = np.maximum(added, 0)
        level = dual_objective(gradients, w / w.sum(), c)
        # No direction in the ball improves the worst task by more.
        assert np.all(gradients @ direction >= level - tolerance * size * norms)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 40])
def test_optimality_conditions(num_tasks, kind):
    gradients = as_float32(KINDS[kind](num_tasks))
    for c in (0.0, 0.4, 1.0, 3.0):
        check_conditions(gradients, weights_of(gradients, c), c, 2e-6)


def test_optimality_conditions_of_128_tasks():
    gradients = as_float32(KINDS["wide"](128))
    check_conditions(gradients, weights_of(gradients, 0.4), 0.4, 2e-6)


def points_of_simplex(num_tasks, parts=200):
    points = itertools.product(range(parts + 1), repeat=num_tasks - 1)
    points = np.array([x for x in points if sum(x) <= parts]) / parts
    return np.column_stack([points, 1 - points.sum(axis=1)])


@pytest.mark.parametrize("c", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_no_point_of_a_grid_has_a_lower_dual_value(num_tasks, c):
    gradients = as_float32(normal(num_tasks, 2 * num_tasks, seed=3))
    added = weights_of(gradients, c) - 1 / num_tasks
    value = dual_objective(gradients, added / added.sum(), c)
    values = [
        dual_objective(gradients, w, c) for w in points_of_simplex(num_tasks)
    ]
    assert value <= min(values) + 1e-6 * abs(min(values))


def test_two_orthogonal_gradients():
    """d = (x, y) with the larger least component on a circle, by geometry."""
    gradients = np.eye(2)
    weights = weights_of(gradients, 0.5)
    # By symmetry along the mean (1/2, 1/2), half its length farther.
    np.testing.assert_allclose(weights, [0.75, 0.75], rtol=1e-5)


def test_radius_zero_is_the_mean():
    np.testing.assert_array_equal(
        weights_of(normal(11, 20), 0.0), np.full(11, np.float32(1 / 11))
    )


@pytest.mark.parametrize("scale", [1e-16, 1e-6, 1e6, 1e16])
def test_common_scale_changes_nothing(scale):
    gradients = normal(11, 20)
    np.testing.assert_allclose(
        weights_of(gradients * scale, 0.4),
        weights_of(gradients, 0.4),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_singular_gramian_gives_finite_weights(num_tasks, name):
    gradients = SINGULAR[name](normal(num_tasks, 50))
    for scale in (1e-16, 1.0, 1e16):
        for c in (0.4, 1.0, 2.0):
            weights = weights_of(gradients * scale, c)
            check_singular(gradients, weights, c)


def check_singular(gradients, weights, c):
    assert np.all(np.isfinite(weights))
    norms = np.linalg.norm(gradients, axis=1)
    mean = gradients.mean(axis=0)
    direction = weights @ gradients
    distance = np.linalg.norm(direction - mean)
    # The rounding of weights that cancel.
    rounding = 1e-5 * (np.abs(weights) @ norms)
    assert distance <= c * np.linalg.norm(mean) * (1 + 1e-5) + rounding
    if c >= 1:
        assert np.all(gradients @ direction >= -rounding * norms)


def test_zero_gradients_only_count_in_the_mean():
    gradients = normal(11, 20)
    gradients[2:] = 0.0
    weights = weights_of(gradients, 0.4)
    np.testing.assert_allclose(weights[2:], 1 / 11, rtol=1e-6)
    # The radius is in units of the mean: among the two, all is 2 / 11.
    kept = [0, 1]
    expected = 2 / 11 * weights_of(gradients[kept], 0.4)
    np.testing.assert_allclose(weights[kept], expected, rtol=1e-4)


@pytest.mark.slow
def test_with_xla():
    gramian = gramian_of(normal(11, 20))
    weights = compiled_with_xla(conflict_averse)(ops.convert_to_tensor(gramian))
    expected = solve(conflict_averse, gramian)
    np.testing.assert_allclose(
        ops.convert_to_numpy(weights), expected, rtol=1e-4, atol=1e-5
    )
