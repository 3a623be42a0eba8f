"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.backend.primitives import BACKENDS


def is_of_another_backend(module):
    """Whether a module imports a backend that is not in use, or none of ours.

    It takes seconds to import, and may be absent.
    """
    others = set(BACKENDS) - {keras.backend.backend()}
    return any(part.split("_")[0] in others for part in module.split("."))


def examples():
    prefix = keras_mtl.__name__ + "."
    for info in pkgutil.walk_packages(keras_mtl.__path__, prefix):
        # Importing `__main__` runs the console command.
        if is_of_another_backend(info.name) or info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            # TF-Agents and TFDS are extras.
            extras = ("agents.tf_agents", "datasets.tfds_builders")
            assert info.name.startswith(tuple(prefix + x for x in extras))
            continue
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.once
@pytest.mark.parametrize("test", list(examples()))
def test_example(test):
    names = {
        **test.globs,
        "keras": keras,
        "keras_mtl": keras_mtl,
        "np": np,
        "ops": keras.ops,
    }
    for example in test.examples:
        try:
            code = compile(example.source, test.name, "eval")
        except SyntaxError:
            assert not example.want, "a statement prints nothing"
            exec(compile(example.source, test.name, "exec"), names)
            continue
        assert_is(eval(code, names), example.want)


def assert_is(value, want):
    """Asserts that Python shows `value` as `want`, up to float32's rounding."""
    if not want:
        assert value is None
        return
    try:
        known = {"array": np.array, "float32": np.float32}
        expected = eval(want, known)
    except (SyntaxError, NameError):  # It is no number, and shown by its class.
        assert repr(value) == want.strip()
        return
    is_text = np.asarray(expected).dtype.kind == "U"
    if isinstance(expected, (list, float, np.ndarray)) and not is_text:
        value = keras.ops.convert_to_numpy(value)
        assert value.shape == np.shape(expected)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    else:
        assert value == expected


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "value, want",
    [
        (1, ""),
        (1.001, "1.0\n"),
        (np.float32([1, 1]), "1.0\n"),
        (np.float32([1, 2]), "array([1., 3.], dtype=float32)\n"),
        (object(), "<NashMTL name=nash_mtl, built=False>\n"),
        ("nash", "'mgda'\n"),
        (["nash"], "['mgda']\n"),
    ],
    ids=["nothing", "float", "shape", "array", "instance", "text", "texts"],
)
def test_other_values_are_seen(value, want):
    with pytest.raises(AssertionError):
        assert_is(value, want)
