"""`compile` and `fit` with `weighting`: what changes and what is kept."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import weightings
from tests import utils

RNG = np.random.default_rng(9)
SAMPLES, FEATURES, BATCH = 20, 3, 8
X = RNG.normal(size=(SAMPLES, FEATURES)).astype("float32")
Y = {
    "a": RNG.normal(size=(SAMPLES, 1)).astype("float32"),
    "b": RNG.normal(size=(SAMPLES, 2)).astype("float32"),
}


def make_model():
    keras.utils.set_random_seed(4)
    x = keras.Input((FEATURES,))
    h = layers.Dense(5, activation="tanh")(x)
    outputs = {"b": layers.Dense(2)(h), "a": layers.Dense(1)(h)}
    return keras_mtl.MultiTaskModel(x, outputs)


def compiled(weighting="equal", model=None, **kwargs):
    model = make_model() if model is None else model
    options = {"optimizer": "adam", "loss": {"b": "mse", "a": "mae"}}
    options |= {**utils.EAGER, **kwargs}
    model.compile(weighting=weighting, **options)
    return model


def fit(model, **kwargs):
    options = {"batch_size": BATCH, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(X, Y, **options).history


def values(variables):
    return [np.array(v) for v in variables]


def assert_equal(arrays, others):
    assert len(arrays) == len(others)
    for array, other in zip(arrays, others):
        np.testing.assert_array_equal(array, other)


def test_history():
    model = compiled(
        utils.FixedLossWeights([0.5, 3.0]), loss_weights={"a": 2.0, "b": 1.0}
    )
    history = fit(model, epochs=2, validation_data=(X, Y))
    losses = ["loss", "b_loss", "a_loss"]
    assert set(history) == {
        *losses,
        *(f"val_{name}" for name in losses),
        "weight/a",
        "weight/b",
        "task_variance",
    }
    assert model.tasks == ["b", "a"]
    np.testing.assert_allclose(history["weight/b"], [0.5, 0.5])
    np.testing.assert_allclose(history["weight/a"], [3.0, 3.0])
    total = np.add(history["val_b_loss"], 2 * np.array(history["val_a_loss"]))
    np.testing.assert_allclose(history["val_loss"], total, 1e-5)


@pytest.mark.parametrize("weighting", ["loss", "gradient"])
def test_the_first_step_has_the_loss_of_plain_keras(weighting):
    fixed = {
        "loss": utils.FixedLossWeights([0.5, 3.0]),
        "gradient": utils.FixedWeights([0.5, 3.0]),
    }[weighting]
    factors = {"a": 2.0, "b": 1.0}
    model = compiled(fixed, loss_weights=factors)
    logs = model.test_on_batch(X, Y, return_dict=True)
    trained = model.train_on_batch(X, Y, return_dict=True)
    for key, value in logs.items():
        np.testing.assert_allclose(trained[key], value, 1e-6)
    total = logs["b_loss"] + 2 * logs["a_loss"]
    np.testing.assert_allclose(trained["loss"], total, 1e-6)


def test_loss_balancing_weighs_the_gradients():
    weights = {"b": 0.5, "a": 3.0}
    model = compiled(
        utils.FixedLossWeights([*weights.values()]),
        optimizer=keras.optimizers.SGD(1.0),
        loss_weights={"a": 2.0, "b": 1.0},
    )
    losses = {
        "a": keras.losses.MeanAbsoluteError(),
        "b": keras.losses.MeanSquaredError(),
    }
    rows = utils.task_gradients(model, X, Y, losses)
    before = utils.arrays(model.trainable_variables)
    model.train_on_batch(X, Y)
    for i, v in enumerate(model.trainable_variables):
        parts = [
            weights[t] * (2.0 if t == "a" else 1.0) * rows[t][i]
            for t in "ab"
            if rows[t][i] is not None
        ]
        np.testing.assert_allclose(
            before[i] - np.array(v), sum(parts), 1e-4, 1e-6
        )


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("old", ["equal", "igb_v1", "nash_mtl"])
@pytest.mark.parametrize("new", ["uncertainty", ["igb_v1", "nash_mtl"]])
def test_fit_replaces_the_weighting_and_keeps_the_optimizer(old, new):
    model = compiled(old)
    inference = len(make_model().variables)
    fit(model)
    optimizer = model.optimizer
    state = values(optimizer.variables)
    parameters = values(model.trainable_variables)
    assert int(state[0]) == 3
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.extend([values(optimizer.variables)])
            seen.extend([values(model.trainable_variables)])

    fit(model, weighting=new, callbacks=[Look()])
    assert_equal(seen[0], state)
    assert_equal(seen[1], parameters)
    assert int(optimizer.iterations) == 6
    new = weightings.get(new)
    new.build((2,))
    assert type(model.weighting) is type(new)
    assert len(model.variables) == inference + len(new.variables)
    ids = {id(v) for v in model.non_trainable_variables}
    assert ids == {id(v) for v in model.weighting.variables}


@pytest.mark.quick_on_torch
def test_fit_without_a_weighting_goes_on_with_the_last_one():
    model, other = compiled("equal"), compiled("igb_v1")
    fit(model, weighting="igb_v1", epochs=2)
    weighting = model.weighting
    second = fit(model, epochs=2)
    assert model.weighting is weighting
    assert int(weighting.epochs) == 4
    whole = fit(other, epochs=4)
    for key, losses in second.items():
        np.testing.assert_allclose(losses, whole[key][2:], 1e-5)


@pytest.mark.quick_on_torch
def test_a_weighting_that_is_given_again_goes_on():
    igb = weightings.IGBv1()
    model = compiled(igb)
    fit(model, epochs=2)
    fit(model, weighting=igb)
    assert int(igb.epochs) == 3
    assert len(model.non_trainable_variables) == len(igb.variables)
    fit(model, weighting="igb_v1")
    assert int(model.weighting.epochs) == 1


@pytest.mark.quick_on_torch
def test_compile_again():
    model = compiled("nash_mtl", metrics={"a": ["mae"]})
    fit(model)
    compiled("equal", model, loss={"a": "mse", "b": "mse"}, metrics=None)
    history = fit(model)
    assert model.tasks == ["a", "b"]
    assert set(history) == {
        "loss",
        *(f"{t}_loss" for t in "ab"),
        *(f"weight/{t}" for t in "ab"),
        "task_variance",
    }
    assert len(model.non_trainable_variables) == 1


def test_a_model_is_used_before_it_is_compiled():
    model = make_model()
    assert model.weighting is None and model.metrics == []
    assert set(model.predict(X, verbose=0)) == {"a", "b"}
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        fit(model)


class Epochs(weightings.Weighting):
    """Counts steps and epochs; its weight is the number of epochs begun."""

    needs_epochs = True

    def build_state(self, num_tasks):
        self.begun = self.add_state(dtype="int32", name="begun")
        self.ended = self.add_state(dtype="int32", name="ended")
        self.steps = self.add_state(dtype="int32", name="steps")

    def on_epoch_begin(self):
        self.begun.assign(self.begun + 1)

    def on_epoch_end(self):
        self.ended.assign(self.ended + 1)

    def compute_weights(self, losses):
        self.steps.assign(self.steps + 1)
        return ops.ones_like(losses) * ops.cast(self.begun, "float32")


def counts(weighting):
    parts = (weighting.begun, weighting.ended, weighting.steps)
    return [int(v) for v in parts]


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("mode", utils.MODES)
def test_a_weighting_is_told_of_epochs(mode):
    model = compiled(Epochs(), **utils.MODES[mode])
    history = fit(model, epochs=2, validation_data=(X, Y))
    assert counts(model.weighting) == [2, 2, 6]
    np.testing.assert_allclose(history["weight/a"], [1.0, 2.0])
    model.evaluate(X, Y, verbose=0)
    assert counts(model.weighting) == [2, 2, 6]


def test_a_callback_list_is_used_again():
    model = compiled(Epochs())
    callbacks = keras.callbacks.CallbackList(
        [], add_history=True, model=model, epochs=1
    )
    fit(model, callbacks=callbacks)
    fit(model, callbacks=callbacks)
    fit(model, callbacks=keras.callbacks.LambdaCallback())
    assert counts(model.weighting) == [3, 3, 9]


OPTIONS = {"eager": utils.EAGER}
if utils.BACKEND != "torch":
    OPTIONS["compiled"] = utils.COMPILED
    OPTIONS["steps"] = {**utils.COMPILED, "steps_per_execution": 2}


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("weighting", ["igb_v1", ["igb_v1", "sum"]], ids=str)
def test_igb_takes_the_second_epochs_mean_losses_as_base(options, weighting):
    """The first two epochs train Σ log L, as `scale_invariant` does."""
    record = []

    class Losses(weightings.Weighting):
        def compute_weights(self, losses):
            record.append(losses)
            return 1 / losses

    reference = compiled(Losses())
    fit(reference, epochs=2)
    second = [ops.convert_to_numpy(losses) for losses in record[3:]]
    model = compiled(weighting, **options)
    fit(model, epochs=2)
    igb = model.weighting
    igb = igb.weightings[0] if isinstance(weighting, list) else igb
    base = np.array(igb.loss_sum) / np.array(igb.loss_count)
    np.testing.assert_allclose(base, np.mean(second, axis=0), 1e-4)
    np.testing.assert_array_equal(igb.loss_count, [3, 3])
    before = values([igb.loss_sum, igb.loss_count])
    history = fit(model)
    assert_equal(values([igb.loss_sum, igb.loss_count]), before)
    assert int(igb.epochs) == 3
    assert history["weight/a"][0] > 0


def test_igb_with_an_epoch_that_was_interrupted():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    model = compiled("igb_v1")
    fit(model)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[Interrupt()])
    assert int(model.weighting.epochs) == 1
    fit(model)
    np.testing.assert_array_equal(model.weighting.loss_count, [3, 3])
    assert int(model.weighting.epochs) == 2


@pytest.mark.parametrize(
    "weighting",
    [["igb_v1", "nash_mtl"], *utils.further_cases("igb_v1")],
)
def test_steps_are_not_traced_again(weighting):
    traces = []

    class Counting(keras.losses.Loss):
        def call(self, y_true, y_pred):
            traces.append(1)
            return ops.mean((y_true - y_pred) ** 2, axis=-1)

    if utils.BACKEND == "torch":
        pytest.skip("Keras does not trace on torch")
    loss = {"a": Counting(), "b": "mse"}
    model = compiled(weighting, loss=loss, **utils.COMPILED)
    fit(model, batch_size=10)
    after_first = len(traces)
    assert after_first > 0
    fit(model, batch_size=10, epochs=3)
    assert len(traces) == after_first


@pytest.mark.skipif(utils.BACKEND == "torch", reason="Keras does not trace")
def test_missing_labels_trace_a_step_only_once_more():
    traces = []

    def counted(y_true, y_pred):
        traces.append(1)
        return ops.mean((y_true - y_pred) ** 2, axis=-1)

    loss = {"a": counted, "b": "mse"}
    model = compiled("equal", loss=loss, **utils.COMPILED)
    some = {**Y, "a": np.where(Y["a"] > 0, Y["a"], np.nan)}
    first = model.train_on_batch(X, Y, return_dict=True)
    second = model.train_on_batch(X, some, return_dict=True)
    after = len(traces)
    assert np.isfinite([first["a_loss"], second["a_loss"]]).all()
    for y in (Y, some, Y):
        model.train_on_batch(X, y)
    assert len(traces) == after


@pytest.mark.diagonal
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["igb_v1", "uncertainty", "nash_mtl"])
def test_a_loss_that_is_not_finite(name, bad):
    """The weighting's state stays as it was."""
    model = compiled(name)
    fit(model)
    before = values(model.weighting.variables)
    x, a = X.copy(), Y["a"].copy()
    (x if np.isnan(bad) else a)[0, 0] = bad
    model.train_on_batch(x, {**Y, "a": a})
    state = values(model.weighting.variables)
    names = [v.name for v in model.weighting.variables]
    for variable, array, other in zip(names, state, before):
        if "learning_rate" not in variable:
            np.testing.assert_array_equal(array, other, variable)


