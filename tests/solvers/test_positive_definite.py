import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.positive_definite import solve_positive_definite

solve = compiled(solve_positive_definite)


@pytest.mark.parametrize("size", [1, 2, 11, 40])
def test_is_the_solution_in_float64(size):
    rows = np.random.default_rng(size).normal(size=(3, size, 2 * size))
    matrix = rows @ np.swapaxes(rows, 1, 2)
    right = np.random.default_rng(0).normal(size=(3, size))
    expected = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    found = solve(matrix.astype("float32"), right.astype("float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="others call LAPACK"
)
def test_a_pivot_that_rounds_to_zero():
    x = solve(np.ones((1, 2, 2), "float32"), np.float32([[1.0, 1.0]]))
    assert np.all(np.isfinite(ops.convert_to_numpy(x)))


def test_nearly_opposite_rows():
    """The sum of the components is huge, and their difference exact."""
    matrix = 1e6 * np.array([[1.0, -1.0], [-1.0, 1.0]]) + np.eye(2)
    x = ops.convert_to_numpy(
        solve(matrix[None].astype("float32"), np.float32([[1.0, 1.0]]))
    )[0]
    assert np.abs(x[0] - x[1]) <= 1e-6 * np.abs(x).max()
