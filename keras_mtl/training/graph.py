"""Splits a Functional graph into the shared trunk and one head per task."""

import collections
import contextlib

import keras

from keras_mtl.backend.keras_internals import Functional
from keras_mtl.backend.keras_internals import made_as_weights
from keras_mtl.backend.keras_internals import operation_call
from keras_mtl.backend.reads import variables_read
from keras_mtl.training.used_variables import UsedVariables

# One call of a layer or op; `inputs` and `outputs` are keys of tensors,
# `tasks` are the tasks whose outputs depend on it.
Step = collections.namedtuple(
    "Step", ["operation", "node", "inputs", "outputs", "tasks"]
)


class GraphSplit:
    """The shared trunk, the boundary and the heads of a Functional graph.

    A step of the graph belongs to the trunk if two or more tasks depend on it,
    and to a head if exactly one does. The boundary is what the trunk hands to
    the heads. Nested Functional models with several outputs are looked into;
    every other layer is one step, whatever it holds.

    Args:
        function: The Functional model.
        output_names: List of the names of `function.outputs`.
        tasks: List of the tasks, in their order: names of outputs that have a
            loss.
        has_own_call: Whether a subclass overrides `call`, and may use variables
            around the graph.
        has_own_loss: Whether a subclass overrides `compute_loss`.

    Which variables a step uses beside those of its layer is a guess until a
    step of the training has been traced, in which it is seen.

    Attributes:
        variables: All trainable variables of the model.
        has_code_around: Whether a subclass has code around the graph.
        is_checked: Whether a traced step was found to depend on the variables
            as the split says.
        written: List of the variables to which a forward pass was seen to
            write, `None` while it is not known.
        shared_variables: Trainable variables that two or more tasks reach.
        compared_variables: Those on which gradients are compared unless a
            weighting says otherwise: all of them.
        trunk_variables: Those of them that the trunk uses.
        cross_variables: Those of them that heads use, since a layer may be
            called in several heads.
        last_shared_variables: Those of them in the last layer of the trunk that
            has any; of all layers, if only heads have.
        head_variables: Dict of task to the variables that it alone reaches.
        boundary: Dict of key to the tasks whose heads take that tensor.
        layers: Dict of name to layer, all layers of the model.
    """

    # Whether losses are all that is known, not the graph.
    is_of_losses = False
    # Whether it is known which task reaches which variable.
    is_sorted = True

    def __init__(
        self,
        function,
        output_names,
        tasks,
        has_own_call=False,
        has_own_loss=False,
    ):
        self.tasks = list(tasks)
        self.variables = function.trainable_variables
        self.has_code_around = has_own_call or has_own_loss
        self.is_checked = False
        self.written = None
        self.layers = {x.name: x for x in function._flatten_layers(False)}
        # An output without a loss has no task.
        self._output_tasks = [n if n in tasks else None for n in output_names]
        self._specs = []
        self._input_keys = [self._new_key(x) for x in function.inputs]
        keys = dict(zip(map(id, function.inputs), self._input_keys))
        steps = self._expand(function, keys)
        self._output_keys = [keys[id(x)] for x in function.outputs]
        steps = self._mark_tasks(steps)
        self._trunk_steps = [s for s in steps if len(s.tasks) > 1]
        self._head_steps = [s for s in steps if len(s.tasks) == 1]
        self._untrained_steps = [s for s in steps if not s.tasks]
        steps = self._trunk_steps + self._head_steps
        self._used = [self._used_by(step) for step in steps]
        # They are seen by the place of the step among `_used`.
        self._seen = {}
        self._is_seen = False
        used = {id(v) for variables in self._used for v in variables}
        outside = [v for v in self.variables if id(v) not in used]
        self._around_trunk = outside if has_own_call else []
        self._around_heads = outside if self.has_code_around else []
        self.boundary = self._find_boundary()
        self._sort_variables()

    @property
    def steps(self):
        """The list of all steps: of the trunk, of the heads, of no task."""
        return self._trunk_steps + self._head_steps + self._untrained_steps

    @property
    def inputs(self):
        """List of the keys of the model's inputs."""
        return list(self._input_keys)

    @property
    def outputs(self):
        """List of pairs of task and key, for the outputs that have a task."""
        pairs = zip(self._output_tasks, self._output_keys)
        return [(task, key) for task, key in pairs if task is not None]

    def tensor(self, key):
        """Returns the symbolic tensor of a key."""
        return self._specs[key]

    def _used_by(self, step):
        """Lists the trainable variables of a step, and those that it knows."""
        trainable = {id(v) for v in self.variables}
        own = getattr(step.operation, "variables", [])
        own = [v for v in own if id(v) in trainable]
        arguments = [step.node.arguments.args, step.node.arguments.kwargs]
        hidden = UsedVariables(self.variables).of(step.operation, arguments)
        return list({id(v): v for v in [*own, *hidden]}.values())

    def _new_key(self, keras_tensor):
        self._specs.append(keras_tensor)
        return len(self._specs) - 1

    def _expand(self, function, keys):
        """Lists the steps of `function`; `keys` maps tensor ids to keys."""
        steps = []
        depths = sorted(function._nodes_by_depth, reverse=True)
        for node in (n for d in depths for n in function._nodes_by_depth[d]):
            if not node.operation or node.is_input:
                continue
            inputs = [keys[id(x)] for x in node.input_tensors]
            if _is_transparent(node):
                inner = node.operation
                inner_keys = dict(zip(map(id, inner.inputs), inputs))
                steps += self._expand(inner, inner_keys)
                outputs = [inner_keys[id(x)] for x in inner.outputs]
            else:
                outputs = [self._new_key(x) for x in node.outputs]
                steps.append(Step(node.operation, node, inputs, outputs, None))
            keys.update(zip(map(id, node.outputs), outputs))
        return steps

    def _mark_tasks(self, steps):
        tasks_of = collections.defaultdict(set)
        for key, task in zip(self._output_keys, self._output_tasks):
            tasks_of[key] |= {task} - {None}
        marked = []
        for step in reversed(steps):
            tasks = set().union(*(tasks_of[key] for key in step.outputs))
            for key in step.inputs:
                tasks_of[key] |= tasks
            marked.append(step._replace(tasks=tasks))
        return marked[::-1]

    def _find_boundary(self):
        consumers = collections.defaultdict(set)
        for key, task in zip(self._output_keys, self._output_tasks):
            consumers[key] |= {task} - {None}
        for step in self._head_steps:
            for key in step.inputs:
                consumers[key] |= step.tasks
        keys = [key for step in self._trunk_steps for key in step.outputs]
        if self._around_trunk:
            # A subclass may have made the inputs of the graph by layers.
            keys = self._input_keys + keys
        return {
            key: [task for task in self.tasks if task in consumers[key]]
            for key in keys
            # No gradient passes through an integer tensor.
            if consumers[key] and "float" in self._specs[key].dtype
        }

    def _sort_variables(self):
        reached = collections.defaultdict(set)
        variables, in_trunk, in_head = {}, set(), set()
        steps = self._trunk_steps + self._head_steps
        uses = [(s.tasks, used) for s, used in zip(steps, self._used)]
        everyone = set(self.tasks)
        uses += [(everyone, self._around_trunk), (everyone, self._around_heads)]
        for place, (tasks, used) in enumerate(uses):
            is_trunk = place < len(self._trunk_steps) or place == len(steps)
            for v in used:
                variables[id(v)] = v
                reached[id(v)] |= tasks
                (in_trunk if is_trunk else in_head).add(id(v))
        shared = [i for i in variables if len(reached[i]) > 1]
        self.shared_variables = [variables[i] for i in shared]
        self.compared_variables = self.shared_variables
        self.trunk_variables = [variables[i] for i in shared if i in in_trunk]
        self.cross_variables = [variables[i] for i in shared if i in in_head]
        self.last_shared_variables = self.shared_variables
        for used in self._used[: len(self._trunk_steps)]:
            used = [v for v in used if id(v) in shared]
            self.last_shared_variables = used or self.last_shared_variables
        self.head_variables = {
            task: [v for i, v in variables.items() if reached[i] == {task}]
            for task in self.tasks
        }

    def foreign(self, tasks):
        """Lists what the losses of some tasks must not reach by the heads.

        Returns:
            Tuple of the list of variables and of the names of the copies of
            boundary tensors, `(key, task)`.
        """
        own = [v for task in tasks for v in self.head_variables[task]]
        ids = set(map(id, own + self.cross_variables))
        copies = [(key, t) for key in self.boundary for t in self.boundary[key]]
        return (
            [v for v in self.variables if id(v) not in ids],
            [name for name in copies if name[1] not in tasks],
        )

    def frozen_layers(self):
        """Lists the names of the trunk's layers with weights, none trained."""
        layers = [step.operation for step in self._trunk_steps]
        names = [
            layer.name
            for layer in layers
            if isinstance(layer, keras.Layer)
            and made_as_weights(layer)
            and not layer.trainable_variables
        ]
        return list(dict.fromkeys(names))

    def check(self, tasks, reached):
        """Raises an error where a loss depends on what is not its head's.

        Args:
            tasks: List of tasks.
            reached: List of those of `foreign(tasks)` that their losses reach.

        Raises:
            ValueError: If there are any.
        """
        if not reached:
            return
        paths = [
            f"the features of task {x[1]!r}" if isinstance(x, tuple) else x.path
            for x in reached
        ]
        raise ValueError(
            "Gradient balancing takes the heads of the tasks apart: expected "
            f"the loss of {tasks} to depend on the head of its own task, and "
            "on the trunk by tensors of the graph alone. Received: a model in "
            f"which it also depends on {paths}, by a tensor or a variable that "
            "a layer keeps from another call, or by code in `call` or "
            "`compute_loss` that mixes the outputs of tasks. Make it a part of "
            "the graph, or use a loss balancing."
        )

    def run_trunk(self, inputs, training):
        """Runs the trunk.

        Args:
            inputs: Flat list of input tensors, in the order of `model.inputs`.
            training: Boolean.

        Returns:
            Dict of key to tensor: the inputs and all outputs of the trunk.
        """
        values = dict(zip(self._input_keys, inputs))
        for place, step in enumerate(self._trunk_steps):
            with self._noted(place):
                _run(step, values, training)
        return values

    @contextlib.contextmanager
    def _noted(self, place):
        """A block in which the variables that a step reads are noted."""
        if self._is_seen:
            yield
            return
        with variables_read(self.variables) as self._seen[place]:
            yield

    def _replace_guesses(self):
        """Sorts the variables by what the steps have read."""
        self._is_seen = True
        steps = self._trunk_steps + self._head_steps
        for place, ids in self._seen.items():
            if ids is None:
                continue
            own = getattr(steps[place].operation, "variables", [])
            ids |= set(map(id, own))
            self._used[place] = [v for v in self.variables if id(v) in ids]
        self._sort_variables()

    def task_variables(self, task):
        """Lists the trainable variables that a task reaches."""
        steps = self._trunk_steps + self._head_steps
        used = {
            id(v): v
            for step, variables in zip(steps, self._used)
            if task in step.tasks
            for v in variables
        }
        used.update((id(v), v) for v in self._around_trunk)
        return list(used.values())

    def task_layers(self, task):
        """Lists the layers that a task reaches, with those inside of them."""
        layers = {
            id(layer): layer
            for step in self._steps_of(task)
            if isinstance(step.operation, keras.Layer)
            for layer in step.operation._flatten_layers()
        }
        return list(layers.values())

    def run_task(self, inputs, task, training):
        """Runs only the steps on which a task depends.

        Args:
            inputs: As of `run_trunk`.
            task: One of `tasks`.
            training: Boolean.

        Returns:
            The output tensor of the task.
        """
        values = dict(zip(self._input_keys, inputs))
        for step in self._steps_of(task):
            _run(step, values, training)
        return values[self._output_keys[self._output_tasks.index(task)]]

    def _steps_of(self, task):
        steps = self._trunk_steps + self._head_steps
        return [step for step in steps if task in step.tasks]

    def run_heads(self, values, copies, training):
        """Runs the heads, each on its own copies of the boundary tensors.

        Args:
            values: What `run_trunk` returned.
            copies: Dict of `(key, task)` to the tensor that the head of `task`
                takes in place of `values[key]`.
            training: Boolean.

        Returns:
            Flat list of output tensors, in the order of `model.outputs`.
        """
        everything = dict(values)
        seen_by = {
            task: {k: copies.get((k, task), v) for k, v in values.items()}
            for task in self.tasks
        }
        # The steps run in the order of the graph: a layer with a state, which
        # several heads call, is updated in that order in a plain call, too.
        for place, step in enumerate(self._head_steps, len(self._trunk_steps)):
            (task,) = step.tasks
            with self._noted(place):
                _run(step, seen_by[task], training)
            everything.update((k, seen_by[task][k]) for k in step.outputs)
        if not self._is_seen:
            self._replace_guesses()
        for step in self._untrained_steps:
            _run(step, everything, training)
        seen_by[None] = everything
        return [
            seen_by[task][key]
            for key, task in zip(self._output_keys, self._output_tasks)
        ]


def split_of(model):
    """Returns the `GraphSplit` of a model for its tasks.

    Before `compile`, each output is a task.

    Args:
        model: `MultiTaskModel`.
    """
    tasks = model.tasks if model.compiled else model.output_keys
    return model._make_split(list(tasks))


def _is_transparent(node):
    """Whether the steps inside a nested model can stand for its call."""
    model = node.operation
    if not isinstance(model, Functional) or len(model.outputs) < 2:
        return False
    if type(model).call is not Functional.call:
        return False
    given = {k for k, v in node.arguments.kwargs.items() if v is not None}
    if given - {"training"}:
        return False
    return len(node.input_tensors) == len(model.inputs) and all(
        x.dtype == ref.dtype and len(x.shape) == len(ref.shape)
        for x, ref in zip(node.input_tensors, model.inputs)
    )


def _run(step, values, training):
    tensors = {
        id(x): values[key]
        for x, key in zip(step.node.input_tensors, step.inputs)
    }
    args, kwargs = step.node.arguments.fill_in(tensors)
    call = operation_call(step.operation, training)
    outputs = keras.tree.flatten(call(*args, **kwargs))
    values.update(zip(step.outputs, outputs))
