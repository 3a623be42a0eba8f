"""The training step where it writes to variables: TensorFlow and PyTorch."""

import contextlib
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.backend.snapshot import Snapshot
from keras_mtl.backend.snapshot import values_of
from keras_mtl.training import balancing
from keras_mtl.training import step_state
from keras_mtl.training.look_ahead import LookAhead
from keras_mtl.training.paired_batches import batch_to_train_on
from keras_mtl.training.paired_batches import batches_to_weigh_by
from keras_mtl.training.perturbation import at_own_parameters
from keras_mtl.training.pullback import ForwardPass
from keras_mtl.training.split_call import call_in_two
from keras_mtl.training.step_loss import losses_of_pass
from keras_mtl.training.step_loss import step_loss
from keras_mtl.training.task_gradients import part_of_batch
from keras_mtl.training.variables_surroundings import VariablesSurroundings


class VariablesTrainer:
    """`train_step` of a backend whose training step writes to variables.

    A backend says how a forward pass is recorded (`_recorded`), how a tensor is
    copied so that no gradient passes (`_cut`), what gives the gradients
    (`_pullback_class`, `_gradients_of`, `_gradients_at`), which variables a
    loss depends on (`_reached`), and what keeps its own random numbers
    (`_same_numbers`, `_kept_numbers`) and records nothing (`_unrecorded`).
    """

    _unrecorded = staticmethod(contextlib.nullcontext)
    _kept_numbers = staticmethod(contextlib.nullcontext)

    def train_step(self, data: Any) -> Any:
        with self._undone_if_skipped():
            if self.weighting.needs_validation:
                self._look_ahead(data)
            data = batch_to_train_on(data)
            if self.weighting.needs_losses_after:
                return self._step_with_losses_after(data)
            return self._step(data)

    def _look_ahead(self, data):
        """Lets the weighting learn from validation data, before the step."""
        scale = self.optimizer.scale_loss(ops.ones(()))
        near = [
            VariablesSurroundings(self, batch, scale)
            for batch in batches_to_weigh_by(data)
        ]
        ahead = LookAhead(self.trainable_variables, *near, scale)
        rate = ops.convert_to_tensor(self.optimizer.learning_rate)
        self.weighting.before_step(ahead.slopes, rate)

    @contextlib.contextmanager
    def _undone_if_skipped(self):
        """Undoes what the weighting learns in a step that an overflow skips.

        Loss balancing sees finite losses before their gradients overflow. Only
        with a `LossScaleOptimizer`, which looks for overflows, does it cost
        anything.
        """
        if not step_state.scales_loss(self):
            yield
            return
        weighting, optimizer = self.weighting, self.optimizer
        before = Snapshot(
            [*weighting.variables, *weighting.untracked_variables()]
        )
        scale = optimizer.scale_loss(ops.ones(()))
        yield
        before.restore(where=step_state.is_skipped(optimizer, scale))

    def _step_with_losses_after(self, data):
        """Runs a training step, and tells the weighting of the losses after it.

        The second forward pass begins with the statistics and seeds that the
        first one had, so that the losses differ by the update alone (dropout
        masks are the same); then they are as the step left them.
        """
        state = step_state.network_state(self)
        before, same_numbers = values_of(state), self._same_numbers()
        logs = self._step(data)
        unchanged = step_state.unchanged(self, state, before)
        with unchanged, same_numbers(), self._unrecorded():
            losses = losses_of_pass(self, data)
        self.weighting.after_step(self._losses_to_weight(losses))
        return logs

    def _step(self, data):
        for variable in self.weighting.learning_rate_variables:
            variable.assign(self.optimizer.learning_rate)
        if self.weighting.needs_gradients:
            return self._balanced_step(data)
        return self._weighted_step(data)

    def _weighted_step(self, data):
        """Runs Keras's own step, whose loss is the weighted sum."""
        split = self._split_to_sort
        if split is None:
            return super().train_step(data)
        losses = []
        with (
            self._recorded() as record_of_pass,
            self._running.within(losses_to_sort=losses),
        ):
            logs = super().train_step(data)
        # A `train_step` or `compute_loss` of the user's own may ask for no
        # losses.
        if losses:
            split.sort(self._reached(losses, record_of_pass))
        return logs

    def _balanced_step(self, data):
        self._running.note_balanced()
        batch = keras.utils.unpack_x_y_sample_weight(data)
        scale = self.optimizer.scale_loss(ops.ones(()))
        part = None
        if self._measures_part_of_batch():
            part = self._pullback_of_part(batch, scale)
        step, split, pullback = self._pass_to_balance(batch, scale)
        with self._unrecorded():
            gradients, weights = balancing.balanced_gradients(
                split,
                self.weighting,
                unscale_loss_for_distribution(ops.stack(step.losses)),
                pullback,
                scale,
                part,
            )
            variables = self.trainable_variables
            gradients = balancing.add_penalty(
                self._split, gradients, step.pullback, variables
            )
            gradients = replicas.total_before_update(gradients)
            self.optimizer.apply_gradients(zip(gradients, variables))
            self._record_weights(weights)
        return self._record(batch, step)

    def _pass_to_balance(self, batch, scale):
        """Runs the forward pass of a step.

        Returns:
            Tuple of the `ForwardPass`, and of the split and the `Pullback` of
            what the weighting balances.
        """
        if not self.weighting.perturbs:
            step = self._forward(self._split, batch, scale)
            return step, self._split, step.pullback
        near = VariablesSurroundings(self, batch, scale)
        step = self._forward(self._split, batch, scale)
        split, pullback = at_own_parameters(
            self._split, self.weighting, step.pullback, near, scale
        )
        return step, split, pullback

    def _record(self, batch, step):
        """Updates the metrics, and returns the logs of a step."""
        x, y, sample_weight = batch
        with self._unrecorded():
            self._loss_tracker.update_state(
                unscale_loss_for_distribution(step.total),
                sample_weight=ops.shape(self._first_input(x))[0],
            )
        return self.compute_metrics(
            x, y, step.y_pred, sample_weight=sample_weight
        )

    def _pullback_of_part(self, batch, scale):
        """Returns the `Pullback` of a part of the batch, without a trace."""
        part = part_of_batch(batch, self.weighting.measurement.gramian_batch)
        with self._forward_undone():
            return self._forward(self._split, part, scale, False).pullback

    @contextlib.contextmanager
    def _forward_undone(self, copied=()):
        """A block whose forward passes change no statistics and no seeds.

        Args:
            copied: Variables in whose place copies are read.

        Yields:
            The scope of the block.
        """
        copies = values_of(copied)
        with step_state.unchanged(self, copied, copies) as scope:
            with self._kept_numbers():
                yield scope

    def _forward(self, split, batch, scale, record=True):
        """Runs trunk and heads, and returns a `ForwardPass`."""
        scale = replicas.scale_of_part(scale)
        with self._recorded() as record_of_pass:
            y_pred, values, copies = call_in_two(
                self, split, batch[0], lambda t: self._cut(t, record_of_pass)
            )
            loss = step_loss(
                self,
                batch,
                y_pred,
                lambda t: self._cut(t, record_of_pass),
                record,
            )
            pullback = self._pullback_class(split, values, copies, loss, scale)
        pullback.use(record_of_pass, self.jit_compile)
        return ForwardPass(loss.losses, loss.total, y_pred, pullback)

    def _function_of_gradients(self, split, function, is_compiled):
        """Returns a function of a batch that applies `function` to its pass.

        Args:
            split: `GraphSplit`.
            function: Function of a `Pullback` and the loss scale that returns a
                tensor.
            is_compiled: Whether to compile it, as the model's steps are.
        """

        def of_batch(batch):
            # With the loss scale, small gradients do not vanish in half
            # precision.
            scale = self.optimizer.scale_loss(ops.ones(()))
            with self._forward_undone():
                step = self._forward(split, batch, scale, False)
                with self._unrecorded():
                    return function(step.pullback, scale)

        return self._compiled_as_step(of_batch) if is_compiled else of_batch
