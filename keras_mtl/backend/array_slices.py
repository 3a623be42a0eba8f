"""Arrays of every kind that `fit` takes, in batches of any order."""

from typing import Any

import keras
import numpy as np

from keras_mtl.backend.keras_internals import check_data_cardinality
from keras_mtl.backend.keras_internals import convert_to_sliceable


def shuffled_order(count: int, seed: int, number: int) -> np.ndarray:
    """Returns the order of examples or batches in pass `number`, `(count,)`."""
    order = np.arange(count)
    np.random.default_rng([seed, number]).shuffle(order)
    return order


class ArraySlices:
    """Examples of arrays by their indices, in a structure of NumPy arrays.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays.
    """

    def __init__(self, data: tuple):
        check_data_cardinality(data)
        self._slices = convert_to_sliceable(data, target_backend="numpy")
        self.num_examples = keras.tree.flatten(self._slices)[0].array.shape[0]
        if not self.num_examples:
            raise ValueError("Expected at least one example. Received: none")

    def __getitem__(self, indices: Any) -> Any:
        return keras.tree.map_structure(
            lambda x: x and x.convert_to_numpy(x[indices]), self._slices
        )
