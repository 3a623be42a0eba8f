"""JSON without NaN, and files that are written whole or not at all."""

import json
import math
import os


def to_json(value, indent=None):
    return json.dumps(_nan_to_null(value), indent=indent)


def _nan_to_null(value):
    if isinstance(value, dict):
        return {str(key): _nan_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_null(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write(path, text):
    """Writes a file whole or not at all."""
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
