"""Missing labels: NaN, and weights of zero for integers."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import weightings
from tests import utils

pytestmark = pytest.mark.quick_on_torch(1)

RNG = np.random.default_rng(5)
BATCH, FEATURES = 8, 3
X = RNG.normal(size=(BATCH, FEATURES)).astype("float32")
MISSING = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)


def model_of(**heads):
    """A model with one head for each of the layers, on a shared layer."""
    keras.utils.set_random_seed(2)
    x = keras.Input((FEATURES,))
    h = layers.Dense(6, activation="tanh")(x)
    outputs = {name: head(h) for name, head in heads.items()}
    return keras_mtl.MultiTaskModel(x, outputs)


def image_head(channels=1):
    return keras.Sequential(
        [layers.Dense(12), layers.Reshape((2, 2, 3)), layers.Dense(channels)]
    )


def two_dense_heads():
    return model_of(a=layers.Dense(1), b=layers.Dense(2))


def labels_with_nan():
    a = RNG.normal(size=(BATCH, 1)).astype("float32")
    b = RNG.normal(size=(BATCH, 2)).astype("float32")
    a[MISSING] = np.nan
    b[0, 1] = b[2] = np.nan
    return {"a": a, "b": b}


def compile_sgd(model, loss, weighting="equal", **kwargs):
    options = {"run_eagerly": True, **kwargs}
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, loss=loss, weighting=weighting, **options)


def present_subset(model, y, loss):
    """The loss of the labelled samples alone, in float64."""
    y_pred = model.predict(X, verbose=0)
    values = {}
    for task, labels in y.items():
        there = ~np.isnan(labels).reshape(BATCH, -1).any(axis=1)
        error = np.float64(labels[there]) - y_pred[task][there]
        error = error**2 if loss == "mse" else np.abs(error)
        values[task] = error.mean()
    return values


@pytest.mark.parametrize("weighting", ["equal", "sum"])
def test_losses_and_metrics_are_those_of_the_labelled_samples(weighting):
    model, y = two_dense_heads(), labels_with_nan()
    metrics = {
        "a": ["mae", keras.metrics.RootMeanSquaredError(), mean_error],
        "b": [keras.metrics.R2Score()],
    }
    compile_sgd(
        model,
        {"a": "mse", "b": "mae"},
        weighting,
        metrics=metrics,
        weighted_metrics={"a": ["mse"]},
    )
    squared = present_subset(model, y, "mse")
    absolute = present_subset(model, y, "mae")
    for logs in (
        model.evaluate(X, y, verbose=0, return_dict=True),
        model.train_on_batch(X, y, return_dict=True),
    ):
        expected = {
            "a_loss": squared["a"],
            "b_loss": absolute["b"],
            "loss": squared["a"] + absolute["b"],
            "a_mae": absolute["a"],
            "a_root_mean_squared_error": squared["a"] ** 0.5,
            "a_mean_error": absolute["a"],
            "a_mse": squared["a"],
        }
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key], value, 1e-5, err_msg=key)
        assert np.isfinite(logs["b_r2_score"])


def mean_error(y_true, y_pred):
    return ops.abs(y_true - y_pred)


def test_means_of_an_epoch_count_the_labels_that_are_there():
    model, y = two_dense_heads(), labels_with_nan()
    y["a"][:4] = np.nan
    compile_sgd(model, "mse", metrics={"a": ["mae"]})
    expected = present_subset(model, y, "mse")["a"]
    error = present_subset(model, y, "mae")["a"]
    logs = model.evaluate(X, y, batch_size=2, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["a_mae"], error, 1e-5)
    if utils.BACKEND == "tensorflow":
        # The size of a batch is not known when it is traced: as in plain
        # Keras, its loss counts as that of any other (by its share of labels).
        assert np.isfinite(logs["a_loss"])
    np.testing.assert_allclose(logs["a_loss"], expected, 1e-5)


@pytest.mark.parametrize("weighting", ["equal", "sum"])
def test_gradients_are_those_of_the_labelled_samples(weighting):
    model, y = two_dense_heads(), labels_with_nan()
    compile_sgd(model, "mse", weighting)

    def loss_of(task):
        there = np.flatnonzero(~np.isnan(y[task]).any(axis=1))

        def loss(y_true, y_pred):
            y_true = ops.convert_to_tensor(y_true[there])
            error = ops.take(y_pred, there, axis=0) - y_true
            return ops.mean(error**2)

        return loss

    rows = utils.task_gradients(model, X, y, {t: loss_of(t) for t in y})
    before = utils.arrays(model.trainable_variables)
    model.train_on_batch(X, y)
    after = utils.arrays(model.trainable_variables)
    for i, (start, end) in enumerate(zip(before, after)):
        gradient = sum(r[i] for r in rows.values() if r[i] is not None)
        np.testing.assert_allclose((start - end) / 0.1, gradient, 1e-4, 1e-5)


@pytest.mark.parametrize("name", [*weightings.names(), "chain"])
def test_a_task_without_labels_in_a_batch_contributes_nothing(name):
    model, y = two_dense_heads(), labels_with_nan()
    y["b"][:] = np.nan
    weighting = ["scale_invariant", "nash_mtl"] if name == "chain" else name
    compile_sgd(model, "mse", weighting, metrics={"b": ["mae"]})
    head = model.layers[-1] if model.layers[-1].units == 2 else model.layers[-2]
    before = utils.arrays(head.variables)
    shared = utils.arrays(model.layers[1].variables)
    logs = model.train_on_batch(X, y, return_dict=True)
    model.train_on_batch(X, y)
    assert logs["b_loss"] == 0 and logs["a_loss"] > 0
    for v, value in zip(head.variables, before):
        np.testing.assert_array_equal(v, value)
    for v in model.variables:
        assert np.isfinite(np.array(v)).all(), v.path
    changed = [
        np.abs(a - b).max()
        for a, b in zip(shared, utils.arrays(model.layers[1].variables))
    ]
    assert max(changed) > 0
    model.fit(X, labels_with_nan(), verbose=0)
    for v in model.variables:
        assert np.isfinite(np.array(v)).all(), v.path


@pytest.mark.quick_on_torch
@pytest.mark.diagonal
@pytest.mark.parametrize("shape", [(BATCH, 2, 2, 1), (BATCH, 2, 2)], ids=str)
@pytest.mark.parametrize("weighting", ["equal", "sum"])
def test_missing_pixels(shape, weighting):
    model = model_of(depth=image_head(), a=layers.Dense(1))
    depth = RNG.normal(size=shape).astype("float32")
    depth[RNG.uniform(size=shape) < 0.4] = np.nan
    y = {"depth": depth, "a": np.zeros((BATCH, 1), "float32")}
    weight = {"depth": RNG.uniform(0.5, 2, BATCH), "a": None}
    compile_sgd(model, "mse", weighting, metrics={"depth": ["mse"]})
    error = depth.reshape(BATCH, 2, 2, 1) - model.predict(X, verbose=0)["depth"]
    logs = model.train_on_batch(X, y, return_dict=True)
    expected = np.nanmean(np.float64(error) ** 2)
    np.testing.assert_allclose(logs["depth_loss"], expected, 1e-5)
    np.testing.assert_allclose(logs["depth_mse"], expected, 1e-5)
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    error = depth.reshape(BATCH, 2, 2, 1) - model.predict(X, verbose=0)["depth"]
    if shape == (BATCH, 2, 2):
        # Without the last axis, Keras takes no weights of samples.
        logs = model.test_on_batch(X, y, weight, return_dict=True)
        weighted = np.float64(error) ** 2 * weight["depth"][:, None, None, None]
        expected = np.nansum(weighted) / (~np.isnan(error)).sum()
        np.testing.assert_allclose(logs["depth_loss"], expected, 1e-5)


@pytest.mark.quick_on_torch
def test_integer_labels_with_weights_of_zero():
    model = model_of(a=layers.Dense(1), b=layers.Dense(3, activation="softmax"))
    y = {"a": np.zeros((BATCH, 1)), "b": RNG.integers(0, 3, BATCH)}
    weight = {"a": None, "b": np.float32(~MISSING)}
    loss = {"a": "mse", "b": "sparse_categorical_crossentropy"}
    compile_sgd(model, loss, "sum", weighted_metrics={"b": ["accuracy"]})
    probabilities = np.float64(model.predict(X, verbose=0)["b"])[~MISSING]
    there = y["b"][~MISSING]
    logs = model.train_on_batch(X, y, weight, return_dict=True)
    value = -np.log(probabilities[np.arange(len(there)), there]).sum() / BATCH
    np.testing.assert_allclose(logs["b_loss"], value, 1e-5)
    right = (probabilities.argmax(-1) == there).mean()
    np.testing.assert_allclose(logs["b_accuracy"], right, 1e-6)
    before = utils.arrays(model.trainable_variables)
    model.train_on_batch(X, y, {"a": np.zeros(BATCH), "b": np.zeros(BATCH)})
    for v, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(v, value)


def test_missing_labels_and_sample_weights():
    model, y = two_dense_heads(), labels_with_nan()
    weight = RNG.uniform(0.5, 2.0, BATCH)
    compile_sgd(model, "mse", weighted_metrics={"a": ["mae"]})
    error = y["a"] - model.predict(X, verbose=0)["a"]
    logs = model.test_on_batch(X, y, {"a": weight, "b": None}, return_dict=True)
    there = ~MISSING
    squared = (weight * np.float64(error[:, 0]) ** 2)[there]
    np.testing.assert_allclose(logs["a_loss"], squared.mean(), 1e-5)
    absolute = (weight * np.abs(error[:, 0]))[there].sum()
    np.testing.assert_allclose(
        logs["a_mae"], absolute / weight[there].sum(), 1e-5
    )


def test_one_sample_weight_for_tasks_that_miss_different_labels():
    model, y = two_dense_heads(), labels_with_nan()
    weight = RNG.uniform(0.5, 2.0, BATCH).astype("float32")
    compile_sgd(model, "mse", weighted_metrics=[["mae"], ["mae"]])
    y_pred = model.predict(X, verbose=0)
    logs = model.train_on_batch(X, y, weight, return_dict=True)
    for task in y:
        error = np.float64(y[task] - y_pred[task])
        there = ~np.isnan(error).any(axis=1)
        squared = weight * (error**2).mean(axis=1)
        np.testing.assert_allclose(
            logs[f"{task}_loss"], squared[there].mean(), 1e-5
        )
        mean = np.average(
            np.abs(error[there]).mean(axis=1), weights=weight[there]
        )
        np.testing.assert_allclose(logs[f"{task}_mae"], mean, 1e-5)


def root_of_mean(y_true, y_pred):
    return ops.sqrt(ops.mean((y_true - y_pred) ** 2))


class OwnMetric(keras.metrics.Metric):
    """Works with no weights, as its user's other models give none."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.total = self.add_variable((), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        assert sample_weight is None
        self.total.assign(ops.sum(y_true))

    def result(self):
        return self.total + 0.0


