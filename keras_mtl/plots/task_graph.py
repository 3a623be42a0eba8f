import json
import math
import os
import pathlib
import shutil
import subprocess
import typing

from keras_mtl.plots.axes import COLORS
from keras_mtl.training.graph import GraphSplit
from keras_mtl.training.graph import split_of
from keras_mtl.training.parameters_by_task import parameters_by_task

if typing.TYPE_CHECKING:
    from keras_mtl.model import MultiTaskModel

# What is written as it is, for Graphviz to draw later.
TEXT_SUFFIXES = (".dot", ".gv")

FONT = 'fontname="Helvetica"; fontsize=10'


def task_graph(
    model: "MultiTaskModel", path: str | os.PathLike | None = None
) -> str:
    """Draws the shared trunk, the boundary and the head of each task.

    Each layer is a box, in the frame of the trunk or of its task, with its
    number of parameters. The thick arrows are the boundary: the tensors that
    the trunk hands to the heads, on which `gradients="features"` compares the
    tasks. `model.summary_by_task()` has the numbers of parameters as a table.

    Example:

    ```python
    keras_mtl.plots.task_graph(model, "model.png")
    ```

    Args:
        model: The model. Before `compile`, each output is a task.
        path: Path of the picture, whose suffix says the format (`".png"`,
            `".svg"`, `".pdf"` and more), or of a text file in the language of
            Graphviz (`".dot"`). Only pictures need Graphviz. With `None`,
            nothing is written.

    Returns:
        The text in the language of Graphviz.

    Raises:
        ValueError: If the model has no tasks, the path has no suffix, or
            Graphviz cannot write it.
        RuntimeError: If Graphviz is not installed, and the path is that of a
            picture.
    """
    if not hasattr(model, "summary_by_task"):
        raise ValueError(
            "Expected `model` to be a `keras_mtl.MultiTaskModel`. Received: "
            f"model={model!r}. `keras.utils.plot_model` draws other models."
        )
    split = split_of(model)
    rows = parameters_by_task(split, model.weights)
    text = _Picture(split, rows).text()
    if path is not None:
        _write(text, pathlib.Path(path))
    return text


def _write(text, path):
    if path.suffix in TEXT_SUFFIXES:
        path.write_text(text, encoding="utf-8")
        return
    if not path.suffix:
        raise ValueError(
            'Expected `path` to end in ".png", ".svg", ".dot" or another '
            f"format of Graphviz. Received: path={str(path)!r}"
        )
    if shutil.which("dot") is None:
        raise RuntimeError(
            f"Expected the program `dot` of Graphviz, which draws {path.name}. "
            "Received: a computer without it. Type `apt install graphviz`, "
            "`brew install graphviz` or `conda install graphviz`; or give a "
            f'path that ends in ".dot", {str(path.with_suffix(".dot"))!r}, '
            "and draw that text elsewhere."
        )
    command = ["dot", f"-T{path.suffix[1:]}", "-o", os.fspath(path)]
    done = subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise ValueError(
            f"Expected `path` to have a format that Graphviz writes. Received: "
            f"path={str(path)!r}, of which it says: {done.stderr.strip()}"
        )


class _Picture:
    """The text of a graph in the language of Graphviz.

    Args:
        split: `GraphSplit`.
        rows: List of the `Row`s of its parameters.
    """

    def __init__(self, split: GraphSplit, rows: list):
        self._split = split
        self._counts = {(i == 0, r.part): r.trained for i, r in enumerate(rows)}
        self._lines = [
            "digraph {",
            f"node [shape=box, style=rounded, {FONT}];",
            f"edge [{FONT}, color=gray50];",
        ]
        # The node that makes the tensor of each key.
        self._nodes: dict[int, str] = {}

    def text(self) -> str:
        for key in self._split.inputs:
            self._nodes[key] = f"input {key}"
            tensor = self._split.tensor(key)
            label = _lines(tensor.name, _shape(tensor))
            self._node(self._nodes[key], label, "shape=ellipse")
        steps = [(f"step {i}", s) for i, s in enumerate(self._split.steps)]
        for name, step in steps:
            self._nodes.update(dict.fromkeys(step.outputs, name))
        shared = [pair for pair in steps if len(pair[1].tasks) > 1]
        self._frame("shared", True, "#F0F0F0", "gray50", shared)
        for i, task in enumerate(self._split.tasks):
            own = [pair for pair in steps if pair[1].tasks == {task}]
            color = COLORS[i % len(COLORS)]
            self._frame(task, False, "white", color, own)
        for name, step in steps:
            if not step.tasks:
                self._node(name, _label(step), "fontcolor=gray50, color=gray70")
        self._draw_arrows(steps)
        return "\n".join([*self._lines, "}", ""])

    def _frame(self, part, is_shared, fill, color, steps):
        """Draws the steps of a part in a frame, with the task's output."""
        count = self._counts[is_shared, part]
        label = _lines(part, f"{count:,} trained parameters")
        name = "shared" if is_shared else f"task {part}"
        self._lines += [
            f"subgraph {_quoted('cluster ' + name)} {{",
            f"label={_quoted(label)}; color={_quoted(color)}; penwidth=1.5;",
            f'style="rounded,filled"; fillcolor={_quoted(fill)}; {FONT};',
        ]
        for node, step in steps:
            self._node(node, _label(step), 'style="rounded,filled"')
        if not is_shared:
            self._node(f"output {part}", part, "shape=ellipse")
        self._lines.append("}")

    def _draw_arrows(self, steps):
        for name, step in steps:
            for key in step.inputs:
                self._arrow(key, name, step.tasks)
        for task, key in self._split.outputs:
            self._arrow(key, f"output {task}", {task})

    def _arrow(self, key, target, tasks):
        pair = f"{_quoted(self._nodes[key])} -> {_quoted(target)}"
        # An arrow inside of the trunk is of no boundary.
        is_boundary = len(tasks) == 1 and key in self._split.boundary
        if is_boundary:
            label = _quoted(_shape(self._split.tensor(key)))
            pair += f" [penwidth=2.5, color=black, label={label}]"
        self._lines.append(f"{pair};")

    def _node(self, name, label, look):
        fill = ", fillcolor=white" if "filled" in look else ""
        self._lines.append(
            f"{_quoted(name)} [label={_quoted(label)}, {look}{fill}];"
        )


def _label(step):
    """Returns the name, the class and the number of parameters of a step."""
    operation = step.operation
    weights = getattr(operation, "weights", [])
    count = sum(math.prod(v.shape) for v in weights)
    numbers = [f"{count:,} parameters"] if count else []
    return _lines(operation.name, type(operation).__name__, *numbers)


def _lines(*parts):
    return "\n".join(parts)


def _shape(tensor):
    return str(tuple(tensor.shape))


def _quoted(text):
    return json.dumps(text, ensure_ascii=False)
