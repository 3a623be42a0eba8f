"""Descriptions of settings, by which runs are found to be the same."""

import hashlib
import inspect
import json
import re
from typing import Any

import keras
import numpy as np
from keras import ops


def describe(value: Any) -> Any:
    """Describes an argument in JSON, so that equal ones look the same."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, range)):
        return [describe(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if ops.is_tensor(value) or hasattr(value, "__array__"):
        return _describe_array(value)
    if hasattr(value, "get_config") and not inspect.isclass(value):
        return {"class": type(value).__name__, **_config(value)}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return {"class": type(value).__qualname__, "size": _size(value)}


def _size(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


def _describe_array(value: Any) -> str:
    if ops.is_tensor(value):
        value = ops.convert_to_numpy(value)
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        array = array.astype(str)
    return f"{array.dtype} array {array.shape} {_digest(array)}"


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Describes the parameters and layers, but not their values."""
    return {
        "parameters": model.count_params(),
        "digest": _digest(json.dumps(_config(model)).encode()),
    }


def _config(value: Any) -> dict[str, Any]:
    try:
        config = describe(value.get_config())
    except NotImplementedError:
        return {}
    # Keras numbers the names of what it makes.
    return json.loads(re.sub(r'_\d+"', '"', json.dumps(config)))


def _digest(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
