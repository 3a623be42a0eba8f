"""A subclass's `call` around the graph, where trunk and heads run apart."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from tests import utils

RNG = np.random.default_rng(3)
X = 255 * RNG.uniform(size=(12, 5)).astype("float32")
Y = {t: RNG.normal(size=(12, 1)).astype("float32") for t in "ab"}


class Scaled(keras_mtl.MultiTaskModel):
    """Scales the inputs and, one by one, the outputs."""

    def call(self, inputs, training=None, mask=None):
        outputs = super().call(inputs / 255.0, training=training, mask=mask)
        return {task: 2.0 * output for task, output in outputs.items()}


class Noisy(keras_mtl.MultiTaskModel):
    """Draws noise for the inputs from a seed of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.noise = layers.GaussianNoise(1.0, seed=4)

    def call(self, inputs, training=None, mask=None):
        noisy = self.noise(inputs / 255.0, training=training)
        return super().call(noisy, training=training, mask=mask)


class Aloof(keras_mtl.MultiTaskModel):
    def call(self, inputs, training=None, mask=None):
        return {task: inputs[:, :1] for task in "ab"}


def build(cls, weighting):
    keras.utils.set_random_seed(1)
    x = keras.Input((5,))
    h = layers.Dense(6, activation="tanh")(x)
    h = layers.Dropout(0.2, seed=8)(layers.BatchNormalization()(h))
    model = cls(x, {task: layers.Dense(1)(h) for task in "ab"})
    model.compile(
        keras.optimizers.SGD(0.05),
        loss="mse",
        weighting=weighting,
        **utils.EAGER,
    )
    return model


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("cls", [Scaled, Noisy])
@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_gradients_are_those_of_the_whole_call(cls, gradients):
    if (cls, keras.backend.backend()) == (Noisy, "torch"):
        pytest.skip("noise draws from PyTorch's own generator")
    plain = build(cls, "equal")
    balanced = build(cls, keras_mtl.weightings.Sum(gradients=gradients))
    histories = []
    for model in (plain, balanced):
        run = model.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
        histories.append(run.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
    own = {id(v) for m in (plain, balanced) for v in m.weighting.variables}
    for old, new in zip(plain.variables, balanced.variables):
        if id(old) not in own and id(new) not in own:
            np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-6)


def test_gramian_is_that_of_the_whole_call():
    scaled, plain = (
        build(Scaled, "equal"),
        build(keras_mtl.MultiTaskModel, "equal"),
    )
    halved = {task: y / 2 for task, y in Y.items()}
    np.testing.assert_allclose(
        # (2 f - y)² is 4 (f - y / 2)², and the Gramian has two such factors.
        scaled.gramian(X, Y),
        16 * plain.gramian(X / 255, halved),
        rtol=1e-4,
    )


def test_a_call_without_the_graph_is_refused():
    model = build(Aloof, "sum")
    with pytest.raises(ValueError, match="calls `super\\(\\).call.*Aloof"):
        model.fit(X, Y, verbose=0)
