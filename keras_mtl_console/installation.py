"""Where `keras_mtl` is, which version it has, and how to add to it.

Nothing here imports the package, nor Keras.
"""

import importlib.util
import json
import os
import pathlib
import re


def package_folder() -> pathlib.Path:
    """Returns the folder of the package `keras_mtl`."""
    found = importlib.util.find_spec("keras_mtl")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "Expected the package keras_mtl to be installed. "
            "Received: no module of that name"
        )
    return pathlib.Path(found.origin).parent


def version() -> str:
    """Returns the version of the package.

    It is that of the sources: what is recorded of an editable installation may
    be older.
    """
    try:
        file = package_folder() / "version.py"
        text = file.read_text(encoding="utf-8")
        return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]
    except (OSError, TypeError):
        from importlib import metadata

        return metadata.version("keras-mtl")


def clone() -> pathlib.Path | None:
    """Returns the folder of the clone that the package is in, if it is."""
    folder = package_folder().parent
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    # A copy of the package in another project has that project's file.
    return folder if 'name = "keras-mtl"' in text else None


def install_line(extra: str) -> str:
    """Returns what to type to install an extra: the package is on no index."""
    folder = clone()
    if folder is None:
        return f'pip install "{_wheel()}[{extra}]"'
    here = folder == pathlib.Path.cwd()
    return f'pip install -e "{"." if here else folder}[{extra}]"'


def _wheel() -> str:
    """Returns the file that was installed, as far as pip has recorded it."""
    from importlib import metadata
    from urllib.parse import unquote

    try:
        recorded = metadata.distribution("keras-mtl").read_text(
            "direct_url.json"
        )
        url = json.loads(recorded or "{}").get("url", "")
    except metadata.PackageNotFoundError:
        url = ""
    if url.endswith(".whl"):
        return unquote(url.removeprefix("file://"))
    return f"keras_mtl-{version()}-py3-none-any.whl"


def configured_backend() -> str:
    """Returns the backend that Keras is going to use, as Keras finds it."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            return json.load(file)["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"
