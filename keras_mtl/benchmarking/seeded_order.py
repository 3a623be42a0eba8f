from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_mtl.backend.keras_internals import can_convert_arrays
from keras_mtl.backend.keras_internals import check_data_cardinality
from keras_mtl.backend.keras_internals import convert_to_sliceable


def order_by_seed(fitting: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """Brings arrays into an order that is drawn from the seed.

    `fit` shuffles from there on. How it does so may depend on the number of the
    epoch alone (since Keras 3.16), and then all seeds would have the same
    batches. What is left as it is: data sets, which have an order of their own;
    arrays with `shuffle=False` or `shuffle="batch"`, whose batches shall be
    those of the user; and the examples at the end, of which `validation_split`
    makes the validation data.

    Args:
        fitting: The arguments of `fit`.
        seed: Integer that is not negative.

    Returns:
        The arguments, where they are shuffled with `x`, `y` and `sample_weight`
        in the new order, of the kinds that they have.
    """
    known = ("x", "y", "sample_weight")
    names = [name for name in known if fitting.get(name) is not None]
    data = tuple(fitting[name] for name in names)
    shuffle = fitting.get("shuffle", True)
    if "y" not in names or not shuffle or shuffle == "batch":
        return fitting
    if not can_convert_arrays(data):
        return fitting
    check_data_cardinality(data)
    arrays = [x for x in keras.tree.flatten(data) if x is not None]
    order = np.arange(int(arrays[0].shape[0]))
    np.random.default_rng(seed).shuffle(order[: _training_part(order, fitting)])
    ordered = keras.tree.map_structure(
        lambda x: x if x is None else x[order], convert_to_sliceable(data)
    )
    return {**fitting, **dict(zip(names, ordered, strict=True))}


def _training_part(order: np.ndarray, fitting: Mapping[str, Any]) -> int:
    """Returns the number of examples that `fit` does not split off."""
    split = fitting.get("validation_split") or 0.0
    if fitting.get("validation_data") is not None:
        split = 0.0
    return max(0, int(len(order) * (1.0 - split)))