def test_a_warning_names_the_tasks_whose_loss_is_not_finite():
    model = compiled("igb_v1")
    y = {"a": Y["a"] * np.float32(np.inf), "b": Y["b"]}
    message = (
        r"mean loss of the epoch was not finite, for the tasks: \{'a': inf"
    )
    with pytest.warns(UserWarning, match=message):
        model.fit(X, y, batch_size=SAMPLES, verbose=0)


def test_a_warning_names_the_tasks_whose_loss_is_negative():
    model = compiled("scale_invariant", loss={"b": "mse", "a": negative})
    message = "was negative, which the weighting ScaleInvariant gives no weight"
    with pytest.warns(UserWarning, match=message + ".*'a': -1"):
        fit(model)


def negative(y_true, y_pred):
    return ops.mean(y_true - y_pred, axis=-1) * 0.0 - 1.0


def test_training_that_goes_well_warns_of_nothing():
    model = compiled(["igb_v1", "nash_mtl"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, epochs=2)


def test_the_learning_rate_reaches_the_weighting():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [2], [0.5, 0.1]
    )
    models_rate = keras_mtl.weightings.Uncertainty(learning_rate=None)
    for weighting in (models_rate, [models_rate, "sum"]):
        model = compiled(weighting, optimizer=keras.optimizers.SGD(schedule))
        fit(model, batch_size=4, epochs=1)
        (rate,) = model.weighting.learning_rate_variables
        np.testing.assert_allclose(rate, 0.1)


def test_two_models_do_not_share_a_weighting_by_name():
    one, two = compiled("igb_v1"), compiled("igb_v1")
    fit(one, epochs=2)
    assert int(two.weighting.epochs) == 0


def test_the_model_goes_on_where_keras_callbacks_restore_it():
    model = compiled("igb_v1", metrics={"a": ["mae"]})
    stop = keras.callbacks.EarlyStopping(
        "loss", patience=0, mode="max", restore_best_weights=True
    )
    fit(model, epochs=4, callbacks=[stop])
    assert np.isfinite(fit(model)["loss"]).all()


def test_clones_and_submodels():
    model = compiled("nash_mtl")
    clone = keras.models.clone_model(model)
    assert isinstance(clone, keras_mtl.MultiTaskModel)
    compiled("nash_mtl", clone)
    fit(clone)
    features = keras.Model(model.input, model.layers[1].output)
    assert features.predict(X, verbose=0).shape == (SAMPLES, 5)
    nested = model(keras.Input((FEATURES,)))
    assert set(nested) == {"a", "b"}
