import functools

import torch

from keras_mtl.backend.keras_internals import HAS_TORCH_DISTRIBUTION
from keras_mtl.backend.keras_internals import uses_torch_compile
from keras_mtl.training.variables_single_task import take_step


def make_step_functions(steps):
    model = steps.model
    if model.steps_per_execution > 1 and not HAS_TORCH_DISTRIBUTION:
        raise ValueError(
            "`steps_per_execution` must be 1 with the PyTorch backend. "
            f"Received: steps_per_execution={model.steps_per_execution}"
        )
    functions = {
        task: functools.partial(take_step, steps, task) for task in model.tasks
    }
    if uses_torch_compile(model):
        functions = {t: torch.compile(f) for t, f in functions.items()}
    return functions


def make_test_function(steps, task):
    return torch.no_grad(functools.partial(steps.test, task))


def make_train_function(steps):
    def step(task, data):
        return steps.functions[task](data)

    def train_function(tokens):
        for _ in tokens:
            logs = steps.run(step)
        return logs

    return train_function
