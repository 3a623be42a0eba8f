"""Saved on one day and loaded on another, training goes on as it would have."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import weightings
from tests import utils

ROOT = pathlib.Path(__file__).parents[1]
RNG = np.random.default_rng(6)
SAMPLES, FEATURES = 16, 3
X = RNG.normal(size=(SAMPLES, FEATURES)).astype("float32")
Y = {
    "z": RNG.normal(size=(SAMPLES, 1)).astype("float32"),
    "b": RNG.integers(0, 2, SAMPLES),
}

WEIGHTINGS = {
    "igb_v1": "igb_v1",
    "uncertainty": "uncertainty",
    "random": weightings.Random(seed=3),
    "chain": ["igb_v1", "nash_mtl"],
    "nash_mtl": weightings.NashMTL(update_every=3, shared=["trunk"]),
}


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class ScaledError(keras.losses.Loss):
    def __init__(self, scale=1.0, name="scaled_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        return self.scale * ops.mean(ops.abs(y_true - y_pred), axis=-1)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
def bias(y_true, y_pred):
    return ops.mean(y_pred - y_true, axis=-1)


def make_model():
    keras.utils.set_random_seed(8)
    x = keras.Input((FEATURES,))
    h = layers.Dense(5, activation="tanh", name="trunk")(x)
    h = layers.BatchNormalization(name="norm")(h)
    outputs = {
        "z": layers.Dense(1, name="z")(h),
        "b": layers.Dense(2, activation="softmax", name="b")(h),
    }
    return keras_mtl.MultiTaskModel(x, outputs)


def compiled(weighting, **kwargs):
    model = make_model()
    model.compile(
        **{
            "optimizer": keras.optimizers.Adam(0.01),
            "loss": {
                "z": ScaledError(2.0),
                "b": "sparse_categorical_crossentropy",
            },
            "loss_weights": {"z": 0.5, "b": 1.0},
            "metrics": {"b": ["accuracy"], "z": [bias]},
            "weighting": weighting,
            "run_eagerly": utils.BACKEND == "tensorflow",
            **kwargs,
        }
    )
    return model


def fit(model, **kwargs):
    options = {"batch_size": 8, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(X, Y, **options).history


def go_on(folder, names):
    """What the other process does: loads models and trains them on."""
    histories = {}
    for name in names:
        model = keras.models.load_model(pathlib.Path(folder) / f"{name}.keras")
        histories[name] = fit(model, epochs=2)
    return histories


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("weighting", ["uncertainty", "imtl_l", "famo"])
def test_loads_without_a_warning(weighting, tmp_path):
    model = compiled(weighting, **utils.EAGER)
    fit(model)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        keras.models.load_model(tmp_path / "model.keras")


def in_a_new_process(code, **env):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A folder with models after two epochs, and their next two epochs."""
    folder = tmp_path_factory.mktemp("saved")
    histories = {}
    for name, weighting in WEIGHTINGS.items():
        model = compiled(weighting)
        fit(model, epochs=2)
        model.save(folder / f"{name}.keras")
        histories[name] = fit(model, epochs=2)
    return folder, histories


GO_ON = """
import json
from tests import test_saving
print(json.dumps(test_saving.go_on({folder!r}, {names!r})))
"""


@pytest.mark.slow
def test_training_goes_on_in_a_new_process(interrupted):
    folder, uninterrupted = interrupted
    code = GO_ON.format(folder=str(folder), names=list(WEIGHTINGS))
    histories = in_a_new_process(code)
    for name, history in uninterrupted.items():
        assert set(history) == set(histories[name])
        for key, losses in history.items():
            np.testing.assert_allclose(
                histories[name][key], losses, 1e-5, 1e-6, err_msg=name + key
            )


OTHERS = [b for b in ("tensorflow", "jax", "torch") if b != utils.BACKEND]


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHERS)
def test_training_goes_on_with_another_backend(interrupted, other):
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    folder, uninterrupted = interrupted
    # The backends draw other numbers for `random`.
    names = ["igb_v1", "chain"]
    code = GO_ON.format(folder=str(folder), names=names)
    histories = in_a_new_process(code, KERAS_BACKEND=other)
    for name in names:
        for key, losses in uninterrupted[name].items():
            np.testing.assert_allclose(
                histories[name][key], losses, 1e-4, 1e-5, err_msg=name + key
            )


@pytest.mark.parametrize("wrapped", [False, True])
def test_optimizers_are_saved_for_every_backend(wrapped):
    optimizer = keras.optimizers.AdamW(0.02)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    config = compiled("igb_v1", optimizer=optimizer).get_compile_config()
    assert "keras.src." not in json.dumps(config)
    loaded = keras.saving.deserialize_keras_object(config["optimizer"])
    assert type(loaded) is type(optimizer)
    loaded = getattr(loaded, "inner_optimizer", loaded)
    assert isinstance(loaded, keras.optimizers.AdamW)
    np.testing.assert_allclose(loaded.learning_rate + 0, 0.02)


