"""A step of a loop of the user's own on PyTorch."""

import keras
import torch

from keras_mtl.training.balancing import balanced_gradients
from keras_mtl.training.loop import loop_of
from keras_mtl.training.loop import stacked
from keras_mtl.training.step_loss import StepLoss
from keras_mtl.training.torch.leaves import leaves_of
from keras_mtl.training.torch.trainer import AutogradPullback


def backward(losses, weighting, shared, loss_scale):
    """See `keras_mtl.loops.backward`."""
    loop = loop_of(weighting)
    losses = loop.in_order(losses)
    if not weighting.built:
        weighting.build((len(losses),))
    if not weighting.needs_gradients:
        _check_requires_grad(loop.tasks, losses)
        with torch.no_grad():
            weights = weighting(stacked(losses))
        scales = [
            (loss_scale * weight).to(loss.dtype)
            for weight, loss in zip(weights, losses)
        ]
        torch.autograd.backward(losses, scales)
        return weights
    leaves, reached = leaves_of(losses)
    if shared is not None:
        shared = tensors_of(shared)
    split = loop.new_split(leaves, shared)
    split.sort(reached)
    loss = StepLoss(losses, None, None, None)
    pullback = AutogradPullback(split, {}, {}, loss, loss_scale)
    with torch.no_grad():
        gradients, weights = balanced_gradients(
            split, weighting, stacked(losses), pullback, loss_scale
        )
        for leaf in leaves:
            _accumulate(leaf, gradients.get(id(leaf)))
    return weights


def _accumulate(leaf, gradient):
    if gradient is None:
        return
    if leaf.grad is None:
        # What broadcasts cannot be written to, as clipping does.
        leaf.grad = gradient.contiguous()
    else:
        leaf.grad += gradient


def _check_requires_grad(tasks, losses):
    lost = [t for t, loss in zip(tasks, losses) if not loss.requires_grad]
    if lost:
        raise ValueError(
            "Expected each loss to depend on a variable that is trained. "
            f"Received: losses of {lost} that require no gradient"
        )


def tensors_of(parameters):
    """Lists the tensors of a module, of Keras's variables, or of a list."""
    if isinstance(parameters, torch.nn.Module):
        return list(parameters.parameters())
    if isinstance(parameters, keras.Variable):
        return [parameters.value]
    if isinstance(parameters, torch.Tensor):
        return [parameters]
    return [t for part in parameters for t in tensors_of(part)]
