"""The examples in docstrings do what they say."""

import ast
import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_mtl


def examples():
    prefix = keras_mtl.__name__ + "."
    for info in pkgutil.walk_packages(keras_mtl.__path__, prefix):
        # The backends that are not in use cannot be imported.
        if info.name.startswith(prefix + "backend."):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            # TF-Agents is an extra, for TensorFlow.
            assert info.name == prefix + "agents.tf_agents"
            continue
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if test.examples:
                yield pytest.param(test, id=test.name)


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
            exec(compile(example.source, test.name, "exec"), names)
            continue
        value = eval(code, names)
        try:
            want = ast.literal_eval(example.want)
        except (SyntaxError, ValueError):
            continue  # Prints something that is not a value.
        if isinstance(want, (list, float)):
            value = keras.ops.convert_to_numpy(value)
            np.testing.assert_allclose(value, want, rtol=1e-5)
        else:
            assert value == want
