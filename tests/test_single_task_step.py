"""A step with one task's batch trains as a model of that task alone."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.selection import Fixed
from keras_mtl.selection import TaskSampler
from tests import test_training as training
from tests import utils

RNG = np.random.default_rng(5)
X = RNG.normal(size=(24, training.FEATURES)).astype("float32")
Y = {
    "a": RNG.normal(size=(24, 1)).astype("float32"),
    "b": RNG.integers(0, 3, 24),
    "c": RNG.normal(size=24).astype("float32"),
}
DATA = {task: (X, y) for task, y in Y.items()}
JIT = {"run_eagerly": False, "jit_compile": True}
MODES = {**utils.MODES}
QUICK = utils.COMPILED if utils.BACKEND == "jax" else utils.EAGER
if utils.BACKEND == "jax":
    MODES.pop("eager")
if utils.BACKEND == "tensorflow":
    MODES["compiled"] = JIT


def sampler_of(probabilities, data=DATA, **kwargs):
    options = {"batch_size": 8, "shuffle": False, "seed": 0, **kwargs}
    return TaskSampler(data, policy=Fixed(probabilities), **options)


def rich_model(cls):
    """Has all that a layer can do to a step, and no layer that is called twice.

    Of such, plain Keras on JAX loses an added loss.
    """
    keras.utils.clear_session(free_memory=False)  # The same names again.
    keras.utils.set_random_seed(1)
    x = keras.Input((training.FEATURES,))
    h = layers.Dense(6, activation="tanh", kernel_regularizer="l2")(x)
    h = layers.Dropout(0.3, seed=5)(layers.BatchNormalization()(h))
    h = training.DropoutWithin()(training.WithLoss()(h))
    h = layers.Dense(6, activity_regularizer="l2")(h)
    a = layers.Dropout(0.3, seed=6)(layers.BatchNormalization()(h))
    a = layers.Dense(1, kernel_regularizer="l1", name="a")(a)
    b = layers.Dense(4)(training.WithLoss()(layers.BatchNormalization()(h)))
    b = layers.Dense(3, activation="softmax", name="b")(b)
    c = layers.Dense(1, activity_regularizer="l2", name="c")(h)
    return cls(x, {"a": a, "b": b, "c": c})


def one_task_model(task):
    """The plain model of one task, with the same layers in the same order."""
    return rich_model(lambda x, outputs: training.PlainModel(x, outputs[task]))


def values(variables):
    return {v.path: np.array(v) for v in variables}


def assert_equal_values(ours, theirs, **tolerance):
    tolerance = {"rtol": 1e-5, "atol": 1e-5, **tolerance}
    for path, value in theirs.items():
        np.testing.assert_allclose(ours[path], value, err_msg=path, **tolerance)


def adam():
    return keras.optimizers.AdamW(0.02, weight_decay=0.1, global_clipnorm=0.5)


def scaled():
    inner = keras.optimizers.SGD(0.1, momentum=0.9)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0)


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task, make_optimizer", [("a", adam), ("b", scaled)])
def test_trains_as_the_task_alone(mode, task, make_optimizer):
    options = {**MODES[mode], "metrics": {"a": ["mae"], "b": ["accuracy"]}}
    model = rich_model(keras_mtl.MultiTaskModel)
    model.compile(make_optimizer(), loss=training.LOSS, **options)
    plain = one_task_model(task)
    options["metrics"] = options["metrics"][task]
    plain.compile(make_optimizer(), training.LOSS[task], **options)
    before = values(model.variables)
    probabilities = [float(task == other) for other in DATA]
    sampler = sampler_of(probabilities, steps_per_epoch=3)
    fit = {"epochs": 2, "verbose": 0}
    keras.utils.set_random_seed(2)
    history = model.fit(sampler, **fit).history
    keras.utils.set_random_seed(2)
    expected = plain.fit(*DATA[task], batch_size=8, shuffle=False, **fit)
    expected = expected.history
    np.testing.assert_allclose(history["loss"], expected["loss"], 1e-5)
    for key in set(expected) - {"loss"}:
        np.testing.assert_allclose(
            history[f"{task}_{key}"], expected[key], 1e-5
        )
    after, alone = values(model.variables), values(plain.variables)
    assert_equal_values(after, alone)
    others = set(before) - set(alone)
    assert sum("dense" in path or "kernel" in path for path in others) >= 2
    for path in others:
        np.testing.assert_array_equal(after[path], before[path], path)
    # No momentum of the other heads, either.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    heads = {v.path.replace("/", "_") for v in model.trainable_variables}
    heads -= {v.path.replace("/", "_") for v in plain.trainable_variables}
    for variable in optimizer.variables:
        if any(f"{head}_" in variable.path for head in heads):
            assert not np.any(np.array(variable)), variable.path
    assert int(optimizer.iterations) == 6


def alternately(sampler, models):
    """Trains plain models, which share layers, on what a sampler draws."""
    losses = []
    for _ in range(len(sampler)):
        task, propensity, (x, y, *_) = sampler.draw()
        name = sampler.tasks[task]
        loss = models[name].train_on_batch(x, y)
        losses.append((task, loss))
        sampler.update(task, propensity, loss)
    return losses


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("mode", MODES)
def test_trains_as_plain_models_in_turn(mode):
    model = training.small_model(keras_mtl.MultiTaskModel)
    weights = {"a": 2.0, "b": 0.5, "c": 1.0}
    model.compile(
        keras.optimizers.SGD(0.1),
        training.LOSS,
        loss_weights=weights,
        **MODES[mode],
    )
    sampler = sampler_of([0.2, 0.5, 0.3], shuffle=True, steps_per_epoch=15)
    model.fit(sampler, verbose=0)
    plain = training.small_model(keras.Model)
    models = {}
    for task in DATA:
        models[task] = keras.Model(plain.input, plain.output[task])
        rate = 0.1 * weights[task]
        models[task].compile(
            keras.optimizers.SGD(rate), training.LOSS[task], **MODES[mode]
        )
    reference = sampler_of([0.2, 0.5, 0.3], shuffle=True, steps_per_epoch=15)
    losses = alternately(reference, models)
    assert len({task for task, _ in losses}) == 3
    for ours, theirs in zip(model.variables, plain.variables):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), 1e-5, 1e-6)
    log = sampler.log
    np.testing.assert_array_equal(log.task_indices, [i for i, _ in losses])
    np.testing.assert_allclose(log.losses, [x for _, x in losses], 1e-5)
    expected = np.array([0.2, 0.5, 0.3])[log.task_indices]
    np.testing.assert_allclose(log.propensities, expected)


def test_history():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, metrics={"b": "acc"}, **QUICK)
    sampler = sampler_of([0.4, 0.0, 0.6], steps_per_epoch=20)
    history = model.fit(sampler, epochs=2, verbose=0).history
    log = sampler.log
    for epoch in range(2):
        part = slice(20 * epoch, 20 * epoch + 20)
        losses, tasks = log.losses[part], log.task_indices[part]
        assert history["loss"][epoch] == pytest.approx(losses.mean(), 1e-5)
        for i, task in enumerate("abc"):
            assert history[f"share/{task}"][epoch] == np.mean(tasks == i)
            if task == "b":
                continue
            mean = losses[tasks == i].mean()
            assert history[f"{task}_loss"][epoch] == pytest.approx(mean, 1e-5)
    assert (
        np.isnan(history["b_loss"]).all() and np.isnan(history["b_acc"]).all()
    )
    assert np.isfinite(history["task_variance"]).all()
    assert not any(key.startswith("weight/") for key in history)


def test_shares_are_not_of_validation_and_callbacks_get_all():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, metrics={"b": "acc"}, **QUICK)
    stop = keras.callbacks.EarlyStopping("val_b_loss", mode="min")
    history = model.fit(
        sampler_of([0.4, 0.3, 0.3]),
        epochs=2,
        verbose=0,
        validation_data=(X, Y),
        callbacks=[stop],
    ).history
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)
    for key, value in expected.items():
        assert history[f"val_{key}"][-1] == pytest.approx(value, 1e-5)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("mode", MODES)
def test_validation_data_of_each_task(mode):
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile(
        "sgd",
        training.LOSS,
        loss_weights={"a": 2.0},
        metrics={"b": "acc"},
        **MODES[mode],
    )
    data = {"b": (X[:19], Y["b"][:19]), "a": (X[:3], Y["a"][:3])}
    stop = keras.callbacks.EarlyStopping("val_b_acc", mode="max")
    history = model.fit(
        sampler_of([0.4, 0.3, 0.3]),
        epochs=2,
        verbose=0,
        validation_data=data,
        callbacks=[stop],
    ).history
    y = model.predict(X, verbose=0)
    a = np.mean(np.abs(y["a"][:3] - Y["a"][:3]))
    b = np.mean(-np.log(y["b"][np.arange(19), Y["b"][:19]]))
    acc = np.mean(y["b"][:19].argmax(-1) == Y["b"][:19])
    expected = {"a_loss": a, "b_loss": b, "b_acc": acc, "loss": 2 * a + b}
    assert {k for k in history if k[:4] == "val_"} == {
        f"val_{key}" for key in expected
    }
    for key, value in expected.items():
        assert history[f"val_{key}"][-1] == pytest.approx(value, 1e-4)
    with pytest.raises(ValueError, match=r"a dict of \['x'\]"):
        model.fit(sampler_of([0.4, 0.3, 0.3]), validation_data={"x": data["a"]})


def dropout_model(rate):
    keras.utils.set_random_seed(0)
    x = keras.Input((training.FEATURES,))
    h = layers.BatchNormalization()(layers.Dense(16, activation="relu")(x))
    h = layers.Dropout(rate)(h)
    return keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in "ab"})


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("mode", MODES)
def test_prediction_gain_has_the_same_dropout(mode):
    model = dropout_model(0.5)
    model.compile(keras.optimizers.SGD(0.0), "mse", **MODES[mode])
    data = {"a": (X, Y["a"]), "b": (X, Y["c"])}
    sampler = sampler_of([0.5, 0.5], data, reward="prediction_gain")
    model.fit(sampler, verbose=0)
    assert len(sampler.log) == 6 and np.all(sampler.log.losses > 0)
    np.testing.assert_allclose(sampler.log.rewards, 0.0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_prediction_gain_is_of_the_same_batch(mode):
    model = dropout_model(0.0)
    model.compile(keras.optimizers.SGD(0.05), "mse", **MODES[mode])
    data = {"a": (X[:8], Y["a"][:8]), "b": (X, Y["c"])}
    sampler = sampler_of([1.0, 0.0], data, reward="prediction_gain")
    model.fit(sampler, steps_per_epoch=1, verbose=0)
    y = keras.ops.convert_to_numpy(model(X[:8], training=True)["a"])
    after = np.mean((y - Y["a"][:8]) ** 2)
    gain = sampler.log.losses[0] - after
    np.testing.assert_allclose(sampler.log.rewards[0], gain, rtol=1e-4)
    assert gain > 0


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("reward", ["falling_loss", "prediction_gain"])
def test_the_second_pass_leaves_the_step_as_it_is(reward):
    results = []
    for kind in ("falling_loss", reward):
        model = dropout_model(0.5)
        model.compile("adam", "mse", **utils.COMPILED)
        data = {"a": (X, Y["a"]), "b": (X, Y["c"])}
        keras.utils.set_random_seed(1)
        model.fit(sampler_of([0.5, 0.5], data, reward=kind), verbose=0)
        results.append([np.array(v) for v in model.variables])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


class Recorder(keras_mtl.selection.Policy):
    """Uniform, and keeps the order of what is asked and told."""

    def __init__(self):
        self.events = []

    @property
    def probabilities(self):
        self.events.append("sample")
        return np.full(self.num_tasks, 1 / self.num_tasks)

    def update(self, task, reward, propensity):
        self.events.append("update")


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("workers", [1, 3])
def test_each_choice_knows_all_rewards(workers):
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, **utils.COMPILED)
    policy = Recorder()
    sampler = TaskSampler(DATA, policy, batch_size=4, workers=workers)
    model.fit(sampler, epochs=2, verbose=0)
    assert policy.events == ["sample", "update"] * 36


@pytest.mark.skipif(
    not training.TAKES_STEPS, reason="this version of Keras raises"
)
def test_steps_per_execution():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, steps_per_execution=4, **utils.COMPILED)
    policy = Recorder()
    sampler = TaskSampler(DATA, policy, batch_size=4, steps_per_epoch=8)
    model.fit(sampler, verbose=0)
    assert policy.events == ["sample", "update"] * 8


def test_steps_per_epoch_of_fit_and_other_fits_between():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, **QUICK)
    sampler = sampler_of([0.2, 0.4, 0.4], steps_per_epoch=2)
    model.fit(sampler, steps_per_epoch=5, epochs=2, verbose=0)
    assert len(sampler.log) == 10
    history = model.fit(X, Y, verbose=0).history
    assert "weight/a" in history and "share/a" not in history
    model.fit(sampler, verbose=0)
    assert len(sampler.log) == 12


def test_frozen_layers():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, **utils.COMPILED)
    sampler = sampler_of([1.0, 0.0, 0.0])
    model.fit(sampler, verbose=0, steps_per_epoch=2)
    trunk = model.layers[1]
    trunk.trainable = False
    model.compile("sgd", training.LOSS, **utils.COMPILED)
    before = values(model.variables)
    model.fit(sampler, verbose=0, steps_per_epoch=2)
    after = values(model.variables)
    changed = {p for p in before if np.any(before[p] != after[p])}
    head = {v.path for v in model.get_layer("a").variables}
    assert head & changed
    assert not changed & {v.path for v in trunk.variables}


@pytest.mark.quick_on_torch
def test_inputs_of_different_lengths():
    keras.utils.set_random_seed(0)
    words = keras.Input((None,), dtype="int32", name="words")
    h = layers.Embedding(20, 4, mask_zero=True)(words)
    h = layers.GlobalAveragePooling1D()(h)
    outputs = {t: layers.Dense(1, name=t)(h) for t in "ab"}
    model = keras_mtl.MultiTaskModel(words, outputs)
    model.compile("adam", "mse", **utils.COMPILED)
    data = {
        "a": ({"words": RNG.integers(0, 20, (16, 5))}, RNG.normal(size=16)),
        "b": ({"words": RNG.integers(0, 20, (12, 9))}, RNG.normal(size=12)),
    }
    sampler = TaskSampler(data, batch_size=4, seed=0)
    losses = model.fit(sampler, epochs=3, verbose=0).history
    assert np.all(np.isfinite(losses["a_loss"] + losses["b_loss"]))


def test_missing_labels_and_sample_weights():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile(keras.optimizers.SGD(0.0), training.LOSS, **QUICK)
    missing = Y["a"].copy()
    missing[::2] = math.nan
    weight = RNG.uniform(size=24).astype("float32")
    data = {"a": (X, missing), "b": (X, Y["b"], weight), "c": DATA["c"]}
    losses = {}
    for i, task in enumerate("ab"):
        one = sampler_of(np.eye(3)[i], data, batch_size=24)
        model.fit(one, steps_per_epoch=1, verbose=0)
        losses[task] = one.log.losses[0]
    predicted = model.predict(X, verbose=0)
    expected = np.nanmean(np.abs(predicted["a"] - missing))
    assert losses["a"] == pytest.approx(expected, 1e-4)
    chosen = predicted["b"][np.arange(24), Y["b"]]
    expected = np.mean(-np.log(chosen) * weight)
    assert losses["b"] == pytest.approx(expected, 1e-4)


def test_loss_that_is_not_finite():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, **QUICK)
    data = {**DATA, "c": (X, np.full(24, np.inf, "float32"))}
    sampler = TaskSampler(
        data, keras_mtl.selection.Exp3S(seed=0), batch_size=8, seed=0
    )
    with pytest.warns(UserWarning, match="was not finite"):
        model.fit(
            sampler,
            verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()],
        )
    log = sampler.log
    assert not np.isfinite(log.losses[-1]) and log.rewards[-1] == 0.0


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.quick_on_torch
def test_continues_exactly_after_a_kill(tmp_path):
    if utils.BACKEND == "torch":
        pytest.skip("PyTorch's dropout draws from PyTorch's own generator")

    def train(*callbacks):
        keras.utils.clear_session(free_memory=False)
        model = dropout_model(0.5)
        model.compile("adam", "mse", **QUICK)
        policy = keras_mtl.selection.Exp3S(eta=0.1, seed=next(seeds))
        data = {"a": (X, Y["a"]), "b": (X, Y["c"])}
        sampler = TaskSampler(
            data, policy, batch_size=5, steps_per_epoch=4, seed=next(seeds)
        )
        keras.utils.set_random_seed(2)
        model.fit(sampler, epochs=4, verbose=0, callbacks=list(callbacks))
        return model, sampler

    seeds = iter([1, 2])
    expected, whole = train()
    backup = functools.partial(
        keras.callbacks.BackupAndRestore, str(tmp_path / "backup")
    )
    seeds = iter([1, 2])
    with pytest.raises(KeyboardInterrupt):
        train(backup(), Kill())
    # What is drawn from other seeds is restored, too.
    seeds = iter([3, 4])
    model, sampler = train(backup())
    for key, value in whole.get_state().items():
        np.testing.assert_allclose(
            sampler.get_state()[key], value, 1e-6, 1e-7, err_msg=key
        )
    assert_equal_values(values(model.variables), values(expected.variables))


def test_model_files_do_not_need_the_sampler(tmp_path):
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, **QUICK)
    sampler = sampler_of([0.2, 0.4, 0.4])
    path = str(tmp_path / "model.keras")
    model.fit(
        sampler, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)]
    )
    loaded = keras.models.load_model(path)
    assert_equal_values(values(loaded.variables), values(model.variables))
    again = sampler_of([0.2, 0.4, 0.4], seed=7)
    again.set_state(loaded.selection_state)
    for key, value in sampler.get_state().items():
        np.testing.assert_array_equal(again.get_state()[key], value, key)
    weights = str(tmp_path / "model.weights.h5")
    model.save_weights(weights)
    plain = training.small_model(keras.Model)
    plain.load_weights(weights)


@pytest.mark.skipif(utils.BACKEND == "torch", reason="not compiled")
def test_the_compiled_step_holds_nothing_of_other_tasks():
    keras.utils.set_random_seed(0)
    x = keras.Input((training.FEATURES,))
    h = layers.Dense(4, name="trunk")(x)
    tasks = [f"t{i}" for i in range(6)]
    model = keras_mtl.MultiTaskModel(
        x, {t: layers.Dense(1, name=t)(h) for t in tasks}
    )
    model.compile("adam", "mse", metrics=["mae"] * 6, **utils.COMPILED)
    data = {t: (X, Y["a"]) for t in tasks}
    model.fit(sampler_of(np.eye(6)[0], data), steps_per_epoch=1, verbose=0)
    function = model._single_task_steps.functions["t0"]
    if utils.BACKEND == "jax":
        # Two layers of two variables, with two moments each, iteration and
        # learning rate, and the metrics: loss, losses of tasks, error.
        assert len(function._used) == 4 + 8 + 2 + 6
    else:
        (concrete,) = function._list_all_concrete_functions()
        names = [v.path for v in concrete.variables if hasattr(v, "path")]
        names += [v.name for v in concrete.variables]
        assert any("t0" in name for name in names)
        assert not any("t1" in name for name in names)


def test_errors():
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile("sgd", training.LOSS, weighting="nash_mtl")
    with pytest.raises(ValueError, match='weighting="equal". Received'):
        model.fit(sampler_of([0.2, 0.4, 0.4]))
    model.compile("sgd", training.LOSS)
    with pytest.raises(ValueError, match="for each task of the model"):
        model.fit(sampler_of([1.0], {"a": DATA["a"]}))
    with pytest.raises(ValueError, match="no `y`. Received: y="):
        model.fit(sampler_of([0.2, 0.4, 0.4]), Y["a"])
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    model.compile(optimizer, training.LOSS)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        model.fit(sampler_of([0.2, 0.4, 0.4]))
