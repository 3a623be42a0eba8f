import functools

import tensorflow as tf

from keras_mtl.training.loss_after import loss_after_step


def make_step_functions(steps):
    model = steps.model
    return {
        task: _compiled(model, functools.partial(_step, steps, task))
        for task in model.tasks
    }


def make_test_function(steps, task):
    return _compiled(steps.model, functools.partial(steps.test, task))


def _compiled(model, function):
    if model.run_eagerly:
        return function
    return tf.function(
        tf.autograph.experimental.do_not_convert(function),
        reduce_retracing=True,
        jit_compile=model.jit_compile,
    )


def make_train_function(steps):
    def step(task, data):
        return steps.functions[task](data)

    def train_function(iterator):
        for _ in zip(range(steps.model.steps_per_execution), iterator):
            logs = steps.run(step)
        return logs

    return train_function


def _step(steps, task, data):
    train = functools.partial(_train, steps, task, data)
    if not steps.needs_loss_after:
        return *train(), None
    (logs, loss), loss_after = loss_after_step(steps, task, data, train)
    return logs, loss, loss_after


def _train(steps, task, data):
    optimizer, variables = steps.model.optimizer, steps.variables[task]
    with tf.GradientTape() as tape:
        loss, count, y_pred = steps.forward(task, data)
        total = steps.total_loss(task, loss)
        scaled = optimizer.scale_loss(total)
    gradients = tape.gradient(scaled, [v.value for v in variables])
    optimizer.apply_gradients(zip(gradients, variables))
    return steps.record(task, data, loss, count, total, y_pred), loss
