import warnings
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_mtl.backend.keras_internals import sync_state
from keras_mtl.backend.snapshot import Snapshot
from keras_mtl.training import balancing
from keras_mtl.training import step_state
from keras_mtl.training.jax.forward_pass import Pass
from keras_mtl.training.jax.state import VARIABLES
from keras_mtl.training.jax.state import State
from keras_mtl.training.jax.surroundings import JaxSurroundings
from keras_mtl.training.look_ahead import LookAhead
from keras_mtl.training.paired_batches import batch_to_train_on
from keras_mtl.training.paired_batches import batches_to_weigh_by
from keras_mtl.training.perturbation import at_own_parameters
from keras_mtl.training.step_loss import losses_of_pass
from keras_mtl.training.task_gradients import part_of_batch


class BackendTrainer:
    """`train_step` on JAX, where the state is handed on and not written to."""

    def make_train_function(self, force: bool = False) -> None:
        # JAX finds what it has compiled by the function, and `self.train_step`
        # equals the one of before, whose weighting may be another: as long as
        # that one is kept, its program would run in the place of the new one.
        attributes, train_step = vars(self), self.train_step
        before = {k: v for k, v in attributes.items() if k == "train_step"}
        attributes["train_step"] = lambda state, data: train_step(state, data)
        try:
            super().make_train_function(force)
        finally:
            del attributes["train_step"]
            attributes.update(before)

    def train_step(self, state: tuple, data: Any) -> tuple:
        old = State(*state)
        begun = old
        if self.weighting.needs_validation:
            begun = self._look_ahead(old, data)
        data = batch_to_train_on(data)
        logs, new = self._step(begun, data)
        if self.weighting.needs_losses_after:
            new = self._tell_losses_after(old, new, data)
        if step_state.scales_loss(self):
            new = self._undo_if_skipped(old, new)
        return logs, tuple(new)

    def _look_ahead(self, state, data):
        """Lets the weighting learn from validation data, before the step."""
        scale = self._loss_scale(state)
        near = [
            JaxSurroundings(self, state, batch, scale)
            for batch in batches_to_weigh_by(data)
        ]
        ahead = LookAhead(self.trainable_variables, *near, scale)
        with self._scope(state, "trainable", "others", "optimizer") as scope:
            rate = jnp.asarray(self.optimizer.learning_rate)
            self.weighting.before_step(ahead.slopes, rate)
        return state._replace(others=self._updated(scope, "others"))

    def _step(self, state, data):
        state = self._with_learning_rate(state)
        if self.weighting.needs_gradients:
            return self._balanced_step(state, data)
        if self._split_to_sort is not None:
            # A compiled step leaves the pass out, since nothing uses it.
            batch = keras.utils.unpack_x_y_sample_weight(data)
            Pass(self, self._split_to_sort, state, batch, False)
        logs, new = super().train_step(tuple(state), data)
        return logs, State(*new)

    def _with_learning_rate(self, state):
        """Writes the learning rate to the variables that the weighting has."""
        variables = self.weighting.learning_rate_variables
        if not variables:
            return state
        with self._scope(state, "others", "optimizer") as scope:
            for variable in variables:
                variable.assign(self.optimizer.learning_rate)
        return state._replace(others=self._updated(scope, "others"))

    def _undo_if_skipped(self, old, new):
        """Undoes what the weighting learns in a step that an overflow skips."""
        own = {id(v) for v in self.weighting.variables}
        pairs = zip(self.non_trainable_variables, old.others)
        variables, values = zip(*[p for p in pairs if id(p[0]) in own])
        scale = self._loss_scale(old)
        with self._scope(new, "others", "optimizer") as scope:
            skipped = step_state.is_skipped(self.optimizer, scale)
            Snapshot(variables, values).restore(where=skipped)
        return new._replace(others=self._updated(scope, "others"))

    def _tell_losses_after(self, old, new, data):
        """Passes the losses after a step, on its batch, to the weighting.

        The forward pass begins with the statistics and seeds with which that of
        the step began, and leaves them as the step did.
        """
        network = step_state.network_state(self)
        with self._scope(new, "trainable", "others", "metrics") as scope:
            values = dict(
                zip(map(id, self.non_trainable_variables), old.others)
            )
            left = Snapshot(network)
            Snapshot(network, [values[id(v)] for v in network]).restore()
            losses = losses_of_pass(self, data)
            left.restore()
            self.weighting.after_step(self._losses_to_weight(losses))
        return new._replace(others=self._updated(scope, "others"))

    def _balanced_step(self, state, data):
        self._running.note_balanced()
        batch = keras.utils.unpack_x_y_sample_weight(data)
        scale = self._loss_scale(state)
        part = None
        if self._measures_part_of_batch():
            few = part_of_batch(batch, self.weighting.measurement.gramian_batch)
            part = Pass(self, self._split, state, few, False).pullback(scale)
        step = Pass(self, self._split, state, batch, True)
        pullback = step.pullback(scale)
        names = ("trainable", "others", "metrics")
        with self._scope(step.state, *names) as scope:
            split, of_tasks = self._split, pullback
            if self.weighting.perturbs:
                near = JaxSurroundings(self, state, batch, scale)
                split, of_tasks = at_own_parameters(
                    split, self.weighting, pullback, near, scale
                )
            gradients, weights = balancing.balanced_gradients(
                split,
                self.weighting,
                jnp.stack(step.losses),
                of_tasks,
                scale,
                part,
            )
            self._record_weights(weights)
        gradients = balancing.add_penalty(
            self._split, gradients, pullback, self.trainable_variables
        )
        state = step.state._replace(
            others=self._updated(scope, "others"),
            metrics=self._updated(scope, "metrics"),
        )
        return self._record(batch, step, self._updated_by(state, gradients))

    def _updated_by(self, state, gradients):
        """Returns the state after the optimizer's step."""
        pairs = zip(self.trainable_variables, gradients)
        unused = [v.path for v, g in pairs if g is None]
        if unused:
            # On the other backends, Keras's optimizer says so.
            warnings.warn(
                f"No task and no penalty depends on {unused}: they are "
                "not trained.",
                stacklevel=2,
            )
        gradients = [
            jnp.zeros_like(value) if g is None else g
            for g, value in zip(gradients, state.trainable)
        ]
        trainable, optimizer = self.optimizer.stateless_apply(
            state.optimizer, gradients, state.trainable
        )
        return state._replace(trainable=trainable, optimizer=optimizer)

    def _record(self, batch, step, state):
        """Updates the metrics, and returns the logs of a step and its state."""
        x, y, sample_weight = batch
        logs, metrics = self._update_metrics_variables(
            state.metrics, step.total, x, y, step.y_pred, sample_weight
        )
        return logs, state._replace(metrics=metrics)

    def _loss_scale(self, state):
        with self._scope(state, "optimizer"):
            return self.optimizer.scale_loss(jnp.ones(()))

    def _function_of_gradients(self, split, function, is_compiled):
        """Returns a function of a batch that applies `function` to its pass.

        Args:
            split: `GraphSplit`.
            function: Function of a `Pullback` and the loss scale that returns a
                tensor.
            is_compiled: Whether to compile it, as the model's steps are.
        """

        def of_state(state, batch):
            scale = self._loss_scale(state)
            step = Pass(self, split, state, batch, False)
            with self._scope(state, "others"):
                return function(step.pullback(scale), scale)

        if is_compiled and self.jit_compile and not self.run_eagerly:
            of_state = jax.jit(of_state)

        def of_batch(batch):
            # Within an epoch of `fit`, the values are not in the variables.
            sync_state(self)
            return of_state(self._present_state(), batch)

        return of_batch

    def compute_loss_and_updates(self, *args: Any, **kwargs: Any) -> Any:
        # Layers know the losses that they added by the ids of tensors, which
        # new tensors may have again.
        self._clear_losses()
        return super().compute_loss_and_updates(*args, **kwargs)

    def _variables_of(self, kind):
        return VARIABLES[kind](self)

    def _present_state(self):
        return State(
            *[[v.value for v in self._variables_of(k)] for k in State._fields]
        )

    def _scope(self, state, *kinds):
        """A block in which variables of some kinds have the state's values."""
        mapping = [
            pair
            for kind in kinds
            for pair in zip(self._variables_of(kind), getattr(state, kind))
        ]
        self._clear_losses()
        return keras.StatelessScope(mapping, collect_losses=True)

    def _assign(self, kind, values):
        Snapshot(self._variables_of(kind), values).restore()

    def _updated(self, scope, kind):
        """Lists the values of the variables of a kind at the end of a block."""
        return [scope.get_current_value(v) for v in self._variables_of(kind)]
