"""Executes the examples of this folder and writes their notebooks.

An example is a script with the cells of a notebook, in jupytext's percent
format. Run `make notebooks` after a change, or this file with the names of the
scripts to execute; without names, it executes all.
"""

import os
import pathlib
import sys
import time

import jupytext
import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent


def scripts():
    """Returns the paths of the examples."""
    paths = sorted(FOLDER.glob("*.py"))
    return [path for path in paths if "\n# %%" in path.read_text("utf-8")]


def read(script):
    """Returns the notebook of a script, without outputs."""
    notebook = jupytext.read(script)
    # Otherwise random, and different each time.
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
    return notebook


def execute(notebook, folder, timeout=None, **environment):
    """Executes a notebook in place.

    Args:
        notebook: The notebook.
        folder: Working directory.
        timeout: Seconds that a cell may take.
        **environment: Environment variables besides those of this process.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    environment = {**os.environ, **environment}
    paths = [str(FOLDER.parent), environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # Figures go into the notebook, whatever scripts do with them.
    environment.pop("MPLBACKEND", None)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        # What the backends log tells of the machine, not of the example.
        # Python's warnings remain.
        extra_arguments=[
            "--IPKernelApp.capture_fd_output=False",
            "--IPKernelApp.exec_lines=import logging; logging.disable()",
        ],
    )
    client.execute(env=environment)


def main(names):
    for script in map(pathlib.Path, names) if names else scripts():
        start = time.perf_counter()
        notebook = read(script)
        execute(notebook, FOLDER)
        path = script.with_suffix(".ipynb")
        nbformat.write(notebook, path)
        print(f"Wrote {path} in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
