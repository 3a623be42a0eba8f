import contextlib
from typing import Any

import keras
import torch

from keras_mtl.backend import replicas
from keras_mtl.backend import torch_replicas
from keras_mtl.training.pullback import RecordedPullback
from keras_mtl.training.task_gradients import part_of_batch
from keras_mtl.training.torch.leaves import leaves_of
from keras_mtl.training.variables_step import VariablesTrainer


class AutogradPullback(RecordedPullback):
    """The gradients of a pass that PyTorch has recorded."""

    def use(self, record_of_pass, is_fused):
        # PyTorch keeps the record with the tensors themselves.
        del record_of_pass, is_fused

    def gradients(self, targets, variables, cotangents=None):
        sources = [
            v.value if isinstance(v, keras.Variable) else v for v in variables
        ]
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
            # A popped row leaves the memory as soon as it is copied.
            place.copy_(rows.pop())
        return matrix


class BackendTrainer(VariablesTrainer):
    """`train_step` on PyTorch."""

    # Keras's trainer sets them.
    train_function: Any
    test_function: Any

    _pullback_class = AutogradPullback
    _recorded = staticmethod(contextlib.nullcontext)
    _unrecorded = staticmethod(torch.no_grad)
    # Dropout draws from PyTorch's own generators.
    _kept_numbers = staticmethod(torch.random.fork_rng)

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        torch_replicas.check()
        if torch_replicas.num_processes() > 1:
            torch_replicas.copy_from_first(self._replicated_variables())
        super().make_train_function(force)
        self.train_function = torch_replicas.in_step(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is not None and not force:
            return
        torch_replicas.check()
        super().make_test_function(force)
        self.test_function = torch_replicas.in_step(self.test_function)

    def _initialize_ddp(self):
        """Leaves out Keras's wrapper, which averages gradients of its own.

        The gradients of the tasks would go round it. The steps here add up what
        the processes have of them.
        """

    def _replicated_variables(self):
        variables = [
            *self.variables,
            *self.weighting.variables,
            *self.optimizer.variables,
        ]
        return list({id(v): v for v in variables}.values())

    def _pullback_of_part(self, batch, scale):
        split = self._split
        part = part_of_batch(batch, self.weighting.measurement.gramian_batch)
        if split.written is None:
            with self._forward_undone() as scope:
                self._forward(split, part, scale, False)
            ids = scope.state_mapping
            split.written = [v for v in self.variables if id(v) in ids]
        # The pass of the whole batch writes to them, before the gradients of
        # the part are taken, and PyTorch would miss what it has overwritten.
        with self._forward_undone(split.written):
            return self._forward(split, part, scale, False).pullback

    def _weighted_step(self, data):
        if replicas.count() == 1:
            return super()._weighted_step(data)
        # Keras's step, with the mean of the gradients of the processes.
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
        variables = self.trainable_variables
        gradients = self._gradients_of(
            self.optimizer.scale_loss(loss), variables, None
        )
        with torch.no_grad():
            gradients = [
                g if g is None else g / replicas.count()
                for g in replicas.total(gradients)
            ]
            self.optimizer.apply(gradients, variables)
            self._loss_tracker.update_state(
                loss, sample_weight=self._first_input(x).shape[0]
            )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    @staticmethod
    def _cut(tensor, _):
        return tensor.detach().requires_grad_()

    @staticmethod
    def _gradients_of(target, variables, _):
        return torch.autograd.grad(
            target, [v.value for v in variables], allow_unused=True
        )

    @staticmethod
    def _gradients_at(target, tensors, _):
        # A loss without a label may not depend on any of them.
        if not target.requires_grad:
            return [None] * len(tensors)
        return torch.autograd.grad(target, tensors, allow_unused=True)

    def _reached(self, losses, _):
        leaves = {id(v.value): id(v) for v in self.trainable_variables}
        _, reached = leaves_of(losses)
        return [{leaves[i] for i in ids if i in leaves} for ids in reached]

    @staticmethod
    def _same_numbers():
        return numbers_from_here()

    def _compiled_as_step(self, function):
        return function


def numbers_from_here():
    """Returns a context in which PyTorch draws what it draws from here on.

    The generators are afterwards as before.
    """
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all()

    @contextlib.contextmanager
    def context():
        with torch.random.fork_rng():
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(cuda)
            yield

    return context
