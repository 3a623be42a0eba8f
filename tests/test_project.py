"""What stands in several files of the project is the same in all of them."""

import importlib
import pathlib
import re
import tomllib

import pytest

import keras_mtl

pytestmark = pytest.mark.any_backend

ROOT = pathlib.Path(__file__).parent.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_citation_has_the_version_of_the_package():
    versions = re.findall(r"^version: (.+)$", read("CITATION.cff"), re.M)
    assert versions == [keras_mtl.__version__]


def test_the_command_is_installed_with_the_package():
    project = tomllib.loads(read("pyproject.toml"))
    entry = project["project"]["scripts"]["keras-mtl"]
    module, _, name = entry.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert module in packages and "keras_mtl" in packages
    assert f'"{module}"' in read(".ci/release_check.py")


@pytest.mark.parametrize(
    "name",
    [
        ".github/pull_request_template.md",
        ".github/workflows/nightly.yml",
        ".github/workflows/tests.yml",
        ".pre-commit-config.yaml",
        "CONTRIBUTING.md",
    ],
)
def test_every_make_target_exists(name):
    text = read(name)
    called = re.findall(r"\bmake(?: [A-Z]+=\S+)* ([a-z][a-z-]*)", text)
    for matrix in re.findall(r"target: \[(.+)\]", text):
        called += matrix.split(", ")
    targets = re.findall(r"^([a-z-]+):", read("Makefile"), re.M)
    assert called and set(called) <= set(targets)
