"""Losses of tasks that are not made by `keras.losses`: one scalar each."""


def by_task(losses):
    """Returns losses as a dict; those in a list are called "0", "1", ...

    Raises:
        ValueError: If they are neither a dict nor a list.
    """
    if isinstance(losses, dict):
        return losses
    if isinstance(losses, (list, tuple)):
        return {str(i): loss for i, loss in enumerate(losses)}
    raise ValueError(
        "Expected the losses to be a dict of task to scalar, or a list of "
        f"scalars. Received: {losses!r} of type {type(losses)}"
    )


def check_is_scalar(task, loss):
    """Raises a `ValueError` for a loss that is no scalar tensor."""
    shape = getattr(loss, "shape", None)
    if shape is None:
        raise ValueError(
            f"Expected the loss of task {task!r} to be a scalar tensor. "
            f"Received: {loss!r} of type {type(loss)}"
        )
    if len(shape):
        raise ValueError(
            f"Expected the loss of task {task!r} to be a scalar, such as the "
            "mean over the examples. Received: a loss of shape "
            f"{tuple(shape)}"
        )


def check_are_several(tasks):
    """Raises a `ValueError` for less than two tasks."""
    if len(tasks) < 2:
        raise ValueError(
            "Expected the losses of two or more tasks. Received: losses of "
            f"{list(tasks)}"
        )
