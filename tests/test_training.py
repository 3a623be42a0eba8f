"""Equal weights through MultiTaskModel train as plain Keras does."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.backend import keras_internals
from tests import utils

RNG = np.random.default_rng(3)
SAMPLES, FEATURES, BATCH = 20, 5, 8
X = RNG.normal(size=(SAMPLES, FEATURES)).astype("float32")
Y = {
    "a": RNG.normal(size=(SAMPLES, 1)).astype("float32"),
    "b": RNG.integers(0, 3, SAMPLES),
    "c": RNG.normal(size=SAMPLES).astype("float32"),
}
SAMPLE_WEIGHT = {t: RNG.uniform(0.5, 2.0, SAMPLES) for t in Y}
TAKES_STEPS = utils.BACKEND != "torch" or keras_internals.HAS_TORCH_DISTRIBUTION
LOSS = {"c": "mse", "a": "mae", "b": "sparse_categorical_crossentropy"}

WEIGHTINGS = {
    "equal": "equal",
    "parameters": "sum",
    "features": functools.partial(
        keras_mtl.weightings.Sum, gradients="features"
    ),
    "every second step": functools.partial(
        keras_mtl.weightings.Sum, update_every=2
    ),
}


class PlainModel(keras.Model):
    """Plain Keras, but for what it does wrong on JAX.

    There, layers know their losses by the ids of tensors, which may be those of
    tensors of an earlier step, so that a loss is lost now and then.
    """

    def compute_loss_and_updates(self, *args, **kwargs):
        self._clear_losses()
        return super().compute_loss_and_updates(*args, **kwargs)


class WithLoss(layers.Layer):
    """Adds a loss of its activations and of a variable of its own."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        self.add_loss(0.1 * ops.mean(x**2))
        self.add_loss(0.01 * self.scale**2)
        return x * self.scale


