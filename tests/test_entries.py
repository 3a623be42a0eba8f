"""The scalars that tasks take out of a vector of weights or means."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.backend.compiling import entries

VALUES = [[1.5], [-0.25, 3e38, 1e-37, 7.0], [np.nan, 2.0, np.inf, -np.inf]]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("is_compiled", [False, True])
def test_entries_are_those_of_the_vector(values, is_compiled):
    function = compiled(entries) if is_compiled else entries
    vector = ops.convert_to_tensor(values, "float32")
    found = function(vector)
    assert [entry.shape for entry in found] == [()] * len(values)
    found = [float(ops.convert_to_numpy(entry)) for entry in found]
    np.testing.assert_array_equal(found, np.float32(values))


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="what XLA compiles once on JAX"
)
def test_a_compiled_step_takes_no_slice():
    import jax

    from keras_mtl.metrics import TaskMeans

    if jax.default_backend() != "cpu":
        pytest.skip("XLA on a CPU compiles equal kernels once")
    means = TaskMeans(["a", "b", "c"])

    def weighted(weights, rows):
        total = sum(w * row for w, row in zip(entries(weights), rows))
        return total, means.result()

    vector = np.ones(3, "float32")
    program = str(jax.make_jaxpr(weighted)(vector, [vector] * 3))
    assert "reduce_sum" in program
    assert not [x for x in ("slice", "gather", "squeeze") if x in program]
