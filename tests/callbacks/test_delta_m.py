"""Δm on the validation data, after each epoch."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.callbacks import DeltaM

X = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
Y = {"a": X[:, :1], "b": (X[:, 1:] > 0).astype("float32")}
BASELINE = {"a_loss": 0.5, "b_accuracy": 0.8}


def compiled(metrics="accuracy"):
    inputs = keras.Input((2,))
    features = keras.layers.Dense(2)(inputs)
    outputs = {
        "a": keras.layers.Dense(1)(features),
        "b": keras.layers.Dense(1, "sigmoid")(features),
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        "sgd",
        {"a": "mse", "b": "binary_crossentropy"},
        metrics={"b": metrics},
        run_eagerly=True,
    )
    return model


def fit(model, *callbacks, **kwargs):
    kwargs = {"validation_data": (X, Y), "epochs": 3, **kwargs}
    return model.fit(X, Y, verbose=0, callbacks=list(callbacks), **kwargs)


@pytest.mark.once
def test_is_the_mean_relative_change():
    history = fit(compiled(), DeltaM(BASELINE)).history
    losses = np.array(history["val_a_loss"])
    accuracies = np.array(history["val_b_accuracy"])
    expected = 50 * ((losses - 0.5) / 0.5 - (accuracies - 0.8) / 0.8)
    np.testing.assert_allclose(history["val_delta_m"], expected, rtol=1e-6)


def test_others_monitor_it(tmp_path):
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "{val_delta_m:.1f}.keras",
        "val_delta_m",
        mode="min",
        save_best_only=True,
    )
    history = fit(compiled(), DeltaM(BASELINE), best)
    assert best.best == min(history.history["val_delta_m"])
    assert list(tmp_path.iterdir())


def test_epochs_without_validation():
    history = fit(compiled(), DeltaM(BASELINE), validation_freq=3).history
    assert len(history["val_delta_m"]) == 1
    with pytest.warns(UserWarning, match="no validation results. Type `fit"):
        fit(compiled(), DeltaM(BASELINE), validation_data=None, epochs=1)


def test_a_result_that_is_not_finite():
    labels = {"a": np.inf * Y["a"], "b": Y["b"]}
    data = X, labels
    history = fit(compiled(), DeltaM(BASELINE), validation_data=data, epochs=1)
    assert np.isnan(history.history["val_delta_m"]).all()


@pytest.mark.any_backend
def test_bad_arguments():
    for wrong in ({}, [0.5], None):
        with pytest.raises(ValueError, match="Expected `baseline` to be a"):
            DeltaM(wrong)
    with pytest.raises(ValueError, match="zero|0"):
        DeltaM({"a_loss": 0.0})
    with pytest.raises(ValueError, match="Did you mean 'a_loss'"):
        fit(compiled(), DeltaM({"a_los": 0.5}))

    def share(y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)

    model = compiled([share])
    with pytest.raises(ValueError, match=r"higher_is_better={'b_share': True}"):
        fit(model, DeltaM({"b_share": 0.5}))
    fit(model, DeltaM({"b_share": 0.5}, ["b_share"]), epochs=1)
