import numpy as np
import pytest
from keras import ops

from keras_mtl.metrics import task_variance


@pytest.mark.parametrize("shape", [(2,), (11,), (5, 3), (4, 5, 3)])
@pytest.mark.parametrize("convert", [np.asarray, ops.convert_to_tensor])
def test_against_numpy(shape, convert):
    losses = np.random.default_rng(0).gamma(2.0, size=shape).astype("float32")
    variance = task_variance(convert(losses))
    expected = np.var(losses.astype("float64"), axis=-1)
    np.testing.assert_allclose(
        ops.convert_to_numpy(variance), expected, rtol=1e-5
    )


def test_equal_losses_and_single_task():
    assert float(task_variance([3.0, 3.0, 3.0])) == 0.0
    assert float(task_variance([3.0])) == 0.0


def test_list_of_tensors():
    losses = [ops.convert_to_tensor(1.0), ops.convert_to_tensor(3.0)]
    assert float(task_variance(losses)) == 1.0


@pytest.mark.parametrize("losses", [1.0, np.zeros((2, 0), "float32")])
def test_no_tasks(losses):
    with pytest.raises(ValueError, match="at least one task"):
        task_variance(losses)