def test_a_loaded_model_is_compiled_as_it_was(tmp_path):
    model = compiled(
        weightings.NashMTL(max_norm=2.0, update_every=3, shared=["trunk"]),
        jit_compile="auto",
        run_eagerly=False,
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, keras_mtl.MultiTaskModel)
    assert list(loaded.tasks) == ["z", "b"] == list(loaded.loss)
    assert loaded.loss["z"].scale == 2.0
    assert loaded.weighting.get_config() == model.weighting.get_config()
    config = loaded.get_compile_config()
    # JSON has no tuples.
    assert json.dumps(config) == json.dumps(model.get_compile_config())
    assert config["jit_compile"] == "auto"
    assert config["loss_weights"] == {"z": 0.5, "b": 1.0}
    assert loaded.optimizer.variables
    for v, other in zip(model.variables, loaded.variables):
        assert v.path == other.path
        np.testing.assert_array_equal(v, other)


@pytest.mark.quick_on_torch
def test_files_of_weights(tmp_path):
    file = tmp_path / "model.weights.h5"
    model = compiled(["igb_v1", "nash_mtl"])
    fit(model, epochs=2)
    model.save_weights(file)
    same = compiled(["igb_v1", "nash_mtl"])
    same.optimizer.build(same.trainable_variables)
    same.load_weights(file)
    expected = fit(model)
    for key, losses in fit(same).items():
        np.testing.assert_allclose(losses, expected[key], 1e-5, 1e-6)


@pytest.mark.quick_on_torch
def test_a_file_of_another_weighting_leaves_the_state_as_it_is(tmp_path):
    model, other = compiled("igb_v1"), compiled("nash_mtl")
    fit(model)
    fit(other)
    before = [np.array(v) for v in other.weighting.variables]
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.warns(UserWarning, match="Expected the state of NashMTL"):
        other.load_weights(tmp_path / "model.weights.h5")
    for v, value in zip(other.weighting.variables, before):
        np.testing.assert_array_equal(v, value)


def network(model):
    return keras.Model(model.input, model.output)


@pytest.mark.quick_on_torch
def test_files_of_weights_of_other_models(tmp_path):
    """The network's weights are loaded, whatever the weighting is."""
    model = compiled("igb_v1")
    fit(model)
    model.save_weights(tmp_path / "igb.weights.h5")
    network(model).save_weights(tmp_path / "plain.weights.h5")
    for file in ("igb", "plain"):
        for other in (
            compiled("nash_mtl"),
            make_model(),
            network(make_model()),
        ):
            other.load_weights(tmp_path / f"{file}.weights.h5")
            for v, value in zip(other.weights, model.weights):
                np.testing.assert_array_equal(v, value)


def test_weights_are_those_of_the_network():
    model, plain = compiled("igb_v1"), network(make_model())
    assert len(model.weights) == len(plain.weights)
    assert model.count_params() == plain.count_params()
    plain.set_weights([w + 1 for w in plain.get_weights()])
    model.set_weights(plain.get_weights())
    for v, value in zip(model.weights, plain.weights):
        np.testing.assert_array_equal(v, value)


def test_not_compiled(tmp_path):
    model = compiled("igb_v1")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert not loaded.compiled and loaded.weighting is None
    for v, value in zip(loaded.weights, model.weights):
        np.testing.assert_array_equal(v, value)


@pytest.mark.quick_on_torch
def test_backup_and_restore(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path)

    expected = fit(compiled("igb_v1"), epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit(compiled("igb_v1"), epochs=4, callbacks=[backup(), Stop()])
    again = compiled("igb_v1")
    again.optimizer.build(again.trainable_variables)
    history = fit(again, epochs=4, callbacks=[backup()])
    for key, losses in history.items():
        np.testing.assert_allclose(losses, expected[key][2:], 1e-5, 1e-6)


LOAD_SAVED_MODEL = """
import json, sys
import numpy as np, tensorflow as tf
model = tf.saved_model.load({folder!r})
outputs = model.serve(tf.constant({x!r}, tf.float32))
print(json.dumps({{
    "outputs": {{k: v.numpy().tolist() for k, v in outputs.items()}},
    "variables": len(model.variables),
    "modules": [m for m in sys.modules if m.split(".")[0] == "keras_mtl"],
}}))
"""


@pytest.mark.skipif(
    utils.BACKEND == "torch", reason="Keras does not export a SavedModel there"
)
def test_export(tmp_path):
    pytest.importorskip("tensorflow")
    model = compiled(["igb_v1", "nash_mtl"])
    fit(model)
    model.export(tmp_path / "model", verbose=False)
    expected = model.predict(X, verbose=0)
    folder = str(tmp_path / "model")
    result = in_a_new_process(
        LOAD_SAVED_MODEL.format(folder=folder, x=X.tolist())
    )
    assert result["modules"] == []
    assert result["variables"] == len(network(make_model()).variables)
    for task, values in expected.items():
        np.testing.assert_allclose(result["outputs"][task], values, 1e-5, 1e-6)
    fit(model)
