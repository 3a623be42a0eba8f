"""What a subclass of the model overrides, and where that cannot be honoured."""

import warnings

from keras_mtl.weightings.equal import Equal

# What the step of one task does by itself.
BY_TASK = ("train_step", "compute_loss", "compute_metrics")


def check_is_balanced(model):
    """Raises an error if a step should have asked the weighting.

    Args:
        model: `MultiTaskModel`, in a step of which nothing was balanced.

    Raises:
        ValueError: If its weighting is another one than equal weights.
    """
    if not _balances(model):
        return
    names = ("train_step", "compute_loss")
    own = [name for name in names if model._overrides(name)]
    raise ValueError(
        "Expected a step that asks the weighting, by "
        "`super().train_step(...)` or, for loss balancing, by "
        "`super().compute_loss(...)`. Received: "
        f"{type(model).__name__}, whose {' and '.join(own)} did not, with "
        f"{model.weighting}"
    )


def own_step_error(model):
    """Makes the error for `compute_loss` outside of the step that balances."""
    return ValueError(
        "Gradient balancing happens in `train_step`, which differentiates the "
        "loss of each task: call `super().train_step(...)`. Received: "
        f"`compute_loss` in the `train_step` of {type(model).__name__} with "
        f"{model.weighting}. A loss balancing may be called in this way."
    )


def warn_of_no_step(model):
    """Warns once that the loss outside of a step is a plain sum."""
    if model._running.has_warned or not _balances(model):
        return
    model._running.has_warned = True
    warnings.warn(
        "`compute_loss` was called outside of a training step, where it is the "
        "plain sum of the task losses: the tasks are balanced in `train_step`, "
        "that is in `fit` and `train_on_batch`. Call it with `training=False` "
        "to look at the loss.",
        stacklevel=3,
    )


def check_with_sampler(model):
    """Raises an error for what a step of one task would pass over.

    Args:
        model: `MultiTaskModel`.

    Raises:
        ValueError: If it overrides what is about all tasks.
    """
    own = [name for name in BY_TASK if model._overrides(name)]
    if own:
        raise ValueError(
            "A step of a `TaskSampler` has the labels and the output of one "
            f"task. Expected a model that overrides none of {list(BY_TASK)}, "
            "which are about all tasks; `call` may be overridden. Received: "
            f"{type(model).__name__}, which overrides {own}"
        )


def check_with_data_of_tasks(model):
    """Raises an error for an override of `test_step` with one task's data.

    Args:
        model: `MultiTaskModel`.

    Raises:
        ValueError: If it overrides `test_step`.
    """
    if model._overrides("test_step"):
        raise ValueError(
            "Expected `validation_data` with the labels of all tasks for a "
            "model that overrides `test_step`, which is about all tasks. "
            f"Received: a dict of task to its data, for {type(model).__name__}"
        )


def _balances(model):
    return not isinstance(model.weighting, Equal)
