import doctest

import numpy as np
import pytest
from keras import ops

from keras_mtl.solvers import exponentiated_gradient as module
from keras_mtl.solvers.exponentiated_gradient import exponentiated_gradient_step

pytestmark = pytest.mark.quick_on_torch

P = np.array([0.1, 0.2, 0.3, 0.4])


def update(gains, counted=(True,) * 4, p=P):
    log_p = exponentiated_gradient_step(
        np.log(p).astype("float32"),
        np.array(gains, "float32"),
        np.array(counted),
    )
    return ops.convert_to_numpy(log_p).astype("float64")


@pytest.mark.quick_on_torch(1)
def test_multiplies_and_normalizes():
    gains = np.array([1.0, -2.0, 0.5, 3.0])
    expected = P * np.exp(gains)
    np.testing.assert_allclose(
        np.exp(update(gains)), expected / expected.sum(), rtol=1e-5
    )


def test_an_unknown_gain_keeps_a_probability():
    p = np.exp(update([1.0, 9.0, 2.0, 3.0], [True, False, True, True]))
    assert p[1] == pytest.approx(0.2, rel=1e-5)
    known = np.array([0.1, 0.3, 0.4]) * np.exp([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        p[[0, 2, 3]], 0.8 * known / known.sum(), rtol=1e-5
    )


def test_no_known_gain_changes_nothing():
    np.testing.assert_allclose(
        np.exp(update([1.0, 9.0, 2.0, 3.0], [False] * 4)), P, rtol=1e-5
    )


def test_no_logarithm_is_lost():
    log_p = update([0.0, -1e3, -1e16, -3e38])
    np.testing.assert_allclose(log_p[1:3], [-1e3, -1e16], rtol=1e-2)
    assert np.isfinite(log_p[3]) and log_p[3] < -1e29


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_huge_gains_have_finite_logarithms(sign):
    log_p = update(sign * np.array([3e38, 1e30, 1e16, 0.0]))
    assert np.all(np.isfinite(log_p))
    assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-5)


def test_example_of_the_docstring():
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
