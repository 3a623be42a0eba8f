from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend.compiling import without_autograph
from keras_mtl.loops.of_backend import loop_of_backend
from keras_mtl.weightings.weighting import Weighting


@without_autograph
def tape_gradient(
    tape: Any,
    losses: Mapping[str, Any] | Sequence[Any],
    variables: Sequence[Any],
    weighting: Weighting,
    shared: Sequence[Any] | None = None,
    loss_scale: Any = 1.0,
) -> list:
    """Returns balanced gradients, in place of `tape.gradient(loss, variables)`.

    For a loop on TensorFlow, eager or in a `tf.function`, compiled by XLA or
    not. Which variables are shared is read from the tape: those on which two or
    more losses depend. Their gradients are balanced; a variable that one loss
    alone depends on gets the gradient of that loss.

    ```python
    weighting = keras_mtl.weightings.get("nash_mtl")    # once, before the loop
    variables = model.trainable_variables

    for x, y in data:
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(x, training=True)
            losses = {"depth": depth_loss(outputs, y), "normals": ...}
        gradients = keras_mtl.loops.tape_gradient(
            tape, losses, variables, weighting
        )
        optimizer.apply_gradients(zip(gradients, variables))
    ```

    The hooks that `fit` calls are the loop's to call, where the method has
    them: `weighting.on_epoch_begin()` and `on_epoch_end()` (`needs_epochs`),
    `weighting.after_step(new_losses)` (`needs_losses_after`). The weights of
    the last step are `weighting.task_weights`.

    Args:
        tape: `tf.GradientTape`, persistent if the weighting needs gradients.
            Call this outside of its block.
        losses: Dict of task to scalar tensor, or list of scalar tensors. The
            tasks are the same in each step.
        variables: List of variables of Keras or TensorFlow.
        weighting: `Weighting`, made by `keras_mtl.weightings.get`.
        shared: List of those variables on which gradients are compared; by
            default all shared ones. The weights act on all.
        loss_scale: Factor of all gradients, of mixed precision. The losses are
            given without it.

    Returns:
        List with the gradient of each variable, `None` where no loss depends on
        it.

    Raises:
        ValueError: If a loss is not scalar or depends on none of the variables,
            no variable is shared by two losses and the weighting needs
            gradients, the tasks are others than before, the tape is not
            persistent, or TensorFlow is not the backend of Keras.
    """
    step = loop_of_backend("tensorflow").tape_gradient
    return step(tape, losses, variables, weighting, shared, loss_scale)
