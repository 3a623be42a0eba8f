from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.modo import MoDo
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks=4, steps=40, size=30):
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(steps, 2, num_tasks, size))
    # Two batches: the same gradients and independent noise.
    jacobian[:, 1] = jacobian[:, 0] + 0.5 * jacobian[:, 1]
    return jacobian.astype("float32")


def nearest_on_simplex(vector):
    """By bisection on the shift."""
    low, high = vector.min() - 1.0, vector.max()
    for _ in range(100):
        shift = (low + high) / 2
        if np.maximum(vector - shift, 0).sum() > 1:
            low = shift
        else:
            high = shift
    return np.maximum(vector - high, 0)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("gamma, rho", [(0.1, 0.0), (0.01, 0.0), (0.02, 2.0)])
@pytest.mark.parametrize("double", [False, True])
def test_is_algorithm_1(gamma, rho, double):
    step = partial(call, MoDo(gamma, rho))
    weights = np.full(4, 0.25)
    for first, second in jacobians():
        second = second if double else first
        # The gradients with respect to λ of f_λ on one batch and the other.
        common = weights @ second.astype("float64")
        gradient = first.astype("float64") @ common + rho * weights
        weights = nearest_on_simplex(weights - gamma * gradient)
        np.testing.assert_allclose(
            step(np.ones(4, "float32"), first @ second.T), weights, atol=1e-5
        )


def test_tends_to_mgda_on_constant_gradients():
    """Two tasks: the minimal norm has a closed form."""
    rng = np.random.default_rng(0)
    g, h = rng.normal(size=(2, 10)) * [[1.0], [1.5]]
    share = np.clip(h @ (h - g) / ((g - h) @ (g - h)), 0, 1)
    step = partial(call, MoDo(gamma=0.02))
    gramian = (np.stack([g, h]) @ np.stack([g, h]).T).astype("float32")
    for _ in range(200):
        weights = step(np.ones(2, "float32"), gramian)
    np.testing.assert_allclose(weights, [share, 1 - share], atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [({"gamma": 0.0}, "Received: gamma=0.0"), ({"rho": -1.0}, "rho=-1.0")],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MoDo(**arguments)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    ours, theirs = MoDo(0.05, 0.1), aggregation.MoDoWeighting(0.05, 0.1)
    for first, second in jacobians():
        product = first @ second.T
        np.testing.assert_allclose(
            np.array(ours(np.ones(4, "float32"), product)),
            theirs(torch.tensor(product)),
            atol=1e-5,
        )
