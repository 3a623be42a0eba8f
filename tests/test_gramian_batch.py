"""The Gramian of a part of the batch, and the update of all of it."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.weightings import Sum
from tests import utils

pytestmark = pytest.mark.quick_on_torch(1)

TASKS = ["a", "b", "c"]
WEIGHTS = [0.5, 2.0, 1.0]


def build(normalize=False):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    x = keras.layers.Dense(6, activation="tanh", name="trunk")(inputs)
    if normalize:
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.Dropout(0.5)(x)
    outputs = {t: keras.layers.Dense(1, name=t)(x) for t in TASKS}
    return keras_mtl.MultiTaskModel(inputs, outputs)


def data(size=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 5)).astype("float32")
    y = {t: rng.normal(size=(size, 1)).astype("float32") for t in TASKS}
    return x, y


def train(x, y, weighting, normalize=False, mode="eager", **kwargs):
    model = build(normalize)
    model.compile(
        keras.optimizers.SGD(0.1),
        loss="mse",
        weighting=weighting,
        **utils.MODES[mode],
    )
    model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0, **kwargs)
    return model


def first(count, x, y):
    return x[:count], {t: values[:count] for t, values in y.items()}


@pytest.mark.diagonal
@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("mode", utils.MODES)
@pytest.mark.parametrize("fraction, count", [(0.5, 4), (0.3, 3), (1e-3, 1)])
def test_is_the_gramian_of_the_first_examples(fraction, count, mode, gradients):
    x, y = data()
    weighting = utils.FixedWeights(WEIGHTS, gradients=gradients)
    train(*first(count, x, y), weighting, mode=mode)
    part = utils.FixedWeights(
        WEIGHTS, gradients=gradients, gramian_batch=fraction
    )
    model = train(x, y, part, mode=mode)
    expected, received = utils.arrays([weighting.gramian, part.gramian])
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-7)

    whole = utils.FixedWeights(WEIGHTS, gradients=gradients)
    expected = utils.arrays(train(x, y, whole, mode=mode).trainable_variables)
    for value, other in zip(utils.arrays(model.trainable_variables), expected):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


def test_statistics_masks_and_metrics_are_those_of_the_batch():
    x, y = data()
    histories, states = [], []
    for fraction in (1.0, 0.5):
        weighting = utils.FixedWeights(WEIGHTS, gramian_batch=fraction)
        model = train(x, y, weighting, normalize=True, epochs=2)
        histories.append(model.history.history)
        own = {id(v) for v in weighting.variables}
        variables = [v for v in model.variables if id(v) not in own]
        states.append(
            [np.float64(keras.ops.convert_to_numpy(v)) for v in variables]
        )
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-5)
    for value, other in zip(*states):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("mode", utils.MODES)
def test_missing_labels_sample_weights_and_steps_between(mode):
    x, y = data(12)
    y["b"][:6] = np.nan
    weighting = keras_mtl.weightings.NashMTL(gramian_batch=0.5, update_every=2)
    sample_weight = {t: np.ones(12, "float32") for t in TASKS}
    model = build()
    model.compile("sgd", loss="mse", weighting=weighting, **utils.MODES[mode])
    history = model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=5,
        epochs=3,
        verbose=0,
        shuffle=False,
    ).history
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(v).all() for v in utils.arrays(model.weights))


def test_in_a_chain_and_saved(tmp_path):
    x, y = data()
    pcgrad = keras_mtl.weightings.PCGrad(gramian_batch=0.25, seed=0)
    model = train(x, y, ["igb_v1", pcgrad])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.weighting.measurement.gramian_batch == 0.25


@pytest.mark.parametrize("fraction", [0, -1, 1.5])
def test_fractions_that_are_none(fraction):
    with pytest.raises(ValueError, match=f"gramian_batch={fraction}"):
        keras_mtl.weightings.MGDA(gramian_batch=fraction)


def test_methods_that_combine_the_rows_themselves():
    with pytest.raises(ValueError, match="gramian_batch=0.5"):
        keras_mtl.weightings.GradDrop(gramian_batch=0.5)


def frozen_above(h):
    return layers.Dense(4, trainable=False, name="frozen")(h)


def spectral(h):
    """Writes to its kernel, its vector and statistics in each pass."""
    h = layers.SpectralNormalization(layers.Dense(4))(h)
    return layers.BatchNormalization()(layers.Dense(4)(h))


def model_with(block, weighting):
    keras.utils.set_random_seed(2)
    x = keras.Input((5,))
    h = block(layers.Dense(4, activation="tanh")(x))
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in "ab"})
    mode = utils.COMPILED if utils.BACKEND == "jax" else utils.EAGER
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, "mse", weighting=weighting, **mode)
    return model


@pytest.mark.parametrize("block", [frozen_above, spectral])
def test_a_pass_of_a_part_overwrites_nothing(block):
    x = np.random.default_rng(1).normal(size=(8, 5)).astype("float32")
    y = {task: x[:, i : i + 1] for i, task in enumerate("ab")}
    trained = []
    for weighting in ("sum", Sum(gramian_batch=0.5)):
        model = model_with(block, weighting)
        for _ in range(2):
            model.train_on_batch(x, y)
        own = {id(v) for v in model.weighting.variables}
        trained.append(
            [np.array(v) for v in model.variables if id(v) not in own]
        )
    for whole, part in zip(*trained):
        np.testing.assert_allclose(whole, part, 1e-5, 1e-6)


@pytest.mark.skipif(utils.BACKEND != "torch", reason="counts PyTorch's writes")
@pytest.mark.parametrize("weighting", ["famo", Sum(gramian_batch=0.5)])
def test_frozen_weights_are_not_written_to(weighting):
    model = model_with(frozen_above, weighting)
    values = [v.value for v in model.get_layer("frozen").variables]
    writes = [value._version for value in values]
    x = np.ones((8, 5), "float32")
    model.train_on_batch(x, {task: x[:, :1] for task in "ab"})
    model.gramian(x, {task: x[:, :1] for task in "ab"})
    assert [value._version for value in values] == writes
