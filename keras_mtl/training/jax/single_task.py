import collections
import functools
import warnings

import jax
import keras
from jax import numpy as jnp


def make_step_functions(steps):
    return {task: _TaskFunction(steps, task) for task in steps.model.tasks}


def make_train_function(steps):
    def train_function(state, iterator):
        def step(task, data):
            return steps.functions[task](state, data)

        # Not lists, through each of whose values Keras would go every step.
        state = [collections.UserList(values) for values in state]
        for _ in zip(range(steps.model.steps_per_execution), iterator):
            logs = steps.run(step)
        return logs, tuple(state)

    return train_function


def make_test_function(steps, task):
    model = steps.model

    def stateless_test(trainable, others, metrics, data):
        mapping = [(model.metrics_variables, metrics)]
        with model._scope(trainable, others, *mapping) as scope:
            logs = steps.test(task, data)
        return logs, model._updated(scope, model.metrics_variables)

    if model.jit_compile and not model.run_eagerly:
        stateless_test = jax.jit(stateless_test)

    def test(data):
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
        )
        values = [[v.value for v in group] for group in variables]
        logs, metrics = stateless_test(*values, data)
        for variable, value in zip(model.metrics_variables, metrics):
            variable.assign(value)
        return logs

    return test


class _TaskFunction:
    """The compiled step of a task, of that part of the state that it uses.

    What each of `T` tasks has for itself would else go through all steps.
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
        # The others are not looked at, so that any values will do.
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
    model, optimizer = steps.model, steps.model.optimizer
    trainable, others, optimizer_state, metrics_state = state
    ids = {id(v) for v in steps.variables[task]}
    places = [
        i for i, v in enumerate(model.trainable_variables) if id(v) in ids
    ]

    def forward(values):
        full = list(trainable)
        for i, value in zip(places, values):
            full[i] = value
        mapping = [(optimizer.variables, optimizer_state)]
        with model._scope(full, others, *mapping) as scope:
            loss, count, y_pred = steps.forward(task, data)
            total = steps.total_loss(task, loss)
            scaled = optimizer.scale_loss(total)
        others_after = model._updated(scope, model.non_trainable_variables)
        return scaled, (loss, count, total, y_pred, others_after)

    gradients, (loss, count, total, y_pred, others_after) = jax.grad(
        forward, has_aux=True
    )([trainable[i] for i in places])
    of_all = [None] * len(trainable)
    for i, gradient in zip(places, gradients):
        of_all[i] = gradient
    with warnings.catch_warnings():
        # Of variables without a gradient, which are those of other tasks.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        trainable, optimizer_state = optimizer.stateless_apply(
            optimizer_state, of_all, trainable
        )
    with keras.StatelessScope(
        zip(model.metrics_variables, metrics_state)
    ) as scope:
        logs = steps.record(task, data, loss, count, total, y_pred)
    metrics_state = model._updated(scope, model.metrics_variables)
    loss_after = None
    if steps.needs_loss_after:
        with model._scope(trainable, others):
            loss_after, _, _ = steps.forward(task, data)
    state = [trainable, others_after, optimizer_state, metrics_state]
    return logs, loss, loss_after, state