def test_functions_that_return_a_scalar():
    """They train as in plain Keras, and are NaN if a label is missing."""
    model, y = two_dense_heads(), labels_with_nan()
    y["b"] = np.ones((BATCH, 2), "float32")
    metrics = {
        "a": [root_of_mean, OwnMetric(name="own")],
        "b": [root_of_mean, OwnMetric(name="own")],
    }
    compile_sgd(model, {"a": "mse", "b": root_of_mean}, metrics=metrics)
    error = y["b"] - model.predict(X, verbose=0)["b"]
    logs = model.test_on_batch(X, y, return_dict=True)
    expected = np.mean(np.float64(error) ** 2) ** 0.5
    np.testing.assert_allclose(logs["b_loss"], expected, 1e-5)
    np.testing.assert_allclose(logs["b_root_of_mean"], expected, 1e-5)
    np.testing.assert_allclose(logs["b_own"], 2 * BATCH)
    assert np.isnan(logs["a_root_of_mean"])
    assert np.isnan(logs["a_own"])
    y["b"][0, 0] = np.nan
    assert np.isnan(model.test_on_batch(X, y, return_dict=True)["b_loss"])


def test_losses_of_whole_samples():
    """A sample is missing as a whole if the loss has one value for it."""
    model = model_of(mask=image_head(2), a=layers.Dense(1))
    mask = RNG.integers(0, 2, (BATCH, 2, 2, 2)).astype("float32")
    y = {"mask": mask, "a": np.zeros((BATCH, 1), "float32")}
    dice = keras.losses.Dice(axis=(1, 2, 3))
    compile_sgd(model, {"mask": dice, "a": "mse"})
    y_pred = model.predict(X, verbose=0)["mask"]
    value = model.test_on_batch(X, y, return_dict=True)["mask_loss"]
    np.testing.assert_allclose(value, dice(mask, y_pred), 1e-5)
    mask[:3, 0] = np.nan
    value = model.test_on_batch(X, y, return_dict=True)["mask_loss"]
    np.testing.assert_allclose(value, dice(mask[3:], y_pred[3:]), 1e-5)


