"""The step of one task where it writes to variables: TensorFlow and PyTorch."""

from keras import ops

from keras_mtl.backend.snapshot import values_of
from keras_mtl.training.step_state import unchanged


def take_step(steps, task, data):
    """Trains a step of a task.

    Args:
        steps: `SingleTaskSteps`.
        task: Name of the task.
        data: `(x, y)` or `(x, y, sample_weight)`.

    Returns:
        Tuple of the logs, the loss, and the loss on the batch after the step,
        or `None` if the sampler's reward does not need it.
    """
    if not steps.needs_loss_after:
        return *_train(steps, task, data), None
    # The second forward pass begins with the statistics and seeds that the
    # first one had, so that the losses differ by the update alone.
    model, state = steps.model, steps.state[task]
    before, same_numbers = values_of(state), model._same_numbers()
    logs, loss = _train(steps, task, data)
    undone = unchanged(model, state, before)
    with undone, same_numbers(), model._unrecorded():
        loss_after, _, _ = steps.forward(task, data)
    return logs, loss, ops.stop_gradient(loss_after)


def _train(steps, task, data):
    model, variables = steps.model, steps.variables[task]
    with model._recorded() as record_of_pass:
        loss, count, y_pred = steps.forward(task, data)
        total = steps.total_loss(task, loss)
        scaled_loss = model.optimizer.scale_loss(total)
    gradients = model._gradients_of(scaled_loss, variables, record_of_pass)
    with model._unrecorded():
        model.optimizer.apply_gradients(zip(gradients, variables))
        loss = ops.stop_gradient(loss)
        return steps.record(task, data, loss, count, total, y_pred), loss
