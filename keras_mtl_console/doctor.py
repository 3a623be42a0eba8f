"""`keras-mtl doctor`: what is installed, and what to type for what is not."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from keras_mtl_console import installation

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BACKENDS = ["tensorflow", "jax", "torch"]
# What each extra of pyproject.toml is for, beside those of the backends.
USES = {
    "plots": "the figures of keras_mtl.plots, tables in bold",
    "demo": "keras-mtl demo, keras-mtl benchmark",
    "tensorboard": "keras_mtl.callbacks.TaskTensorBoard",
    "onnx": 'model.export(..., format="onnx")',
    "selection": "keras_mtl.selection.counterfactual_policy",
    "datasets": "TensorFlow Datasets, the measures of keras_mtl.datasets.glue",
    "nlp": "texts with KerasHub, as in experiments/glue.py",
    "tf-agents": "the agent of igb_v2 from TF-Agents, on TensorFlow",
}
# Those for work on the package, of which a wheel says nothing.
USES_IN_A_CLONE = {
    "test": "the tests",
    "parity": "the comparison with TorchJD",
    "lint": "the checks of style and types",
    "release": "what builds the wheel",
    "dev": "all that work on keras_mtl takes",
}
# Other distributions that bring the same modules.
ALSO = {
    "keras": ["keras-nightly"],
    "tensorflow": [
        "tensorflow-cpu",
        "tf-nightly",
        "tf-nightly-cpu",
        "tensorflow-macos",
        "tensorflow-rocm",
    ],
    "tf-keras": ["tf-keras-nightly"],
}
# Prints the backend on which a model can be trained.
IMPORT = "import keras, keras_mtl; print('backend', keras.backend.backend())"


def run() -> int:
    """Prints the report.

    Returns:
        0 if a model can be trained with the backend in use, else 1.
    """
    print(f"{'Python':<12}{platform.python_version():<12}{sys.executable}")
    required = requirements()
    print(f"{'keras':<12}{_version_of('keras', required.get('', []))}")
    folder = installation.package_folder()
    print(f"{'keras_mtl':<12}{installation.version():<12}{folder}")
    active = installation.configured_backend()
    print("\nBackends")
    for backend in BACKENDS:
        version = _version_of(backend, required.get(backend, []))
        if not installed(backend):
            version += f". Type: {installation.install_line(backend)}"
        mark = "in use" if backend == active else ""
        print(f"  {backend:<12}{mark:<8}{version}")
    print(f"\nImporting Keras with {active} ...", flush=True)
    error = import_error(active)
    print(_verdict(active, error))
    print("\nExtras")
    uses = {**USES, **(USES_IN_A_CLONE if installation.clone() else {})}
    for extra in filter(required.get, uses):
        print(f"  {extra:<12}{uses[extra]}")
        print(f"{'':<14}{_state_of(extra, required)}")
    return 1 if error else 0


def installed(name: str) -> str | None:
    """Returns the version of a distribution, `None` if it is not installed."""
    for distribution in [name, *ALSO.get(name, [])]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def requirements() -> dict[str, list["Requirement"]]:
    """Returns what each extra requires, and, as that of "", the package.

    It is read from the clone, or from what pip has recorded. Where neither is
    to be had, it is empty.
    """
    try:
        from packaging.requirements import Requirement

        folder = installation.clone()
        if folder is None:
            found = metadata.metadata("keras-mtl")
            all_ = [Requirement(x) for x in found.get_all("Requires-Dist", [])]
            names = ["", *found.get_all("Provides-Extra", [])]
            return {x: [r for r in all_ if _extra_of(r) == x] for x in names}
    except ModuleNotFoundError:
        # Keras, which brings `packaging`, or the record is missing.
        return {}
    import tomllib

    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    declared = {
        "": project["dependencies"],
        **project["optional-dependencies"],
    }
    return {x: list(map(Requirement, declared[x])) for x in declared}


def _extra_of(requirement: "Requirement") -> str:
    found = re.search(r'extra == "(.+?)"', str(requirement.marker))
    return found[1] if found else ""


def missing(
    extra: str, required: dict[str, list["Requirement"]]
) -> tuple[list[str], list[str]]:
    """Returns what an extra lacks.

    Returns:
        What has to be installed, and what is not to be had for this Python.
    """
    lacking: list[str] = []
    refused: list[str] = []
    for requirement in required[extra]:
        if requirement.name == "keras-mtl":
            for part in sorted(requirement.extras):
                more = missing(part, required)
                lacking += more[0]
                refused += more[1]
        elif requirement.marker and not requirement.marker.evaluate(
            {"extra": extra}
        ):
            refused.append(f"{requirement.name} ({requirement.marker})")
        elif not _fits(requirement):
            version = installed(requirement.name)
            instead = f" (not {version})" if version else ""
            lacking.append(f"{requirement.name}{instead}")
    return list(dict.fromkeys(lacking)), list(dict.fromkeys(refused))


def _fits(requirement: "Requirement") -> bool:
    version = installed(requirement.name)
    return version is not None and requirement.specifier.contains(
        version, prereleases=True
    )


def _state_of(extra: str, required: dict[str, list["Requirement"]]) -> str:
    lacking, refused = missing(extra, required)
    parts = []
    if lacking:
        line = installation.install_line(extra)
        parts.append(f"missing: {', '.join(lacking)}. Type: {line}")
    if refused:
        parts.append(f"not for this Python: {', '.join(refused)}")
    return "; ".join(parts) or "installed"


def _version_of(name: str, requirements: list["Requirement"]) -> str:
    version = installed(name)
    if version is None:
        return "missing"
    wrong = [x for x in requirements if x.name == name and not _fits(x)]
    return version + "".join(f" (expected {x.specifier})" for x in wrong)


def import_error(backend: str) -> str | None:
    """Imports the package in a new process.

    Returns:
        The last line of the error, `None` if all went well.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode == 0 and f"backend {backend}" in result.stdout:
        return None
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {result.returncode}"


def _verdict(active: str, error: str | None) -> str:
    if error is None:
        return "It works: models can be trained."
    others = [x for x in BACKENDS if x != active and installed(x)]
    lines = [f"It fails: {error}"]
    if others:
        word = "set" if os.name == "nt" else "export"
        line = f"{word} KERAS_BACKEND={others[0]}"
        lines.append(f"To use another backend, type: {line}")
    elif not any(map(installed, BACKENDS)):
        line = installation.install_line("tensorflow")
        lines.append(f"No backend is installed. For one of them, type: {line}")
    return "\n".join(lines)
