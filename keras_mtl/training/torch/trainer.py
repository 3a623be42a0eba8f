import contextlib

import torch

from keras_mtl.training.pullback import RecordedPullback
from keras_mtl.training.variables_step import VariablesTrainer


class AutogradPullback(RecordedPullback):
    """The gradients of a pass that PyTorch has recorded."""

    def use(self, model, record_of_pass):
        # PyTorch keeps the record with the tensors themselves.
        del model, record_of_pass

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
            # A popped row leaves the memory as soon as it is copied.
            place.copy_(rows.pop())
        return matrix


class BackendTrainer(VariablesTrainer):
    """`train_step` on PyTorch."""

    _pullback_class = AutogradPullback
    _recorded = staticmethod(contextlib.nullcontext)
    _unrecorded = staticmethod(torch.no_grad)
    # Dropout draws from PyTorch's own generators.
    _kept_numbers = staticmethod(torch.random.fork_rng)

    @staticmethod
    def _cut(tensor, _):
        return tensor.detach().requires_grad_()

    @staticmethod
    def _gradients_of(target, variables, _):
        return torch.autograd.grad(
            target, [v.value for v in variables], allow_unused=True
        )

    @staticmethod
    def _same_numbers():
        return numbers_from_here()

    def _compiled_as_step(self, function):
        return function


def numbers_from_here():
    """Returns a context in which PyTorch draws what it draws from here on.

    Nothing is recorded in it, and the generators are afterwards as before.
    """
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state_all()

    @contextlib.contextmanager
    def context():
        with torch.random.fork_rng(), torch.no_grad():
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(cuda)
            yield

    return context
