"""Pooling and unpooling against a loop over the squares."""

import numpy as np
from keras import ops

from keras_mtl.models.max_pooling import MaxPooling
from keras_mtl.models.max_unpooling import MaxUnpooling
from tests.models.numpy_layers import gradient_of

# Small integers, of which many are equal.
IMAGE = np.random.default_rng(0).integers(0, 4, (2, 6, 4, 3)).astype("float32")


def squares(x):
    for b, i, j, c in np.ndindex(
        x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    ):
        rows, columns = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
        yield (b, i, j, c), (b, rows, columns, c)


def test_pooling_and_unpooling():
    values, places = MaxPooling()(IMAGE)
    unpooled = ops.convert_to_numpy(MaxUnpooling()(values, places))
    values, places = map(ops.convert_to_numpy, (values, places))
    expected = np.zeros_like(IMAGE)
    for small, large in squares(IMAGE):
        square = IMAGE[large].ravel()
        assert values[small] == square.max()
        assert places[small] == np.argmax(square)  # The first of equal ones.
        corner = np.unravel_index(np.argmax(square), (2, 2))
        part = expected[large]
        part[corner] = square.max()
    np.testing.assert_array_equal(unpooled, expected)


def test_gradient_is_of_one_value_a_square():
    factors = np.arange(1, 37, dtype="float32").reshape((2, 3, 2, 3))

    def total(x):
        values, places = MaxPooling()(x)
        unpooled = MaxUnpooling()(values, places)
        return ops.sum(ops.multiply(values, factors)) + ops.sum(unpooled)

    gradient = ops.convert_to_numpy(gradient_of(total, IMAGE))
    for small, large in squares(IMAGE):
        expected = np.zeros(4)
        expected[np.argmax(IMAGE[large])] = factors[small] + 1
        np.testing.assert_array_equal(gradient[large].ravel(), expected)
