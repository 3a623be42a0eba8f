import numpy as np
import pytest
from scipy.optimize import brentq

from keras_mtl.solvers.simplex_projection import project_onto_simplex

pytestmark = pytest.mark.quick_on_torch


def reference(vector):
    """The root of the sum's monotone equation in the shift."""
    shift = brentq(
        lambda s: np.maximum(vector - s, 0).sum() - 1,
        vector.min() - 1,
        vector.max(),
        xtol=1e-15,
    )
    return np.maximum(vector - shift, 0)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 11, 128])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_is_the_nearest_point(num_tasks, scale):
    rng = np.random.default_rng(0)
    for _ in range(5):
        vector = (scale * rng.normal(size=num_tasks)).astype("float32")
        np.testing.assert_allclose(
            np.array(project_onto_simplex(vector)),
            reference(vector.astype("float64")),
            atol=2e-6 * max(1, scale),
        )


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_is_on_the_simplex_at_any_scale(scale):
    vector = np.array([1.0, -2.0, 0.5, 1.0], "float32") * np.float32(scale)
    point = np.array(project_onto_simplex(vector))
    assert np.all(point >= 0)
    assert point.sum() == pytest.approx(1.0, abs=1e-6)


def test_points_of_the_simplex_stay():
    point = np.array([0.25, 0.0, 0.75], "float32")
    np.testing.assert_allclose(
        np.array(project_onto_simplex(point)), point, atol=1e-7
    )
