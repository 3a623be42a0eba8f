import numpy as np
import pytest

from keras_mtl.weightings import NTKMTL
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_weights_are_those_of_the_kernels(exponent):
    for jacobian in steps():
        squares = (jacobian**2).sum(axis=1)
        expected = len(squares) * (squares.sum() / squares) ** exponent
        weights = weights_of(NTKMTL(exponent, max_norm=None), jacobian)
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_all_gradients_come_to_one_length():
    for jacobian in steps():
        weights = weights_of(NTKMTL(), jacobian)
        lengths = weights * np.linalg.norm(jacobian, axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)


def test_the_direction_has_norm_1():
    for jacobian in steps():
        direction = np.array(NTKMTL().aggregate(jacobian))
        assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-4)


def test_a_task_without_a_label_is_left_out():
    gramian = np.diag([4.0, 0.0, 9.0])
    weights = np.array(NTKMTL()(np.ones(3), gramian))
    expected = np.array(NTKMTL()(np.ones(2), np.diag([4.0, 9.0])))
    np.testing.assert_allclose(weights, [expected[0], 0.0, expected[1]])
    assert not np.any(np.array(NTKMTL()(np.ones(3), np.zeros((3, 3)))))
