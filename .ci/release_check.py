"""Tries the wheel of a release where nothing of this checkout can help it.

    python .ci/release_check.py dist

The folder holds one wheel and one sdist, as `python -m build` leaves them. The
wheel is installed with JAX, the smallest backend, into an empty environment,
and everything is run from an empty folder.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("keras_mtl", "keras_mtl_console")

# What is trained: two steps of a gradient balancing, and a file of the model.
TRAINING = """
import pathlib
import sys

import keras
import numpy as np

import keras_mtl

folder = pathlib.Path(keras_mtl.__file__).parent
assert pathlib.Path(sys.prefix) in folder.parents, f"imported from {folder}"

inputs = keras.Input((3,))
trunk = keras.layers.Dense(4, activation="relu")(inputs)
outputs = {name: keras.layers.Dense(1, name=name)(trunk) for name in "ab"}
model = keras_mtl.MultiTaskModel(inputs, outputs)
model.compile("adam", loss={"a": "mse", "b": "mse"}, weighting="nash_mtl")
x = np.ones((8, 3), "float32")
y = {name: np.ones((8, 1), "float32") for name in "ab"}
history = model.fit(x, y, batch_size=4, epochs=1, verbose=0).history
assert int(model.optimizer.iterations) == 2
assert np.isfinite(history["loss"]).all(), history
assert set(history) >= {"a_loss", "b_loss", "weight/a", "weight/b"}, history
model.save("model.keras")
loaded = keras.saving.load_model("model.keras")
same = loaded.predict(x, verbose=0)["a"], model.predict(x, verbose=0)["a"]
np.testing.assert_allclose(*same, rtol=1e-6)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="of the wheel")
    folder = parser.parse_args().folder.resolve()
    wheel = one_file(folder, "*.whl")
    one_file(folder, "*.tar.gz")
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as temporary:
        check_installed(wheel, pathlib.Path(temporary))
    print(f"{wheel.name} can be released")


def one_file(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"Expected one {pattern} in {folder}. Received: {found}")
    return found[0]


def check_contents(wheel):
    """Exits if the wheel has other files of a package than the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name for name in archive.namelist() if ".dist-info/" not in name
        }
    files = [ROOT / "keras_mtl" / "py.typed"]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    if packed != expected:
        sys.exit(
            f"Expected the wheel to have the files of {PACKAGES}. "
            f"Missing: {sorted(expected - packed)}. "
            f"Unexpected: {sorted(packed - expected)}"
        )


def check_installed(wheel, folder):
    """Exits if the installed wheel does not import, run or train."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    binaries = venv / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    environment = clean_environment()

    def run(*command, **arguments):
        print("+", *command[:3], flush=True)
        result = subprocess.run(
            command, cwd=folder, env=environment, text=True, **arguments
        )
        if result.returncode:
            sys.exit(f"This command failed: {command}")
        return result.stdout

    run(python, "-m", "pip", "--quiet", "install", f"{wheel}[jax]")
    version = run(binaries / "keras-mtl", "--version", stdout=subprocess.PIPE)
    expected = wheel.name.split("-")[1]
    if version.strip() != expected:
        sys.exit(f"Expected version {expected}. Received: {version.strip()}")
    run(binaries / "keras-mtl", "methods", stdout=subprocess.DEVNULL)
    run(python, "-I", "-c", TRAINING)
    run(python, "-m", "pip", "check")


def clean_environment():
    """Returns the environment without what leads Python to this checkout."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    return environment | {"KERAS_BACKEND": "jax"}


if __name__ == "__main__":
    main()
