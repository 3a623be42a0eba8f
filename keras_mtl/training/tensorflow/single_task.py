import functools

from keras_mtl.training.variables_single_task import take_step


def make_step_functions(steps):
    model = steps.model
    return {
        task: model._compiled_as_step(functools.partial(take_step, steps, task))
        for task in model.tasks
    }


def make_test_function(steps, task):
    return steps.model._compiled_as_step(functools.partial(steps.test, task))


def make_train_function(steps):
    def step(task, data):
        return steps.functions[task](data)

    def train_function(iterator):
        for _ in zip(range(steps.model.steps_per_execution), iterator):
            logs = steps.run(step)
        return logs

    return train_function
