"""What a package shows is what it promises."""

import importlib
import inspect

import pytest


@pytest.mark.parametrize("name", ["benchmarking", "callbacks", "cli", "plots"])
def test_nothing_but_the_public_names(name):
    package = importlib.import_module(f"keras_mtl.{name}")

    def is_own_module(value):
        # Importing a module of the package makes it an attribute, too.
        return inspect.ismodule(value) and value.__name__.startswith(
            f"{package.__name__}."
        )

    shown = {
        attribute
        for attribute, value in vars(package).items()
        if not attribute.startswith("_") and not is_own_module(value)
    }
    assert shown == set(package.__all__)
