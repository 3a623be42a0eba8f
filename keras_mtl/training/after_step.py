import contextlib

import keras
from keras import ops


def step_with_losses_after(
    model, train_step, data, same_random_numbers=contextlib.nullcontext
):
    """Runs a training step, and tells the weighting of the losses after it.

    The second forward pass begins with the statistics and seeds that the first
    one had, so that the losses differ by the update alone (dropout masks are
    the same); then they are as the step left them.

    Args:
        same_random_numbers: Function that returns a context in which the
            backend's own generator begins as it was when the function was made.
    """
    before = [ops.copy(v) for v in model.network_state()]
    logs = train_step(data)
    batch = keras.utils.unpack_x_y_sample_weight(data)
    with state_kept(model):
        assign(model.network_state(), before)
        with same_random_numbers():
            losses = model.losses_after_step(*batch)
    model.weighting.after_step(losses)
    return logs


@contextlib.contextmanager
def state_kept(model):
    """Restores what forward passes change: statistics and seeds."""
    state = model.network_state()
    values = [ops.copy(v) for v in state]
    try:
        yield
    finally:
        assign(state, values)


def assign(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)
