import keras
import numpy as np
import pytest
from scipy import stats

import keras_mtl
from keras_mtl.weightings.trimmed_mean import TrimmedMean

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("trim_number", [0, 1, 2, 5])
def test_is_the_trimmed_mean_of_each_coordinate(num_tasks, trim_number):
    rng = np.random.default_rng(0)
    trimmed = min(trim_number, (num_tasks - 1) // 2)
    weighting = TrimmedMean(trim_number)
    for _ in range(20):
        jacobian = rng.standard_cauchy((num_tasks, 30)).astype("float32")
        # SciPy cuts off floor(fraction * T).
        fraction = (trimmed + 0.1) / num_tasks
        expected = stats.trim_mean(jacobian.astype("float64"), fraction)
        np.testing.assert_allclose(
            np.array(weighting.aggregate(jacobian)),
            expected,
            rtol=1e-5,
            atol=1e-5 * np.abs(expected).max(),
        )


def test_one_faulty_gradient_changes_little():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(8, 100)).astype("float32")
    faulty = jacobian.copy()
    faulty[3] = 1e30
    clean = np.array(TrimmedMean().aggregate(jacobian))
    weighting = TrimmedMean()
    weighting.build((8,))
    direction = weighting.combine(
        keras.ops.convert_to_tensor(faulty), keras.ops.ones(8)
    )
    assert np.abs(np.array(direction) - clean).max() < 1.0


def test_trims_weighted_rows():
    """As a chain does, which passes its λ."""
    weighting = TrimmedMean()
    weighting.build((3,))
    direction = weighting.combine(
        keras.ops.convert_to_tensor([[1.0], [2.0], [3.0]]),
        keras.ops.convert_to_tensor([9.0, 2.0, 1.0]),
    )
    np.testing.assert_allclose(np.array(direction), [4.0])


def test_a_model_follows_the_trimmed_mean():
    rng = np.random.default_rng(0)
    inputs = keras.Input((4,))
    trunk = keras.layers.Dense(5, use_bias=False, name="trunk")
    features = trunk(inputs)
    heads = [keras.layers.Dense(1, use_bias=False) for _ in range(4)]
    outputs = {str(i): head(features) for i, head in enumerate(heads)}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting="trimmed_mean")
    x = rng.normal(size=(8, 4)).astype("float32")
    y = {name: rng.normal(size=(8, 1)).astype("float32") for name in outputs}
    kernel = np.array(trunk.kernel, "float64")
    gradients = []
    for name, head in zip(outputs, heads):
        output = np.array(head.kernel, "float64")
        error = x @ kernel @ output - y[name]
        gradients.append(2 / 8 * x.T @ error @ output.T)
    expected = kernel - 0.01 * np.sort(gradients, axis=0)[1:3].mean(axis=0)
    model.fit(x, y, batch_size=8, verbose=0)
    np.testing.assert_allclose(np.array(trunk.kernel), expected, atol=1e-6)


@pytest.mark.parametrize("trim_number", [-1, 0.5])
def test_names_a_bad_trim_number(trim_number):
    with pytest.raises(ValueError, match=f"trim_number={trim_number}"):
        TrimmedMean(trim_number)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
@pytest.mark.parametrize("trim_number", [0, 1, 3])
def test_agrees_with_torchjd(trim_number):
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(7, 30)).astype("float32")
    expected = aggregation.TrimmedMean(trim_number)(torch.tensor(jacobian))
    np.testing.assert_allclose(
        np.array(TrimmedMean(trim_number).aggregate(jacobian)),
        expected,
        rtol=1e-5,
        atol=1e-6,
    )
