import contextlib

import keras
import torch

from keras_mtl.backend import replicas
from keras_mtl.backend import torch_replicas
from keras_mtl.training import balancing
from keras_mtl.training.after_step import state_kept
from keras_mtl.training.after_step import step_with_losses_after
from keras_mtl.training.pullback import Pullback
from keras_mtl.training.skipped_step import undone_if_skipped


class BackendTrainer:
    """`train_step` on PyTorch."""

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return
        torch_replicas.check()
        if torch_replicas.num_processes() > 1:
            torch_replicas.copy_from_first(self._replicated_variables())
        super().make_train_function(force)
        self.train_function = torch_replicas.in_step(self.train_function)

    def make_test_function(self, force=False):
        if self.test_function is not None and not force:
            return
        torch_replicas.check()
        super().make_test_function(force)
        self.test_function = torch_replicas.in_step(self.test_function)

    def _initialize_ddp(self):
        """Leaves out Keras's wrapper, which averages gradients of its own.

        The gradients of the tasks would go round it. The steps below add up
        what the processes have of them.
        """

    def _replicated_variables(self):
        variables = [
            *self.variables,
            *self.weighting.variables,
            *self.optimizer.variables,
        ]
        return list({id(v): v for v in variables}.values())

    def train_step(self, data):
        with undone_if_skipped(self):
            if self.weighting.needs_losses_after:
                return step_with_losses_after(
                    self, self._train_step, data, from_here()
                )
            return self._train_step(data)

    def _train_step(self, data):
        for variable in self.weighting.learning_rate_variables:
            variable.assign(self.optimizer.learning_rate)
        if not self.weighting.needs_gradients:
            if replicas.count() > 1:
                return self._step_over_replicas(data)
            return super().train_step(data)
        batch = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = batch
        scale = self.optimizer.scale_loss(keras.ops.ones(()))
        part = None
        if self.measures_part_of_batch:
            fraction = self.weighting.gramian_batch
            # Dropout draws from PyTorch's own generator.
            with state_kept(self), torch.random.fork_rng():
                part, *_ = self._forward(
                    *balancing.part_of_batch(batch, fraction),
                    scale,
                    self.losses_without_metrics,
                )
        pullback, losses, penalty, y_pred = self._forward(
            x, y, sample_weight, scale, self.compute_task_losses
        )
        with torch.no_grad():
            gradients, weights = balancing.balanced_gradients(
                self._split,
                self.weighting,
                torch.stack(losses),
                pullback,
                scale,
                part,
            )
            variables = self.trainable_variables
            gradients = balancing.add_penalty(
                self._split, gradients, pullback, variables
            )
            gradients = replicas.total(gradients)
            self.optimizer.apply(gradients, variables)
            self.update_weight_metrics(weights)
            self._loss_tracker.update_state(
                self.total_loss(losses, penalty),
                sample_weight=self.first_input(x).shape[0],
            )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _step_over_replicas(self, data):
        """Runs Keras's step, with the mean of the processes' gradients."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
        variables = self.trainable_variables
        gradients = torch.autograd.grad(
            self.optimizer.scale_loss(loss),
            [v.value for v in variables],
            allow_unused=True,
        )
        with torch.no_grad():
            gradients = [
                g if g is None else g / replicas.count()
                for g in replicas.total(gradients)
            ]
            self.optimizer.apply(gradients, variables)
            self._loss_tracker.update_state(
                loss, sample_weight=self.first_input(x).shape[0]
            )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _forward(self, x, y, sample_weight, scale, compute_losses):
        y_pred, values, copies = self.forward_in_two(
            x, lambda tensor: tensor.detach().requires_grad_()
        )
        losses = compute_losses(y, y_pred, sample_weight)
        penalty = self.compute_penalty()
        # What the processes have of the gradients is added up, and these are
        # scaled for a mean.
        scale = scale / replicas.count()
        pullback = AutogradPullback(
            self._split,
            values,
            copies,
            [loss * scale for loss in losses],
            None if penalty is None else penalty * scale,
        )
        return pullback, losses, penalty, y_pred


def from_here():
    """Returns a context in which PyTorch draws what it draws from here on."""
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all()

    @contextlib.contextmanager
    def context():
        with torch.random.fork_rng(), torch.no_grad():
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(cuda)
            yield

    return context


class AutogradPullback(Pullback):
    def gradients(self, targets, variables, cotangents=None):
        sources = [getattr(v, "value", v) for v in variables]
        if cotangents is None:
            cotangents = [None] * len(targets)
        # A target may not depend on any variable, a frozen trunk's output say.
        pairs = [p for p in zip(targets, cotangents) if p[0].requires_grad]
        if not sources or not pairs:
            return [None] * len(sources)
        targets, cotangents = zip(*pairs)
        return torch.autograd.grad(
            targets, sources, cotangents, retain_graph=True, allow_unused=True
        )

    def stack(self, rows):
        matrix = rows[0].new_empty((len(rows), *rows[0].shape))
        rows.reverse()
        for place in matrix:
            # Here a row leaves the memory.
            place.copy_(rows.pop())
        return matrix
