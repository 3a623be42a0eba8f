import numpy as np
import pytest
import scipy.optimize

from keras_mtl.weightings import MGDA
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


def scipy_weights(jacobian):
    """The shortest vector of the hull, by non-negative least squares.

    Of Σ y_i (g_i, 1), y >= 0, the one nearest to (0, 1) is a multiple of it.
    """
    system = np.concatenate([jacobian.T, np.ones((1, len(jacobian)))])
    target = np.append(np.zeros(jacobian.shape[1]), 1.0)
    weights, _ = scipy.optimize.nnls(system, target)
    return weights / weights.sum()


def normalizers(normalization, losses, jacobian):
    norms = np.linalg.norm(jacobian, axis=1)
    return {
        "none": np.ones(len(losses)),
        "l2": norms,
        "loss": losses,
        "loss+": losses * norms,
    }[normalization]


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_is_the_shortest_vector_of_the_normalized_hull(normalization):
    rng = np.random.default_rng(1)
    mgda = MGDA(normalization)
    for jacobian in steps():
        losses = rng.uniform(0.1, 3.0, len(jacobian)).astype("float32")
        divisors = normalizers(normalization, losses, jacobian)
        normalized = jacobian / divisors[:, None]
        expected = scipy_weights(normalized)
        np.testing.assert_allclose(
            weights_of(mgda, jacobian, losses) * divisors, expected, atol=1e-5
        )


def test_improves_all_tasks_by_at_least_its_squared_norm():
    for jacobian in steps():
        direction = direction_of(MGDA(), jacobian)
        squared = direction @ direction
        norms = np.linalg.norm(jacobian, axis=1)
        rounding = 2e-6 * norms * norms.min()
        assert np.all(jacobian @ direction >= squared - rounding)


def test_normalization_by_losses_is_mgda_of_the_logarithms():
    jacobian = steps()[0]
    losses = np.array([0.1, 1.0, 2.0, 5.0, 30.0])
    direction = direction_of(MGDA("loss"), jacobian, losses)
    expected = direction_of(MGDA(), jacobian / losses[:, None])
    np.testing.assert_allclose(direction, expected, atol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_tasks_without_labels_are_left_out(normalization):
    jacobian = steps()[0]
    jacobian[1] = 0.0
    losses = np.array([1.0, 0.0, 2.0, 0.5, 3.0])
    kept = [0, 2, 3, 4]
    weights = weights_of(MGDA(normalization), jacobian, losses)
    alone = weights_of(MGDA(normalization), jacobian[kept], losses[kept])
    assert weights[1] == 0
    np.testing.assert_allclose(weights[kept], alone, rtol=1e-5, atol=1e-6)


def test_weighs_the_heads_as_the_official_code():
    mgda = MGDA()
    mgda(np.ones(2), np.diag([1.0, 4.0]))
    np.testing.assert_allclose(np.array(mgda.head_weights()), [0.8, 0.2])


def test_needs_positive_losses_only_where_they_divide():
    assert MGDA("loss").needs_positive_losses
    assert not MGDA("l2").needs_positive_losses


def test_names_a_bad_normalization():
    with pytest.raises(ValueError, match="Received: normalization='L2'"):
        MGDA(normalization="L2")
