"""The gradients of all tasks for one tensor, as they are compared."""

import keras
import numpy as np
import pytest

from keras_mtl.backend import compiling
from keras_mtl.training.block import Block
from keras_mtl.training.block import FusedBlock
from tests.utils import BACKEND

RNG = np.random.default_rng(4)
FUSED = {
    "features": lambda x: FusedBlock(x, few_rows=4),
    "parameters": lambda x: Block(x, is_fused=True),
}


@pytest.mark.skipif(BACKEND == "torch", reason="is compiled by XLA")
@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_sums_of_many_terms_are_exact_under_xla(kind, tasks):
    # Products of a mean of 1, so that no error averages out.
    rows = (1 + RNG.normal(size=(tasks, 500, 1000))).astype("float32")
    tensors = list(map(keras.ops.convert_to_tensor, rows))
    gramian = compiling.compiled(lambda rows: FUSED[kind](rows).gramian(tasks))
    matrix = rows.reshape(tasks, -1).astype("float64")
    np.testing.assert_allclose(gramian(tensors), matrix @ matrix.T, 1e-5)
