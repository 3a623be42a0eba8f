"""What the data sets import, and what is imported only where it is used."""

import ast
import pathlib
import re

import pytest

import keras_mtl

# They read the code, and start processes that import it.
pytestmark = pytest.mark.any_backend

PACKAGE = pathlib.Path(keras_mtl.__file__).parent


def imported(nodes):
    """Yields the names of the modules that nodes of a syntax tree import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def trees(folder):
    paths = sorted(folder.rglob("*.py"))
    assert paths
    return {path: ast.parse(path.read_text("utf-8")) for path in paths}


@pytest.mark.parametrize(
    "package, other", [("datasets", "selection"), ("selection", "datasets")]
)
def test_data_sets_and_selection_do_not_import_each_other(package, other):
    for path, tree in trees(PACKAGE / package).items():
        for name in imported(ast.walk(tree)):
            assert not name.startswith(f"keras_mtl.{other}"), path


def test_only_its_builders_import_tensorflow_datasets():
    imports = re.compile(
        r"^\s*(import|from) .*(tensorflow_datasets|tfds_builders)", re.MULTILINE
    )
    found = {
        path.relative_to(PACKAGE).as_posix().rpartition("/")[0]
        for path in PACKAGE.rglob("*.py")
        if imports.search(path.read_text("utf-8"))
    }
    assert found == {"datasets/tfds_builders"}


def test_no_module_needs_what_only_some_functions_use():
    for path, tree in trees(PACKAGE).items():
        for name in imported(tree.body):
            assert name.split(".")[0] not in ("scipy", "sklearn", "cma"), path
