"""Tiny models and data, and gradients computed without keras_mtl."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl

BACKEND = keras.backend.backend()

# Steps that are not traced or compiled, which for a few steps is quickest.
EAGER = {"run_eagerly": True}
# Compiled as Keras does by default on a CPU.
COMPILED = {"run_eagerly": False, "jit_compile": BACKEND == "jax"}
# On JAX, single operations take longer to compile than a step.
QUICKEST = COMPILED if BACKEND == "jax" else EAGER


def further_cases(*values):
    """Returns parameters of a test that `make test` leaves out."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


MODES = {"eager": EAGER, "compiled": COMPILED}
if BACKEND == "torch":
    MODES.pop("compiled")


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class FixedWeights(keras_mtl.weightings.GradientWeighting):
    """Gradient balancing with given weights; keeps the Gramian it saw."""

    def __init__(self, weights, **kwargs):
        super().__init__(**kwargs)
        self.fixed_weights = weights

    def build_state(self, num_tasks):
        self.gramian = self.add_state((num_tasks, num_tasks), name="gramian")

    def compute_weights(self, losses, gramian):
        self.gramian.assign(gramian)
        return ops.convert_to_tensor(self.fixed_weights, "float32")

    def get_config(self):
        return {**super().get_config(), "weights": self.fixed_weights}


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class FixedLossWeights(keras_mtl.weightings.Weighting):
    """Loss balancing with given weights."""

    def __init__(self, fixed_weights, **kwargs):
        super().__init__(**kwargs)
        self.fixed_weights = fixed_weights

    def compute_weights(self, losses):
        return ops.convert_to_tensor(self.fixed_weights, "float32")


def quick_igb_v2(**kwargs):
    """IGBv2 whose small agent learns in epoch 2 and weights from epoch 3."""
    options = dict(
        agent="keras",
        base_epoch=1,
        update_epoch=2,
        use_epoch=3,
        update_every=2,
        updates=2,
        batch_size=4,
        buffer_size=6,
        hidden_units=(4,),
    )
    return keras_mtl.weightings.IGBv2(**{**options, **kwargs})


def arrays(variables):
    return [ops.convert_to_numpy(v.value) for v in variables]


def task_gradients(model, x, y, losses):
    """The gradient of each task's loss, by the backend's own differentiation.

    Args:
        model: Functional model with dict outputs; it is called as a whole.
        x: Inputs.
        y: Dict of task to labels.
        losses: Dict of task to a function `(y_true, y_pred) -> scalar`.

    Returns:
        Dict of task to a list with one array for each of the model's trainable
        variables, `None` if the loss does not depend on it.
    """
    variables = model.trainable_variables
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            y_pred = model(x, training=True)
            values = {t: losses[t](y[t], y_pred[t]) for t in losses}
        rows = {
            t: tape.gradient(values[t], [v.value for v in variables])
            for t in losses
        }
        rows = {
            t: [g if g is None else tf.convert_to_tensor(g) for g in row]
            for t, row in rows.items()
        }
    elif BACKEND == "jax":
        import jax

        others = [v.value for v in model.non_trainable_variables]

        def value(trainable, task):
            y_pred, _ = model.stateless_call(
                trainable, others, x, training=True
            )
            return losses[task](y[task], y_pred[task])

        trainable = [v.value for v in variables]
        rows = {t: jax.grad(value)(trainable, t) for t in losses}
    else:
        import torch

        y_pred = model(x, training=True)
        rows = {
            t: torch.autograd.grad(
                losses[t](y[t], y_pred[t]),
                [v.value for v in variables],
                retain_graph=True,
                allow_unused=True,
            )
            for t in losses
        }
    as_array = keras.tree.map_structure
    return {
        t: as_array(
            lambda g: None if g is None else ops.convert_to_numpy(g), list(row)
        )
        for t, row in rows.items()
    }


def stacked(row, variables):
    """One flat float64 array of the gradients of `variables`."""
    return np.concatenate(
        [
            np.zeros(v.shape).ravel() if g is None else np.float64(g).ravel()
            for g, v in zip(row, variables)
        ]
    )