class DropoutWithin(layers.Layer):
    """Takes `training` from the model, since `call` does not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = layers.Dropout(0.5, seed=11)

    def call(self, x):
        return self.dropout(x)


def rich_model(cls):
    """Has all that a layer can do to a training step."""
    keras.utils.set_random_seed(1)
    x = keras.Input((FEATURES,))
    h = layers.Dense(6, activation="tanh", kernel_regularizer="l2")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.3, seed=5)(h)
    h = DropoutWithin()(h)
    added = WithLoss()
    h = added(layers.Dense(6, activity_regularizer="l2")(added(h)))
    twice = layers.Dense(6, activation="tanh", activity_regularizer="l2")
    h = twice(twice(h))
    # Plain Keras on JAX keeps only the last loss of a layer called twice.
    again = layers.Dense(6) if utils.BACKEND == "jax" else twice
    a = layers.Dropout(0.3, seed=6)(h)
    a = layers.Dense(1, kernel_regularizer="l1", name="a")(WithLoss()(a))
    b = layers.Dense(4)(layers.BatchNormalization()(h))
    b = layers.Dense(3, activation="softmax", name="b")(b)
    c = layers.Dense(1, activity_regularizer="l2", name="c")(again(h))
    return cls(x, {"a": a, "b": b, "c": c})


def small_model(cls, as_list=False):
    keras.utils.set_random_seed(1)
    x = keras.Input((FEATURES,), name="x")
    h = layers.Dense(4, activation="tanh")(x)
    outputs = [
        layers.Dense(1, name="a")(h),
        layers.Dense(3, activation="softmax", name="b")(h),
        layers.Dense(1, name="c")(h),
    ]
    if as_list:
        return cls(x, outputs)
    return cls(x, dict(zip("abc", outputs)))


def momentum():
    return keras.optimizers.SGD(0.1, momentum=0.9)


def compiled(model, weighting=None, **kwargs):
    make_optimizer = kwargs.pop("make_optimizer", momentum)
    options = {
        "optimizer": make_optimizer(),
        "loss": LOSS,
        **utils.EAGER,
        **kwargs,
    }
    if weighting is not None:
        options["weighting"] = weighting
    model.compile(**options)
    return model


def assert_same_training(plain, history, model, model_history):
    for key, values in history.history.items():
        np.testing.assert_allclose(
            model_history.history[key], values, 1e-5, 1e-5, err_msg=key
        )
    own = set(map(id, model.weighting.variables))
    variables = [v for v in model.variables if id(v) not in own]
    assert len(variables) == len(plain.variables)
    for ours, theirs in zip(variables, plain.variables):
        np.testing.assert_allclose(
            ours, theirs, 1e-5, 1e-5, err_msg=theirs.path
        )


def compare(build, fit, weightings=("equal", "parameters"), **options):
    """Fits plain Keras and `MultiTaskModel` and compares the outcome."""
    plain = compiled(build(PlainModel), **options)
    history = fit(plain)
    for name in weightings:
        weighting = WEIGHTINGS[name]
        weighting = weighting if isinstance(weighting, str) else weighting()
        model = build(keras_mtl.MultiTaskModel)
        compiled(model, weighting, **options)
        assert_same_training(plain, history, model, fit(model))


# Each weighting is traced and compiled; on PyTorch it only takes its steps.
SOME = WEIGHTINGS if utils.BACKEND == "torch" else ("features",)


@pytest.mark.parametrize(
    "mode, names",
    [
        (next(reversed(utils.MODES)), SOME),
        *(
            pytest.param(mode, WEIGHTINGS, marks=pytest.mark.slow)
            for mode in utils.MODES
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_trains_as_plain_keras(mode, names):
    if (utils.BACKEND, mode) == ("jax", "eager"):
        pytest.skip("slow, and the other tests are of it")
    # JAX would compile the step again for a last batch of another size.
    size, validated = (16, 8) if utils.BACKEND == "jax" else (SAMPLES, 9)

    def first(count, arrays):
        return {task: values[:count] for task, values in arrays.items()}

    def fit(model):
        return model.fit(
            X[:size],
            first(size, Y),
            sample_weight=first(size, SAMPLE_WEIGHT),
            validation_data=(X[:validated], first(validated, Y)),
            batch_size=BATCH,
            epochs=2,
            verbose=0,
        )

    compare(
        rich_model,
        fit,
        names,
        metrics={"b": ["accuracy"], "a": ["mae", "mse"]},
        weighted_metrics={"c": ["mae"], "b": ["accuracy"]},
        loss_weights={"a": 2.0, "b": 1.0, "c": 0.5},
        **utils.MODES[mode],
    )


@pytest.mark.skipif(
    utils.BACKEND != "tensorflow", reason="JAX does in the test above"
)
def test_trains_as_plain_keras_with_xla():
    options = {"run_eagerly": False, "jit_compile": True}
    compare(small_model, fit_arrays, ("every second step",), **options)


def fit_arrays(model, **kwargs):
    return model.fit(
        X, Y, **{"batch_size": BATCH, "epochs": 2, "verbose": 0, **kwargs}
    )


@pytest.mark.quick_on_torch
def test_list_outputs_with_list_losses():
    def fit(model):
        return model.fit(
            X,
            [Y["a"], Y["b"], Y["c"]],
            sample_weight=list(SAMPLE_WEIGHT.values()),
            validation_split=0.2,
            batch_size=BATCH,
            verbose=0,
        )

    compare(
        functools.partial(small_model, as_list=True),
        fit,
        loss=[LOSS[task] for task in "abc"],
        loss_weights=[2.0, 1.0, 0.5],
        metrics=[["mae"], ["accuracy"], None],
    )


@pytest.mark.quick_on_torch
def test_list_outputs_with_dicts():
    compare(
        functools.partial(small_model, as_list=True),
        lambda model: fit_arrays(model, epochs=1),
        metrics={"a": "mae"},
    )


def test_a_dict_of_losses_that_lacks_an_output():
    """It is not trained, and needs no labels, as in plain Keras."""
    compare(
        small_model,
        lambda model: model.fit(
            X, {"a": Y["a"], "b": Y["b"]}, batch_size=BATCH, verbose=0
        ),
        loss={"a": LOSS["a"], "b": LOSS["b"]},
        loss_weights=None,
        metrics=None,
    )


def test_the_list_of_train_on_batch_ends_with_the_weights():
    lists, names = [], []
    for cls in (keras.Model, keras_mtl.MultiTaskModel):
        model = small_model(cls)
        metrics = {"a": ["mae"], "c": ["mae"]}
        model.compile("sgd", LOSS, metrics=metrics, run_eagerly=True)
        y = {task: Y[task][:BATCH] for task in "abc"}
        lists.append(model.train_on_batch(X[:BATCH], y))
        names.append(model.metrics_names)
    plain, ours = lists
    np.testing.assert_allclose(ours, [*plain, 1.0, 1.0, 1.0], 1e-5)
    weights = [f"weight/{task}" for task in LOSS]
    assert names[1] == [*names[0], *weights]


def test_dict_keys_that_are_not_layer_names():
    def build(cls):
        keras.utils.set_random_seed(1)
        x = keras.Input((FEATURES,))
        h = layers.Dense(4)(x)
        outputs = {"z": layers.Dense(1, name="a")(h)}
        outputs["b"] = layers.Dense(3, activation="softmax", name="m")(h)
        outputs["a"] = layers.Dense(1, name="z")(h)
        return cls(x, outputs)

    y = {"z": Y["a"], "b": Y["b"], "a": Y["c"]}
    compare(
        build,
        lambda model: model.fit(X, y, batch_size=BATCH, verbose=0),
        loss={"z": "mse", "b": LOSS["b"], "a": "mae"},
        metrics={"z": "mae", "b": "accuracy"},
    )


def test_one_loss_for_all_outputs_and_one_sample_weight():
    def build(cls):
        keras.utils.set_random_seed(1)
        x = keras.Input((FEATURES,))
        h = layers.Dense(4)(x)
        return cls(x, {t: layers.Dense(1, name=t)(h) for t in "ab"})

    def fit(model):
        y = {"a": Y["a"], "b": Y["c"]}
        weight = SAMPLE_WEIGHT["a"]
        return model.fit(
            X, y, sample_weight=weight, batch_size=BATCH, verbose=0
        )

    compare(build, fit, loss="mse", weighted_metrics=[["mae"], ["mse"]])


@pytest.mark.quick_on_torch
def test_an_output_without_a_loss():
    y = {"a": Y["a"], "b": Y["b"]}
    compare(
        small_model,
        lambda model: model.fit(X, y, batch_size=BATCH, verbose=0),
        loss={**LOSS, "c": None},
    )
    compare(
        functools.partial(small_model, as_list=True),
        lambda model: model.fit(X, [*y.values()], verbose=0),
        loss=["mae", "sparse_categorical_crossentropy", None],
    )


def test_crossentropy_and_accuracy_find_their_form():
    compare(
        small_model,
        lambda model: fit_arrays(model, epochs=1),
        loss={"a": "mse", "b": "crossentropy", "c": "mse"},
        metrics={"b": "acc"},
    )


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return -(-SAMPLES // BATCH)

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        weight = {t: w[part] for t, w in SAMPLE_WEIGHT.items()}
        return {"x": X[part]}, {t: y[part] for t, y in Y.items()}, weight


def generator():
    batches = Batches()
    while True:
        yield from (batches[i] for i in range(len(batches)))


def torch_loader():
    import torch

    rows = [
        (X[i], {t: np.float32(y[i]) for t, y in Y.items()})
        for i in range(SAMPLES)
    ]
    return torch.utils.data.DataLoader(rows, batch_size=BATCH)


def tf_dataset():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(({"x": X}, Y, SAMPLE_WEIGHT))
    return data.batch(BATCH).prefetch(1)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("data", [Batches, generator, torch_loader, tf_dataset])
def test_takes_all_that_fit_takes(data):
    if data in (torch_loader, tf_dataset):
        pytest.importorskip("torch" if data is torch_loader else "tensorflow")
    steps = 3 if data is generator else None

    def fit(model):
        return model.fit(data(), epochs=2, steps_per_epoch=steps, verbose=0)

    compare(small_model, fit)


@pytest.mark.skipif(not TAKES_STEPS, reason="this version of Keras raises")
def test_steps_per_execution():
    options = {"steps_per_execution": 2, **utils.COMPILED}
    compare(small_model, fit_arrays, ("parameters",), **options)


@pytest.mark.skipif(TAKES_STEPS, reason="this version of Keras takes them")
def test_steps_per_execution_are_refused():
    model = compiled(
        small_model(keras_mtl.MultiTaskModel), "sum", steps_per_execution=2
    )
    with pytest.raises(ValueError, match="`steps_per_execution` must be 1"):
        fit_arrays(model)


def test_accumulated_gradients_schedules_and_clipping():
    def optimizer():
        rate = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
        return keras.optimizers.AdamW(
            rate, gradient_accumulation_steps=2, global_clipnorm=0.5
        )

    compare(small_model, fit_arrays, make_optimizer=optimizer)


@pytest.mark.quick_on_torch
def test_batches_evaluation_and_prediction():
    plain = compiled(small_model(PlainModel), metrics={"b": ["accuracy"]})
    y = {t: v[:BATCH] for t, v in Y.items()}
    weight = {t: v[:BATCH] for t, v in SAMPLE_WEIGHT.items()}
    expected = plain.train_on_batch(X[:BATCH], y, weight, return_dict=True)
    for weighting in ("equal", "sum"):
        model = small_model(keras_mtl.MultiTaskModel)
        compiled(model, weighting, metrics={"b": ["accuracy"]})
        logs = model.train_on_batch(X[:BATCH], y, weight, return_dict=True)
        assert set(logs) - set(expected) == {f"weight/{t}" for t in "abc"}
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key], value, 1e-5, 1e-6)
        for options in ({"return_dict": True}, {}):
            results = [
                [
                    m.evaluate(X, Y, batch_size=BATCH, verbose=0, **options),
                    m.test_on_batch(X[:BATCH], y, **options),
                ]
                for m in (plain, model)
            ]
            for theirs, ours in zip(*results):
                assert keras.tree.assert_same_structure(theirs, ours) is None
                keras.tree.map_structure(
                    lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6),
                    theirs,
                    ours,
                )
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6),
            plain.predict(X, verbose=0),
            model.predict(X, verbose=0),
        )


@pytest.mark.quick_on_torch
def test_gradients_of_a_shared_embedding_and_a_sequence():
    # On TensorFlow they are sparse, or have no static shape.
    def train(options, weighting):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,), dtype="int32")
        x = keras.layers.Embedding(7, 3)(inputs)
        x = keras.layers.Dense(5, "tanh")(x)
        x = keras.layers.GlobalAveragePooling1D()(x)
        outputs = {t: keras.layers.Dense(1, name=t)(x) for t in "ab"}
        model = keras_mtl.MultiTaskModel(inputs, outputs)
        optimizer = keras.optimizers.SGD(0.1)
        model.compile(optimizer, "mse", weighting=weighting, **options)
        rng = np.random.default_rng(0)
        x = rng.integers(7, size=(10, 4))
        y = {t: rng.normal(size=(10, 1)) for t in "ab"}
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return utils.arrays(model.trainable_variables)

    for kwargs in ({}, {"update_every": 2}):
        eager, compiled = (
            train(options, keras_mtl.weightings.UPGrad(**kwargs))
            for options in ({"run_eagerly": True}, {"jit_compile": False})
        )
        for value, expected in zip(compiled, eager):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "names",
    [
        # They have the same state, so that the arguments of a compiled step
        # do not tell one from the other.
        ["equal", "scale_invariant", "equal"],
        pytest.param(
            ["mgda", "cagrad", "imtl_g", "equal", "mgda", "tchebycheff"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda names: names[0],
)
def test_another_weighting_takes_the_place_of_the_one_before(names):
    """At a learning rate of zero, each has the weights of a new model."""
    options = {"optimizer": keras.optimizers.SGD(0.0), **utils.COMPILED}
    fit_one = functools.partial(fit_arrays, epochs=1, shuffle=False)
    kept = {name: keras_mtl.weightings.get(name) for name in names}
    model = compiled(small_model(keras_mtl.MultiTaskModel), "sum", **options)
    fit_one(model)
    for name in names:
        found = fit_one(model, weighting=kept[name])
        options["optimizer"] = keras.optimizers.SGD(0.0)
        fresh = small_model(keras_mtl.MultiTaskModel)
        expected = fit_one(compiled(fresh, name, **options))
        for task in "abc":
            np.testing.assert_allclose(
                found.history[f"weight/{task}"],
                expected.history[f"weight/{task}"],
                rtol=1e-4,
                err_msg=f"{name}: {task}",
            )
