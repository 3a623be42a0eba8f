"""`fit` with a `TaskSampler`, which chooses the task of each step."""

import contextlib

from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.training import fit_arguments
from keras_mtl.training.single_task import SingleTaskSteps
from keras_mtl.training.step_tokens import StepTokens


def steps_for(model, sampler):
    """Returns the `SingleTaskSteps` of a model for a sampler.

    Those of the last `fit` serve again, with what they have compiled, where
    they fit.
    """
    steps = model._single_task_steps
    if steps is None or not steps.go_on_with(sampler):
        with DotNotTrackScope():
            steps = model._single_task_steps = SingleTaskSteps(model, sampler)
    return steps


def fit_tasks(model, fit, steps, arguments):
    """Trains a model with the tasks that a sampler chooses.

    Args:
        model: `MultiTaskModel`.
        fit: The `fit` of Keras.
        steps: `SingleTaskSteps`.
        arguments: Dict of the arguments of `fit`.

    Returns:
        The `keras.callbacks.History`.
    """
    fit_arguments.check_with_sampler(arguments)
    steps.build()
    steps.take_validation_data(arguments)
    is_counted = arguments.get("steps_per_epoch") is None
    num_batches = len(steps.sampler) if is_counted else None
    with _selecting(model, steps), model._running.in_fit():
        return fit(**{**arguments, "x": StepTokens(num_batches)})


@contextlib.contextmanager
def _selecting(model, steps):
    """A block in which the model trains, and its files have the sampler."""
    other_function, model.train_function = model.train_function, None
    model._selecting_steps = steps
    model._saved_state.sampler = steps.sampler
    try:
        yield
    finally:
        model._selecting_steps = None
        model._saved_state.sampler = None
        model.train_function = other_function
