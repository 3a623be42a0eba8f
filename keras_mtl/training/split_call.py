"""A model called in parts: the trunk and the heads, or the part of one task.

Each part is a call of the model itself, so that what a subclass does in `call`
around the graph, and what Keras does around `call`, is done as in any other
call.
"""

import contextlib
import threading

import keras

from keras_mtl.backend.keras_internals import call_in_step
from keras_mtl.backend.masks import with_mask_of
from keras_mtl.losses.by_output import by_output


class SplitCall:
    """What a model's `call` runs in place of its whole graph, if anything.

    Each thread has its own: the replicas of a strategy of TensorFlow call the
    model at the same time.
    """

    def __init__(self):
        self._runs = {}

    @property
    def run(self):
        """Function of the flat list of inputs and `training`, or `None`."""
        if not self._runs:
            return None
        return self._runs.get(threading.get_ident())

    @contextlib.contextmanager
    def instead(self, run):
        """A block in which calls of the model run this function."""
        thread = threading.get_ident()
        self._runs[thread] = run
        try:
            yield
        finally:
            del self._runs[thread]


def call_in_two(model, split, x, copy):
    """Runs the trunk, and the heads on copies that are cut off from it.

    Args:
        model: `MultiTaskModel`.
        split: Its `GraphSplit`.
        x: Inputs.
        copy: Function of a tensor that returns an equal one through which no
            gradient passes.

    A model whose losses alone are known is called as a whole.

    Returns:
        Tuple `(y_pred, values, copies)`: the outputs; dict of key to tensor,
        what the trunk hands to the heads; and dict of `(key, task)` to the copy
        that the head of the task took.
    """
    if split.is_of_losses:
        return call_in_step(model, x, True), {}, {}
    parts = {}

    def run(inputs, training):
        values = split.run_trunk(inputs, training)
        copies = {
            (key, task): with_mask_of(values[key], copy(values[key]))
            for key, tasks in split.boundary.items()
            for task in tasks
        }
        parts.update(values=values, copies=copies)
        return _run_heads(model, split, values, copies, training)

    with model._split_call.instead(run):
        y_pred = call_in_step(model, x, True)
    _check_has_run(model, parts)
    return y_pred, parts["values"], parts["copies"]


class _EndOfTrunk(BaseException):
    """Ends a call after the trunk; Keras would rewrite an `Exception`."""


def call_trunk(model, split, x):
    """Runs the trunk alone.

    Args:
        model: `MultiTaskModel`.
        split: Its `GraphSplit`.
        x: Inputs.

    Returns:
        Dict of key to tensor: the inputs and all outputs of the trunk.
    """
    parts = {}

    def run(inputs, training):
        parts["values"] = split.run_trunk(inputs, training)
        raise _EndOfTrunk

    with model._split_call.instead(run), contextlib.suppress(_EndOfTrunk):
        call_in_step(model, x, True)
    _check_has_run(model, parts)
    return parts["values"]


def call_heads(model, split, x, values, copies, begin):
    """Runs the heads alone, and what a subclass does in `call` after them.

    Args:
        model: `MultiTaskModel`.
        split: Its `GraphSplit`.
        x: Inputs.
        values: What `call_trunk` returned.
        copies: Dict of `(key, task)` to the tensor that the head of `task`
            takes in place of `values[key]`.
        begin: Function that is called before the first head. What ran before
            it has run with the trunk, too.

    Returns:
        The outputs, in their structure.
    """

    def run(inputs, training):
        del inputs
        begin()
        return _run_heads(model, split, values, copies, training)

    with model._split_call.instead(run):
        return call_in_step(model, x, True)


def call_task(model, split, x, task, training):
    """Runs what one task depends on.

    Args:
        model: `MultiTaskModel`.
        split: Its `GraphSplit`.
        x: Inputs.
        task: Name of the task.
        training: Boolean.

    Returns:
        The output tensor of the task.
    """

    def run(inputs, training):
        output = split.run_task(inputs, task, training)
        if not model._overrides("call"):
            return output
        # What a subclass does with the outputs finds this one in its place.
        if isinstance(model._outputs_struct, dict):
            return {task: output}
        return [output if name == task else None for name in model.output_keys]

    with model._split_call.instead(run):
        if not model._overrides("call"):
            return call_in_step(model, x, training)
        with _errors_of_one_output(model, task):
            y_pred = call_in_step(model, x, training)
            return by_output("outputs", y_pred, model.output_keys)[task]


@contextlib.contextmanager
def _errors_of_one_output(model, task):
    """A block whose errors say that an overridden `call` has one output."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"A step of a `TaskSampler` has the output of one task, {task!r} "
            f"here. Expected the `call` of {type(model).__name__} to change "
            "the outputs that are there, each by itself, as in `{name: 2 * x "
            "for name, x in super().call(...).items()}`; those of other tasks "
            f"are not in the dict, or `None` in a list. Received: {error!r}"
        ) from error


def _run_heads(model, split, values, copies, training):
    outputs = split.run_heads(values, copies, training)
    return keras.tree.pack_sequence_as(model._outputs_struct, outputs)


def _check_has_run(model, parts):
    if not parts:
        raise ValueError(
            "Expected a `call` that calls `super().call(inputs, ...)`, whose "
            "graph is split into the shared trunk and the heads of the tasks. "
            f"Received: the `call` of {type(model).__name__}, which does not"
        )
