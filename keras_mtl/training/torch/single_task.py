import functools

import torch

from keras_mtl.backend.keras_internals import HAS_TORCH_DISTRIBUTION
from keras_mtl.backend.keras_internals import uses_torch_compile
from keras_mtl.training.loss_after import loss_after_step
from keras_mtl.training.torch.trainer import from_here


def make_step_functions(steps):
    model = steps.model
    if model.steps_per_execution > 1 and not HAS_TORCH_DISTRIBUTION:
        raise ValueError(
            "`steps_per_execution` must be 1 with the PyTorch backend. "
            f"Received: steps_per_execution={model.steps_per_execution}"
        )
    functions = {
        task: functools.partial(_step, steps, task) for task in model.tasks
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


def _step(steps, task, data):
    train = functools.partial(_train, steps, task, data)
    if not steps.needs_loss_after:
        return *train(), None
    (logs, loss), loss_after = loss_after_step(
        steps, task, data, train, from_here()
    )
    return logs, loss, loss_after


def _train(steps, task, data):
    optimizer, variables = steps.model.optimizer, steps.variables[task]
    loss, count, y_pred = steps.forward(task, data)
    total = steps.total_loss(task, loss)
    gradients = torch.autograd.grad(
        optimizer.scale_loss(total),
        [v.value for v in variables],
        allow_unused=True,
    )
    with torch.no_grad():
        optimizer.apply(list(gradients), variables)
        loss = loss.detach()
        return steps.record(task, data, loss, count, total, y_pred), loss
