import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.callbacks import GradientCosines
from keras_mtl.selection import TaskSampler
from keras_mtl.training import gramian
from tests import utils

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = {t: RNG.normal(size=(24, 1)).astype("float32") for t in ("seg", "depth")}

each_mode = pytest.mark.parametrize("mode", utils.MODES)


def make_model(weighting="equal", **kwargs):
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    h = layers.Dense(6, activation="tanh")(x)
    h = layers.Dropout(0.3)(layers.BatchNormalization()(h))
    outputs = {t: layers.Dense(1)(layers.Dropout(0.1)(h)) for t in Y}
    model = keras_mtl.MultiTaskModel(x, outputs)
    model.compile(
        "adam",
        dict.fromkeys(Y, "mse"),
        metrics=dict.fromkeys(Y, "mae"),
        weighting=weighting,
        **(kwargs or utils.EAGER),
    )
    return model


@pytest.mark.quick_on_torch
@pytest.mark.diagonal
@each_mode
@pytest.mark.parametrize("kind", ["parameters", "features"])
def test_gramians_of_each_epoch(mode, kind):
    model = make_model(**utils.MODES[mode])
    recorded = GradientCosines((X[:16], {t: Y[t][:16] for t in Y}), kind)
    expected = []
    other = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: expected.append(
            model.gramian(X[:16], {t: Y[t][:16] for t in Y}, gradients=kind)
        )
    )
    model.fit(X, Y, epochs=3, callbacks=[recorded, other], verbose=0)
    assert recorded.tasks == ["seg", "depth"]
    assert recorded.epoch == [0, 1, 2]
    assert recorded.gramians.shape == recorded.cosines.shape == (3, 2, 2)
    atol = 1e-5 * np.max(expected)
    np.testing.assert_allclose(recorded.gramians, expected, 1e-4, atol)
    assert np.abs(np.diff(recorded.gramians, axis=0)).max() > 1e-3
    np.testing.assert_allclose(
        recorded.cosines, gramian.cosines(recorded.gramians)
    )


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@each_mode
@pytest.mark.parametrize("weighting", ["dwa", "nash_mtl"])
def test_training_is_the_same(mode, weighting):
    weights, logs = [], []
    for callbacks in [[], [GradientCosines((X, Y))]]:
        model = make_model(weighting, **utils.MODES[mode])
        history = model.fit(X, Y, epochs=3, callbacks=callbacks, verbose=0)
        weights.append(utils.arrays(model.variables))
        logs.append(history.history)
    for plain, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, watched)
    assert logs[0] == logs[1]


@pytest.mark.quick_on_torch
def test_every_second_epoch_and_another_fit():
    model = make_model()
    recorded = GradientCosines((X, Y), every=2)
    model.fit(X, Y, epochs=5, callbacks=[recorded], verbose=0)
    assert recorded.epoch == [1, 3] and len(recorded.gramians) == 2
    model.fit(
        *(X, Y),
        initial_epoch=5,
        epochs=8,
        callbacks=[recorded],
        verbose=0,
    )
    assert recorded.epoch == [5, 7] and len(recorded.cosines) == 2


def test_batch_with_weights_and_missing_labels():
    y = {**Y, "depth": np.full_like(Y["depth"], np.nan)}
    weights = {t: np.ones(24) for t in Y}
    recorded = GradientCosines((X, y, weights))
    make_model().fit(X, Y, callbacks=[recorded], verbose=0)
    np.testing.assert_allclose(
        recorded.cosines[0], [[1.0, np.nan], [np.nan, np.nan]]
    )


@pytest.mark.quick_on_torch
def test_with_a_task_sampler():
    model = make_model()
    recorded = GradientCosines((X, Y))
    sampler = TaskSampler(
        {task: (X, Y[task]) for task in Y}, batch_size=8, steps_per_epoch=4
    )
    model.fit(sampler, epochs=2, callbacks=[recorded], verbose=0)
    assert recorded.epoch == [0, 1]
    assert np.isfinite(recorded.cosines).all()


def test_before_training():
    recorded = GradientCosines((X, Y))
    assert recorded.tasks == recorded.epoch == []
    assert recorded.cosines.shape == (0, 0, 0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": X}, "`data` to be a batch.*Received: .*ndarray"),
        ({"data": (X,)}, "Received: .*tuple.* of length 1"),
        ({"data": None}, "Received: .*NoneType"),
        ({"data": (X, Y), "every": 0}, "positive integer.*every=0"),
        ({"data": (X, Y), "every": 0.5}, "positive integer.*every=0.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientCosines(**arguments)


def test_bad_arguments_when_training_begins():
    for arguments, message in [
        ({"gradients": "all"}, "Received: gradients='all'"),
        ({"shared": ["none"]}, "`shared` names a layer"),
    ]:
        recorded = GradientCosines((X, Y), **arguments)
        with pytest.raises(ValueError, match=message):
            make_model().fit(X, Y, callbacks=[recorded], verbose=0)


def test_plain_model():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="of a `MultiTaskModel`. Received"):
        model.fit(X, Y["seg"], callbacks=[GradientCosines((X, Y))], verbose=0)
