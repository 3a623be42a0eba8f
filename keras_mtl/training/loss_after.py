import contextlib

from keras import ops

from keras_mtl.training.after_step import assign


def loss_after_step(
    steps, task, data, train, same_random_numbers=contextlib.nullcontext
):
    """Runs a training step, and computes the loss on its batch after it.

    The second forward pass begins with the statistics and seeds that the first
    one had, see `backend.after_step`.

    Args:
        train: Function that trains a step.
        same_random_numbers: As in `backend.after_step`.

    Returns:
        Tuple of what `train` returned, and the loss.
    """
    state = steps.state[task]
    before = [ops.copy(v) for v in state]
    result = train()
    after = [ops.copy(v) for v in state]
    assign(state, before)
    with same_random_numbers():
        loss, _, _ = steps.forward(task, data)
    assign(state, after)
    return result, ops.stop_gradient(loss)
