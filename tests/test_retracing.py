"""A training step is traced in the first epoch, and never again.

The epoch hooks of the weightings, learning rates that change and another `fit`
change values, not the types and shapes of which the step was compiled.
"""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import weightings
from tests import utils

pytestmark = pytest.mark.skipif(
    utils.BACKEND == "torch", reason="steps are not traced on PyTorch"
)

BATCH = 4
X = np.random.default_rng(0).normal(size=(4 * BATCH, 2)).astype("float32")
Y = {task: X[:, :1] * (i + 1) for i, task in enumerate("ab")}

METHODS = {name: name for name in weightings.names()}
METHODS["chain"] = ["igb_v1", "nash_mtl"]
METHODS["features"] = weightings.MGDA(gradients="features")
METHODS["every second step"] = weightings.NashMTL(update_every=2)


# All that it does happens within four epochs: its tests are below.
METHODS.pop("igb_v2")
# One of each kind of state, and what a step does beside the weights.
FEW = {
    *("uncertainty", "dwa", "famo", "gradnorm"),
    *("pcgrad", "chain", "features", "every second step"),
}


@contextlib.contextmanager
def quick_compilation():
    """What XLA optimizes does not change what is traced."""
    if utils.BACKEND != "jax":
        yield
        return
    import jax

    name = "jax_disable_most_optimizations"
    jax.config.update(name, True)
    try:
        yield
    finally:
        jax.config.update(name, False)


class Traces(keras.callbacks.Callback):
    """Counts, epoch by epoch, how often the step's Python code has run.

    It runs when the step is traced, and with it the functions inside.
    """

    def __init__(self, model):
        super().__init__()
        self.count = 0
        self.of_epochs = []
        train_step = model.train_step

        def counted(*args):
            self.count += 1
            return train_step(*args)

        model.train_step = counted

    def on_epoch_end(self, epoch, logs=None):
        self.of_epochs.append(self.count)


def compiled(weighting, optimizer="sgd", **kwargs):
    x = keras.Input((2,))
    h = layers.Dense(2, activation="tanh")(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in Y})
    model.compile(
        optimizer, "mse", weighting=weighting, **{**utils.COMPILED, **kwargs}
    )
    return model


def traces(model, epochs=4, callbacks=(), fits=1):
    """Returns how often the step had been traced at the ends of epochs."""
    counter = Traces(model)
    with quick_compilation():
        for _ in range(fits):
            model.fit(
                X,
                Y,
                batch_size=BATCH,
                epochs=epochs,
                verbose=0,
                callbacks=[*callbacks, counter],
            )
    return counter.of_epochs


def assert_traced_in_first_epoch(counts):
    assert counts[0] > 0
    assert counts == [counts[0]] * len(counts)


@pytest.mark.parametrize(
    "method", [*sorted(FEW), *utils.further_cases(*sorted({*METHODS} - FEW))]
)
def test_no_method_is_traced_after_the_first_epoch(method):
    weighting = weightings.get(METHODS[method])
    weighting = type(weighting).from_config(weighting.get_config())
    epochs = 4 if weighting.needs_epochs else 2
    assert_traced_in_first_epoch(traces(compiled(weighting), epochs))


class LowerTheRate(keras.callbacks.Callback):
    """Halves the learning rate after each epoch, as on a plateau."""

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        optimizer.learning_rate = rate / 2


def test_learning_rates_that_change():
    model = compiled(utils.quick_igb_v2(), keras.optimizers.Adam(0.01))
    counts = traces(model, 2, callbacks=[LowerTheRate()], fits=2)
    assert_traced_in_first_epoch(counts)
    scale = float(model.weighting.last_scale + 0)
    np.testing.assert_allclose(scale, 2.0**3, rtol=1e-5)


def test_a_weighting_that_was_used_before_is_not_traced_again():
    first, second = weightings.DWA(), weightings.Sum(gradients="features")
    model = compiled(first)
    counter = Traces(model)
    fit = dict(batch_size=BATCH, verbose=0, callbacks=[counter])
    with quick_compilation():
        model.fit(X, Y, **fit)
        model.fit(X, Y, weighting=second, **fit)
        before = np.array(model.layers[1].kernel)
        model.fit(X, Y, weighting=first, **fit)
        model.fit(X, Y, weighting=first, **fit)
        model.fit(X, Y, weighting=second, **fit)
        assert np.abs(np.array(model.layers[1].kernel) - before).max() > 0
        counts = [*counter.of_epochs]
        assert 0 < counts[0] < counts[1] == counts[-1]
        if utils.BACKEND == "jax":
            return  # Keras's optimizer takes no other variables there.
        # What is frozen since was not in what was compiled.
        frozen = model.layers[1]
        frozen.trainable = False
        before = np.array(frozen.kernel)
        model.fit(X, Y, weighting=first, **fit)
        np.testing.assert_array_equal(np.array(frozen.kernel), before)


@pytest.mark.slow
def test_a_schedule_and_several_steps_per_execution():
    rate = keras.optimizers.schedules.CosineDecay(0.01, 20)
    optimizer = keras.optimizers.Adam(rate)
    model = compiled(utils.quick_igb_v2(), optimizer, steps_per_execution=2)
    assert_traced_in_first_epoch(traces(model))
    assert float(model.weighting.last_scale + 0) > 1.5


def test_a_later_trace_would_be_seen():
    model = compiled("equal")
    counter = Traces(model)
    for dtype in ("float32", "int32"):
        y = {task: labels.astype(dtype) for task, labels in Y.items()}
        model.fit(X, y, batch_size=BATCH, verbose=0, callbacks=[counter])
    assert counter.of_epochs[1] > counter.of_epochs[0]
