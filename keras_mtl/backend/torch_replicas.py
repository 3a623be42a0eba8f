"""Sums over the processes of `torch.distributed`, one replica each.

The processes meet in the steps of `fit`, `evaluate` and their relatives alone:
what one of them computes between the steps, such as a Gramian in a callback, is
its own.
"""

import functools

import keras
import torch
from torch import distributed

from keras_mtl.backend import keras_internals
from keras_mtl.backend.one_replica import check_optimizer  # noqa: F401
from keras_mtl.backend.one_replica import check_variables  # noqa: F401
from keras_mtl.backend.one_replica import has_several as has_distribution
from keras_mtl.backend.one_replica import scope  # noqa: F401

_is_in_step = False


def in_step(function):
    """Returns a function in which each process has a part of the batch."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        global _is_in_step
        before, _is_in_step = _is_in_step, num_processes() > 1
        try:
            return function(*args, **kwargs)
        finally:
            _is_in_step = before

    return call


def count():
    """Returns the number of processes that take this step together."""
    return num_processes() if _is_in_step else 1


def num_processes():
    """Returns the number of processes, in a step or not."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size(_group())


def is_first_process(model):
    return num_processes() == 1 or distributed.get_rank() == 0


def check():
    """Raises a `ValueError` if several processes cannot train together."""
    if num_processes() == 1:
        return
    distribution = keras.distribution.distribution()
    is_known = distribution is None or isinstance(
        distribution, keras.distribution.DataParallel
    )
    if not keras_internals.HAS_TORCH_DISTRIBUTION or not is_known:
        raise ValueError(
            "Several processes of PyTorch train one model since Keras 3.16, "
            "each with a part of the batch and with no `keras.distribution` "
            "but a `DataParallel`. Expected that, or one process: call "
            "`torch.distributed.destroy_process_group()` to train a model in "
            f"each. Received: {num_processes()} processes, Keras "
            f"{keras.__version__}, distribution={distribution}"
        )


def total(tensors):
    """Returns the sums of a nest of tensors, or `None`, over the processes."""
    if count() == 1:
        return tensors
    flat = keras.tree.flatten(tensors)
    sums = [None] * len(flat)
    for dtype in dict.fromkeys(t.dtype for t in flat if t is not None):
        places = [
            i for i, t in enumerate(flat) if t is not None and t.dtype == dtype
        ]
        # All go in one message, since each takes its time, however short it is.
        message = torch.cat([flat[i].detach().reshape(-1) for i in places])
        distributed.all_reduce(message, group=_group())
        parts = message.split([flat[i].numel() for i in places])
        for i, part in zip(places, parts):
            sums[i] = part.reshape(flat[i].shape)
    return keras.tree.pack_sequence_as(tensors, sums)


def join(matrix):
    if count() == 1:
        return matrix, lambda row: row
    size = matrix.shape[1]
    sizes = _gather(torch.tensor([size], device=matrix.device))
    sizes = [int(each) for each in sizes]
    # The messages of all processes have one shape.
    padded = torch.nn.functional.pad(matrix, (0, max(sizes) - size))
    parts = [part[:, :n] for part, n in zip(_gather(padded), sizes)]
    start = sum(sizes[: distributed.get_rank(_group())])
    return torch.cat(parts, dim=1), lambda row: row[start : start + size]


def total_before_update(gradients):
    return total(gradients)


def share_of_sum(gradient):
    return gradient / count() if count() > 1 else gradient


def loss_of_part(loss):
    return loss * count()


def scale_of_part(scale):
    # The losses are scaled for a mean over the processes, see `loss_of_part`.
    return scale / count() if count() > 1 else scale


def has_several(model):
    return num_processes() > 1 or has_distribution(model)


def copy_from_first(variables):
    """Gives all processes the values that the first one has of variables."""
    with torch.no_grad():
        for variable in variables:
            # Values go as bytes, which every backend of `torch.distributed`
            # sends.
            value = variable.value.detach().clone().contiguous()
            message = value.reshape(-1).view(torch.uint8)
            distributed.broadcast(message, _first(), group=_group())
            variable.assign(value)


def _gather(tensor):
    parts = [torch.empty_like(tensor) for _ in range(num_processes())]
    distributed.all_gather(parts, tensor.contiguous(), group=_group())
    return parts


def _group():
    """Returns the processes that share a batch, `None` for all."""
    return keras_internals.torch_data_group()


def _first():
    group = _group()
    return 0 if group is None else distributed.get_global_rank(group, 0)
