import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The tests' tensors are small: more threads only wait for each other.
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    os.environ.setdefault(name, "2")
# Many tests compile the same small programs, as do the processes they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import keras
import pytest


@pytest.fixture
def backend():
    return keras.backend.backend()


@pytest.fixture(autouse=True)
def reset_keras():
    """Layers are named from zero, and every test draws the same numbers."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


def pytest_report_header():
    return f"keras {keras.__version__} on {keras.backend.backend()}"
