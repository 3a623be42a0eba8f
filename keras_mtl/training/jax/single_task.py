import collections
import functools
import warnings

import jax
from jax import numpy as jnp

from keras_mtl.training.jax.state import State


def make_step_functions(steps):
    return {task: _TaskFunction(steps, task) for task in steps.model.tasks}


def make_train_function(steps):
    def train_function(state, iterator):
        def step(task, data):
            return steps.functions[task](state, data)

        # Keras would go through each value of a list in every step, which with
        # many tasks takes longer than the step; a `UserList` is a leaf to it.
        state = [collections.UserList(values) for values in state]
        for _ in zip(range(steps.model.steps_per_execution), iterator):
            logs = steps.run(step)
        return logs, tuple(state)

    return train_function


def make_test_function(steps, task):
    model = steps.model

    def stateless_test(state, data):
        with model._scope(state, "trainable", "others", "metrics") as scope:
            logs = steps.test(task, data)
        return logs, model._updated(scope, "metrics")

    if model.jit_compile and not model.run_eagerly:
        stateless_test = jax.jit(stateless_test)

    def test(data):
        logs, metrics = stateless_test(model._present_state(), data)
        model._assign("metrics", metrics)
        return logs

    return test


class _TaskFunction:
    """The compiled step of a task, of that part of the state that it uses.

    If it took the whole state, each step would hand on what every other task
    has for itself.
    """

    def __init__(self, steps, task):
        self._step = functools.partial(_step, steps, task)
        model = steps.model
        self._is_compiled = model.jit_compile and not model.run_eagerly
        self._used = None

    def __call__(self, state, data):
        """Returns `(logs, loss, loss_after)`, and updates lists in `state`."""
        if not self._is_compiled:
            *outputs, new_state = self._step(state, data)
            state[:] = map(collections.UserList, new_state)
            return outputs
        if self._used is None:
            state_of_lists = [list(values) for values in state]
            self._used = _used_places(self._step, state_of_lists, data)
            self._specs = jax.tree.map(_spec, state_of_lists)
            self._compiled = jax.jit(self._on_used, donate_argnums=0)
        values = [state[group][i] for group, i in self._used]
        *outputs, values = self._compiled(values, data)
        for (group, i), value in zip(self._used, values):
            state[group][i] = value
        return outputs

    def _on_used(self, values, data):
        # The rest of the state is not looked at, so that any values will do.
        state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._specs)
        for (group, i), value in zip(self._used, values):
            state[group][i] = value
        *outputs, state = self._step(state, data)
        return *outputs, [state[group][i] for group, i in self._used]


def _spec(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _used_places(step, state, data):
    """Lists `(group, index)` of the state that a step reads or changes."""
    places = [
        (g, i) for g, values in enumerate(state) for i in range(len(values))
    ]

    def flat_step(values):
        return step(jax.tree.unflatten(structure, values), data)[-1]

    values, structure = jax.tree.flatten(state)
    jaxpr = jax.make_jaxpr(flat_step)(values).jaxpr
    read = {id(x) for equation in jaxpr.eqns for x in equation.invars}
    return [
        place
        for place, before, after in zip(places, jaxpr.invars, jaxpr.outvars)
        if before is not after or id(before) in read
    ]


def _step(steps, task, state, data):
    """Returns logs, loss, loss after the step or `None`, and the new state."""
    model, state = steps.model, State(*state)
    gradients, (loss, count, total, y_pred, others) = _gradients(
        steps, task, state, data
    )
    with warnings.catch_warnings():
        # Variables without a gradient are those of other tasks.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        trainable, optimizer = model.optimizer.stateless_apply(
            state.optimizer, gradients, state.trainable
        )
    with model._scope(state, "metrics") as scope:
        logs = steps.record(task, data, loss, count, total, y_pred)
    metrics = model._updated(scope, "metrics")
    new = State(trainable, others, optimizer, metrics)
    loss_after = None
    if steps.needs_loss_after:
        # The statistics and seeds are those with which the step began.
        before = new._replace(others=state.others)
        with model._scope(before, "trainable", "others"):
            loss_after, _, _ = steps.forward(task, data)
    return logs, loss, loss_after, list(new)


def _gradients(steps, task, state, data):
    """Returns the gradients of all variables, `None` for those of other tasks.

    Returns:
        Tuple of the list of gradients, and of the tuple of the loss, its
        weight, the loss that is minimized, the outputs and the state that the
        forward pass leaves.
    """
    model = steps.model
    ids = {id(v) for v in steps.variables[task]}
    places = [
        i for i, v in enumerate(model.trainable_variables) if id(v) in ids
    ]

    def forward(values):
        trainable = list(state.trainable)
        for i, value in zip(places, values):
            trainable[i] = value
        now = state._replace(trainable=trainable)
        with model._scope(now, "trainable", "others", "optimizer") as scope:
            loss, count, y_pred = steps.forward(task, data)
            total = steps.total_loss(task, loss)
            scaled_loss = model.optimizer.scale_loss(total)
        others = model._updated(scope, "others")
        return scaled_loss, (loss, count, total, y_pred, others)

    own, results = jax.grad(forward, has_aux=True)(
        [state.trainable[i] for i in places]
    )
    gradients = [None] * len(state.trainable)
    for i, gradient in zip(places, own):
        gradients[i] = gradient
    return gradients, results
