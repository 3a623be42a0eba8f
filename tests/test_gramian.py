"""The Gramian of the task gradients on a batch, outside of the training."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.training import gramian
from tests import utils

RNG = np.random.default_rng(0)
SAMPLES = 12
X = RNG.normal(size=(SAMPLES, 5)).astype("float32")
TOKENS = RNG.integers(0, 7, (SAMPLES, 6))
Y = {
    "a": RNG.normal(size=(SAMPLES, 1)).astype("float32"),
    "b": RNG.integers(0, 3, SAMPLES),
    "c": RNG.normal(size=SAMPLES).astype("float32"),
}
LOSS = {"c": "mse", "a": "mae", "b": "sparse_categorical_crossentropy"}
KINDS = ["parameters", "features"]

each_kind = pytest.mark.parametrize("kind", KINDS)
each_mode = pytest.mark.parametrize("mode", utils.MODES)


def compiled(model, **kwargs):
    defaults = {"optimizer": "sgd", "loss": LOSS, **utils.EAGER}
    model.compile(**{**defaults, **kwargs})
    return model


def rich_model():
    """Has random numbers, statistics, losses of its own, and a layer twice."""
    x = keras.Input((5,))
    h = layers.Dense(6, activation="tanh", kernel_regularizer="l2")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.3)(h)
    first = layers.Dense(6, activity_regularizer="l2")(h)
    second = layers.Dense(4, activation="tanh", name="second")(h)
    twice = layers.Dense(1, name="twice")
    a = layers.Dropout(0.3)(first)
    outputs = {
        # The trunk's end is not the same for all tasks.
        "a": layers.Dense(1, name="a")(twice(a)),
        "b": layers.Dense(3, activation="softmax", name="b")(second),
        "c": layers.Dense(1, name="c")(layers.Add()([twice(first), h])),
    }
    return keras_mtl.MultiTaskModel(x, outputs)


def masked_model():
    """Has masks, and an embedding, whose gradients may be sparse."""
    tokens = keras.Input((6,), dtype="int32")
    h = layers.Embedding(7, 4, mask_zero=True)(tokens)
    h = layers.Dense(4, activation="tanh")(h)
    pooled = layers.GlobalAveragePooling1D()
    outputs = {
        "a": layers.Dense(1, name="a")(pooled(h)),
        "b": layers.Dense(3, activation="softmax", name="b")(pooled(h)),
        "c": layers.Dense(1, name="c")(layers.GRU(3)(h)),
    }
    return keras_mtl.MultiTaskModel(tokens, outputs)


MODELS = {"rich": (rich_model, X), "masked": (masked_model, TOKENS)}


def linear_model(tasks="pq"):
    x = keras.Input((5,))
    h = layers.Dense(4, use_bias=False, name="trunk")(x)
    outputs = {t: layers.Dense(1, use_bias=False, name=t)(h) for t in tasks}
    return keras_mtl.MultiTaskModel(x, outputs)


@pytest.mark.diagonal
@each_kind
@each_mode
def test_closed_form(kind, mode):
    """The gradients of a linear model, in float64."""
    tasks = "pqr"
    model = linear_model(tasks)
    model.compile("sgd", "mse", **utils.MODES[mode])
    y = {t: RNG.normal(size=(SAMPLES, 1)) for t in tasks}
    trunk, *heads = (np.float64(w) for w in model.get_weights())
    features = np.float64(X) @ trunk
    rows = []
    for task, head in zip(tasks, heads, strict=True):
        error = features @ head - np.float32(y[task])
        row = 2 / SAMPLES * error @ head.T
        rows.append(np.ravel(X.T @ row if kind == "parameters" else row))
    expected = np.array(rows) @ np.transpose(rows)
    result = gramian.TaskGramian(model, kind)(X, y)
    assert result.shape == (3, 3) and result.dtype == "float32"
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.gramian(X, y, gradients=kind), expected, rtol=2e-5, atol=1e-6
    )


def test_backend_gradients():
    """The gradients that the backend computes with the model as a whole."""
    x = keras.Input((5,))
    h = layers.Dense(6, activation="tanh")(x)
    only_two = layers.Dense(6, activation="tanh")(h)
    outputs = {
        "a": layers.Dense(1, name="a")(only_two),
        "b": layers.Dense(3, activation="softmax", name="b")(only_two),
        "c": layers.Dense(1, name="c")(h),
    }
    model = compiled(keras_mtl.MultiTaskModel(x, outputs))
    functions = {
        "c": lambda y, p: ops.mean(
            keras.losses.mean_squared_error(y[:, None], p)
        ),
        "a": lambda y, p: ops.mean(keras.losses.mean_absolute_error(y, p)),
        "b": lambda y, p: ops.mean(
            keras.losses.sparse_categorical_crossentropy(y, p)
        ),
    }
    rows = utils.task_gradients(model, X, Y, functions)
    shared = model.trainable_variables[:4]
    rows = np.stack([utils.stacked(rows[t][:4], shared) for t in LOSS])
    np.testing.assert_allclose(
        model.gramian(X, Y), rows @ rows.T, rtol=2e-5, atol=1e-6
    )


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@each_kind
@each_mode
@pytest.mark.parametrize("name", MODELS)
def test_is_that_of_the_training_step(name, kind, mode):
    build, x = MODELS[name]
    weighting = utils.FixedWeights([1.0, 0.5, 2.0], gradients=kind)
    model = build()
    compiled(model, weighting=weighting, **utils.MODES[mode])
    y = {**Y, "a": Y["a"].copy()}
    y["a"][3:8] = np.nan
    sample_weight = {t: RNG.uniform(0.5, 2.0, SAMPLES) for t in Y}
    measure = gramian.TaskGramian(model, kind)
    for _ in range(2):
        result = measure(x, y, sample_weight)
        model.train_on_batch(x, y, sample_weight)
        seen = ops.convert_to_numpy(weighting.gramian)
        atol = 1e-5 * np.abs(seen).max()
        np.testing.assert_allclose(result, seen, rtol=1e-4, atol=atol)


@pytest.mark.quick_on_torch
@pytest.mark.diagonal
@each_kind
@each_mode
def test_changes_nothing(kind, mode):
    model = compiled(
        rich_model(),
        optimizer="adam",
        metrics={"a": "mae"},
        **utils.MODES[mode],
    )
    model.fit(X, Y, verbose=0)

    def state():
        return utils.arrays(
            [*model.variables, *model.optimizer.variables]
            + model.metrics_variables
        )

    before, function = state(), model.train_function
    model.gramian(X, Y, gradients=kind)
    measure = gramian.TaskGramian(model, kind)
    # Statistics and seeds are as they were: it is the same again.
    np.testing.assert_array_equal(measure(X, Y), measure(X, Y))
    for old, new in zip(before, state(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.train_function is function
    assert not any(layer._losses for layer in model._flatten_layers())


@pytest.mark.quick_on_torch
def test_before_the_first_step():
    model = compiled(rich_model(), metrics={"a": "mae"}, weighting="nash_mtl")
    first = model.gramian(X, Y)
    assert np.isfinite(first).all() and (np.diag(first) > 0).all()
    model.fit(X, Y, verbose=0)
    assert not np.allclose(model.gramian(X, Y), first)


def test_loss_weights_and_weightings():
    model = linear_model()
    y = {t: Y["a"] for t in "pq"}
    model.compile("sgd", "mse", **utils.EAGER)
    plain = model.gramian(X, y)
    factors = np.array([2.0, 0.5])
    for weighting in ["equal", "scale_invariant", ["dwa", "mgda"]]:
        model.compile(
            "sgd",
            "mse",
            loss_weights=dict(zip("pq", factors)),
            weighting=weighting,
            **utils.EAGER,
        )
        np.testing.assert_allclose(
            model.gramian(X, y), np.outer(factors, factors) * plain, 1e-5
        )


def test_shared_layers():
    model = rich_model()
    compiled(model)
    full = model.gramian(X, Y)
    last = model.gramian(X, Y, shared="last")
    layer = model.get_layer("twice")
    one = model.gramian(X, Y, shared=[layer])
    assert np.trace(full) > np.trace(last)
    # Task b does not reach the layer: its row is zero.
    tasks = list(LOSS)
    index = tasks.index("b")
    np.testing.assert_array_equal(one[index], 0.0)
    assert (np.delete(np.diag(one), index) > 0).all()


def test_frozen_layers():
    model = rich_model()
    compiled(model)
    model.get_layer("twice").trainable = False
    others = [
        layer
        for layer in model.layers
        if layer.name != "twice" and layer.trainable_variables
    ]
    # Only the shared ones of these may be named.
    shared = [x for x in others if x.name not in ("a", "b", "c", "second")]
    compiled(model)
    np.testing.assert_allclose(
        model.gramian(X, Y), model.gramian(X, Y, shared=shared), rtol=1e-5
    )


@each_kind
def test_task_without_labels(kind):
    model = compiled(rich_model())
    y = {**Y, "a": np.full_like(Y["a"], np.nan)}
    index = list(LOSS).index("a")
    result = model.gramian(X, y, gradients=kind)
    np.testing.assert_array_equal(result[index], 0.0)
    cosines = gramian.cosines(result)
    assert np.isnan(cosines[index]).all() and np.isnan(cosines[:, index]).all()
    others = np.delete(np.delete(cosines, index, 0), index, 1)
    np.testing.assert_allclose(np.diag(others), 1.0)


@each_kind
def test_small_gradients_in_half_precision(kind):
    def measure(policy):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            keras.utils.set_random_seed(0)
            model = linear_model()
            # Without the loss scale, these gradients would be 0 in float16.
            factors = dict.fromkeys("pq", 1e-8)
            model.compile("sgd", "mse", loss_weights=factors, **utils.EAGER)
            y = {t: Y["a"] for t in "pq"}
            return model.gramian(X, y, gradients=kind)
        finally:
            keras.config.set_dtype_policy(before)

    expected = measure("float32")
    assert (np.diag(expected) > 0).all()
    atol = 0.02 * expected.max()
    np.testing.assert_allclose(measure("mixed_float16"), expected, atol=atol)


def test_within_an_epoch():
    """On JAX, the variables have no values then."""
    model = linear_model()
    model.compile("sgd", "mse", **utils.COMPILED)
    y = {t: Y["a"] for t in "pq"}
    measured = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: measured.append(
            model.gramian(X, y)
        )
    )
    model.fit(X, y, batch_size=4, callbacks=[callback], verbose=0)
    assert len(measured) == 3
    np.testing.assert_allclose(measured[-1], model.gramian(X, y), rtol=1e-6)
    assert not np.allclose(measured[0], measured[1])


def test_inputs_of_several_types():
    a, b = keras.Input((5,), name="a"), keras.Input((2,), name="b")
    h = layers.Dense(4)(layers.Concatenate()([a, b]))
    outputs = [layers.Dense(1, name="p")(h), layers.Dense(1, name="q")(h)]
    model = keras_mtl.MultiTaskModel([a, b], outputs)
    model.compile("sgd", "mse", **utils.EAGER)
    x, y = [np.float64(X), X[:, :2]], [Y["a"], np.float64(Y["c"])]
    expected = model.gramian(x, y)
    # Labels that are lists, and inputs that are tensors.
    np.testing.assert_allclose(
        model.gramian(
            {"a": ops.convert_to_tensor(X), "b": X[:, :2]},
            {"p": Y["a"], "q": Y["c"]},
            sample_weight=np.ones(SAMPLES),
        ),
        expected,
        rtol=1e-5,
    )


def test_cosines():
    jacobian = RNG.normal(size=(3, 4, 9)) * [[1e-12], [1.0], [1e12], [0.0]]
    result = gramian.cosines(jacobian @ np.swapaxes(jacobian, 1, 2))
    for rows, cosines in zip(jacobian, result, strict=True):
        unit = rows[:3] / np.linalg.norm(rows[:3], axis=1, keepdims=True)
        np.testing.assert_allclose(cosines[:3, :3], unit @ unit.T, atol=1e-12)
        assert np.isnan(cosines[3]).all() and np.isnan(cosines[:, 3]).all()
    # Rounding does not bring them outside of [-1, 1].
    assert np.abs(gramian.cosines(np.full((2, 2), np.float32(0.1)))).max() == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gradients": "all"}, "\"features\".*Received: gradients='all'"),
        ({"shared": ["none"]}, "`shared` names a layer that the model does"),
        ({"shared": ["p"]}, "no trainable variable that two or more tasks"),
        ({"y": {"p": Y["a"]}}, r"Missing: \['q'\]"),
        ({"y": Y["a"]}, "Expected labels to be a dict or list"),
        ({"sample_weight": {"r": Y["c"]}}, r"keys that are no output: \['r'\]"),
    ],
)
def test_bad_arguments(arguments, message):
    model = linear_model()
    model.compile("sgd", "mse", **utils.EAGER)
    y = {t: Y["a"] for t in "pq"}
    with pytest.raises(ValueError, match=message):
        model.gramian(**{"x": X, "y": y, **arguments})


def test_model_is_not_compiled():
    with pytest.raises(ValueError, match="call `compile\\(\\)` before"):
        linear_model().gramian(X, {t: Y["a"] for t in "pq"})


def test_nothing_is_shared():
    x = keras.Input((5,))
    outputs = {t: layers.Dense(1, name=t)(x) for t in "pq"}
    model = keras_mtl.MultiTaskModel(x, outputs)
    model.compile("sgd", "mse", **utils.EAGER)
    with pytest.raises(ValueError, match="which share nothing with"):
        model.gramian(X, {t: Y["a"] for t in "pq"})
