"""Where the data sets themselves are, for the tests that read some of them."""

import os
import pathlib

import pytest

VARIABLE = "KERAS_MTL_DATA_DIR"


def real(name):
    """Returns the path of a data set, or skips the test where it is not."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} does not say where the data sets are")
    path = pathlib.Path(folder) / name
    if not path.exists():
        pytest.skip(f"{VARIABLE} is a folder without {name}")
    return path
