import numpy as np
import pytest

from keras_mtl.weightings import LRAnnealing
from tests.weightings.gradients import steps
from tests.weightings.test_metabalance import X
from tests.weightings.test_metabalance import Y
from tests.weightings.test_metabalance import model_of

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.parametrize("alpha", [0.9, 0.0])
def test_is_algorithm_1(alpha):
    weighting, expected = LRAnnealing(alpha), np.ones(5)
    for jacobian in steps(count=60):
        norms = np.linalg.norm(jacobian, axis=1)
        expected = alpha * expected + (1 - alpha) * norms.sum() / norms
        gramian = (jacobian @ jacobian.T).astype("float32")
        weights = np.array(weighting(np.ones(5, "float32"), gramian))
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_gradients_come_to_one_length():
    weighting = LRAnnealing()
    gramian = np.diag([1e8, 1.0, 1e-6]).astype("float32")
    for _ in range(200):
        weights = np.array(weighting(np.ones(3, "float32"), gramian))
    lengths = weights * np.sqrt(np.diagonal(gramian))
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-3)


def test_a_task_without_a_label_keeps_its_weight():
    weighting = LRAnnealing(0.5)
    losses = np.ones(3, "float32")
    first = np.array(weighting(losses, np.diag([4.0, 1.0, 9.0])))
    second = np.array(weighting(losses, np.diag([4.0, 1.0, 0.0])))
    assert second[2] == first[2]
    # Of norms of 2 and 1.
    np.testing.assert_allclose(second[:2], 0.5 * first[:2] + [0.75, 1.5])


def test_names_a_bad_alpha():
    with pytest.raises(ValueError, match="Received: alpha=1.0"):
        LRAnnealing(alpha=1.0)


def test_fit_trains_with_the_average():
    model = model_of(LRAnnealing(0.5))
    norms = np.sqrt(np.diagonal(model.gramian(X, Y)))
    logs = model.fit(X, Y, batch_size=16, verbose=0).history
    found = [logs[f"weight/{task}"][0] for task in Y]
    expected = 0.5 + 0.5 * norms.sum() / norms
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected.max() > 10 * expected.min()
