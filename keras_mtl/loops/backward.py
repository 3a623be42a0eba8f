from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.loops.of_backend import loop_of_backend
from keras_mtl.weightings.weighting import Weighting


def backward(
    losses: Mapping[str, Any] | Sequence[Any],
    weighting: Weighting,
    shared: Any = None,
    loss_scale: Any = 1.0,
) -> Any:
    """Adds balanced gradients to `.grad`, in place of `loss.backward()`.

    For a loop on PyTorch, around a Keras model or any `torch.nn.Module`. The
    losses may have been computed in any way, with several forward passes.

    Which tensors are shared is read from PyTorch's own record: those from which
    two or more losses were computed. Their gradients are balanced; a tensor
    that one loss alone depends on gets the gradient of that loss.

    ```python
    weighting = keras_mtl.weightings.get("nash_mtl")    # once, before the loop
    optimizer = torch.optim.Adam(module.parameters())

    for x, y in data:
        depth, normals = module(x)
        losses = {"depth": depth_loss(depth, y), "normals": ...}
        optimizer.zero_grad()
        keras_mtl.loops.backward(losses, weighting)
        optimizer.step()
    ```

    The hooks that `fit` calls are the loop's to call, where the method has
    them: `weighting.on_epoch_begin()` and `on_epoch_end()` (`needs_epochs`),
    `weighting.after_step(new_losses)` (`needs_losses_after`). The weights of
    the last step are `weighting.task_weights`, too.

    Args:
        losses: Dict of task to scalar tensor, or list of scalar tensors. The
            tasks are the same in each step.
        weighting: `Weighting`, made by `keras_mtl.weightings.get`.
        shared: Module, tensor, or list of these, on whose tensors gradients are
            compared; by default all shared ones. The weights act on all.
        loss_scale: Factor of all gradients, of mixed precision: that of a
            `torch.amp.GradScaler`, `scaler.get_scale()`. The losses are given
            without it.

    Returns:
        Tensor of shape `(T,)`, the weights.

    Raises:
        ValueError: If a loss is not scalar or depends on no tensor that is
            trained, no tensor is shared by two losses and the weighting needs
            gradients, the tasks are others than before, or PyTorch is not the
            backend of Keras.
    """
    step = loop_of_backend("torch").backward
    return step(losses, weighting, shared, loss_scale)
