import numpy as np
import pytest

from keras_mtl.weightings import IMTLG
from tests.weightings.gradients import cosines
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


def papers_closed_form(jacobian):
    units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    differences = jacobian[:1] - jacobian[1:]
    unit_differences = units[:1] - units[1:]
    alpha = np.linalg.solve(
        (differences @ unit_differences.T).T, unit_differences @ jacobian[0]
    )
    return np.append(1 - alpha.sum(), alpha)


@pytest.mark.every_backend
@pytest.mark.parametrize("num_tasks", [2, 3, 5])
def test_is_the_closed_form_of_the_paper(num_tasks):
    for jacobian in steps(num_tasks):
        np.testing.assert_allclose(
            weights_of(IMTLG(), jacobian),
            papers_closed_form(jacobian),
            rtol=1e-3,
            atol=1e-5,
        )


def test_projections_are_equal():
    for jacobian in steps():
        direction = direction_of(IMTLG(), jacobian)
        projections = cosines(jacobian, direction)
        np.testing.assert_allclose(projections, projections[0], rtol=1e-5)


def test_duplicated_gradients_share_the_weight():
    jacobian = steps(2)[0]
    single = weights_of(IMTLG(), jacobian)
    double = weights_of(IMTLG(), jacobian[[0, 0, 1]])
    np.testing.assert_allclose(double[:2], single[0] / 2, rtol=1e-5)
    np.testing.assert_allclose(double[2], single[1], rtol=1e-5)


def test_weights_sum_to_one_also_where_that_turns_the_direction():
    angle = 1.2
    units = np.array(
        [[1, 0], [np.cos(angle), np.sin(angle)], [np.cos(0.6), -0.2]]
    )
    units = np.concatenate([units, [[0.3], [0.4], [-0.6]]], axis=1)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    equal = np.linalg.solve(units @ units.T, np.ones(3))
    assert equal.min() < 0
    # The gradient of the negative weight is so small that its weight rules.
    jacobian = units * np.where(equal < 0, 1e-2, 1.0)[:, None]
    weights = weights_of(IMTLG(), jacobian)
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert np.all(jacobian @ (weights @ jacobian) < 0)


def test_a_zero_gradient_is_left_out():
    jacobian = steps(3)[0]
    alone = weights_of(IMTLG(), jacobian)
    jacobian = np.insert(jacobian, 1, 0.0, axis=0)
    weights = weights_of(IMTLG(), jacobian)
    np.testing.assert_allclose(np.delete(weights, 1), alone, rtol=1e-5)
    assert weights[1] == 0
