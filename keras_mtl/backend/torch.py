"""The primitives on PyTorch."""

import contextlib

import keras
import numpy as np
import torch
from keras import ops

from keras_mtl.backend import torch_replicas as replicas  # noqa: F401
from keras_mtl.backend.keras_internals import raw_value

# PyTorch runs functions as they are.
compile_pure = None


def gradient(function, tensors):
    with torch.enable_grad():
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        return list(torch.autograd.grad(function(tensors), tensors))


def compile_reader(function):
    return function


def without_autograph(function):
    return function


entries = ops.unstack


def solve_positive(matrix, right):
    return ops.solve(matrix, right)


def float32_product(left, right):
    if right.is_cuda and torch.backends.cuda.matmul.allow_tf32:
        return torch.matmul(left.double(), right.double()).float()
    return torch.matmul(left, right)


def get_random_state():
    # Layers draw from PyTorch's own generators, such as dropout without a seed.
    states = {"torch.cpu": torch.get_rng_state()}
    for i, state in enumerate(torch.cuda.get_rng_state_all()):
        states[f"torch.cuda.{i}"] = state
    return {name: state.numpy() for name, state in states.items()}


def set_random_state(states):
    states = {
        name: torch.from_numpy(np.array(state, "uint8"))
        for name, state in states.items()
    }
    if "torch.cpu" in states:
        torch.set_rng_state(states["torch.cpu"])
    for i in range(torch.cuda.device_count()):
        if f"torch.cuda.{i}" in states:
            torch.cuda.set_rng_state(states[f"torch.cuda.{i}"], i)


class _Reads(torch.overrides.TorchFunctionMode):
    """Notes which of some variables are arguments of PyTorch's functions."""

    def __init__(self, variables):
        super().__init__()
        self._known = {id(v): id(v) for v in variables}
        self._known.update((id(raw_value(v)), id(v)) for v in variables)
        self.found = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        del types
        for argument in keras.tree.flatten((args, kwargs)):
            if id(argument) in self._known:
                self.found.add(self._known[id(argument)])
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def variables_read(variables):
    if torch.compiler.is_compiling():
        yield None
        return
    with _Reads(variables) as reads:
        yield reads.found