class LogError(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.abs(ops.log(y_true) - ops.log(ops.abs(y_pred) + 1))


class OwnReduction(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return ops.sum(ops.abs(ops.convert_to_tensor(y_true) - y_pred))


def test_losses_of_the_users_own():
    model, y = two_dense_heads(), labels_with_nan()
    y = {task: np.abs(values) for task, values in y.items()}
    compile_sgd(model, {"a": LogError(), "b": OwnReduction()}, "sum")
    logs = model.test_on_batch(X, y, return_dict=True)
    y_pred = np.float64(model.predict(X, verbose=0)["a"])
    error = np.log(y["a"]) - np.log(np.abs(y_pred) + 1)
    np.testing.assert_allclose(logs["a_loss"], np.nanmean(np.abs(error)), 1e-5)
    assert np.isnan(logs["b_loss"])
    y["b"][:] = 1.0
    logs = model.test_on_batch(X, y, return_dict=True)
    error = 1.0 - model.predict(X, verbose=0)["b"]
    np.testing.assert_allclose(logs["b_loss"], np.abs(error).sum(), 1e-5)
    model.train_on_batch(X, y)
    for v in model.variables:
        assert np.isfinite(np.array(v)).all(), v.path


def test_masks_of_layers_and_missing_labels():
    keras.utils.set_random_seed(0)
    x = keras.Input((3,), dtype="int32")
    h = layers.Embedding(5, 4, mask_zero=True)(x)
    outputs = {t: layers.Dense(1, name=t)(h) for t in "ab"}
    model = keras_mtl.MultiTaskModel(x, outputs)
    tokens = np.array([[1, 2, 0], [3, 0, 0], [4, 4, 1], [2, 1, 0]])
    y = {t: RNG.normal(size=(4, 3, 1)).astype("float32") for t in "ab"}
    y["a"][0, 0] = y["a"][2, 2] = y["a"][3, 2] = np.nan
    for weighting in ("equal", "sum"):
        compile_sgd(model, "mse", weighting)
        y_pred = model.predict(tokens, verbose=0)
        logs = model.train_on_batch(tokens, y, return_dict=True)
        for task in "ab":
            there = (tokens > 0) & ~np.isnan(y[task][..., 0])
            error = np.float64(y[task] - y_pred[task])[there]
            expected = np.mean(error**2)
            np.testing.assert_allclose(logs[f"{task}_loss"], expected, 1e-5)


def two_regressions(**options):
    """Returns a model, inputs, and labels that are whole and that lack b's."""
    x = np.ones((8, 2), "float32")
    whole = {name: np.ones((8, 1), "float32") for name in "ab"}
    holes = {**whole, "b": np.full((8, 1), np.nan, "float32")}
    inputs = keras.Input((2,))
    features = keras.layers.Dense(2)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", **options)
    return model, x, whole, holes


def test_labels_known_to_be_complete_are_not_searched():
    model, x, whole, holes = two_regressions()
    complete = []
    for y in (whole, holes, whole, holes):
        model.fit(x, y, verbose=0)
        model.train_on_batch(x, y)
        complete.append(sorted(model._task_losses.complete))
    # A task does not become complete again: each time, the step would be
    # compiled anew.
    assert complete == [["a", "b"], ["a"], ["a"], ["a"]]
    for weights in model.get_weights():
        assert np.all(np.isfinite(weights))


def test_labels_may_be_missing_after_another_weighting():
    model, x, whole, holes = two_regressions(**utils.QUICKEST)
    model.fit(x, whole, verbose=0)
    model.fit(x, whole, verbose=0, weighting="uncertainty")
    history = model.fit(x, holes, verbose=0).history
    assert history["b_loss"] == [0.0]


def test_validation_labels_may_be_missing_where_training_labels_are_not():
    model, x, whole, holes = two_regressions()
    history = model.fit(x, whole, validation_data=(x, holes), verbose=0)
    assert history.history["val_b_loss"] == [0.0]
