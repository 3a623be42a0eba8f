"""Subclasses of `keras.Model` that compute a loss for each task."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import weightings
from keras_mtl.backend.keras_internals import stateless_scope
from tests import utils

RNG = np.random.default_rng(12)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = {t: RNG.normal(size=(12, 1)).astype("float32") for t in "ab"}
TASKS = ["a", "b", "size"]


def trunk():
    return layers.Dense(5, "tanh", kernel_regularizer="l2", name="trunk")


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class Own(keras_mtl.MultiLossModel):
    """The third task has no label, and is a loss of two outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trunk = trunk()
        self.heads = [layers.Dense(1, name=task) for task in "ab"]

    def call(self, x):
        h = self.trunk(x)
        return {task: head(h) for task, head in zip("ab", self.heads)}

    def compute_task_losses(
        self, x, y, y_pred, sample_weight=None, training=True
    ):
        losses = {t: ops.mean((y[t] - y_pred[t]) ** 2) for t in "ab"}
        return {**losses, "size": ops.mean(y_pred["a"] * y_pred["b"]) ** 2}


def own(weighting, model=None, **options):
    keras.utils.set_random_seed(8)
    model = Own() if model is None else model
    options = {**utils.QUICKEST, **options}
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, weighting=weighting, **options)
    return model


class Product(layers.Layer):
    def call(self, inputs):
        a, b = inputs
        # A square of the mean, which is no mean over examples.
        return ops.mean(a * b) ** 2


def functional(weighting, **options):
    keras.utils.set_random_seed(8)
    x = keras.Input((3,))
    h = trunk()(x)
    a, b = (layers.Dense(1, name=task)(h) for task in "ab")
    outputs = {"a": a, "b": b, "size": Product()([a, b])}
    model = keras_mtl.MultiTaskModel(x, outputs)
    loss = {"a": "mse", "b": "mse", "size": keras_mtl.losses.OutputIsLoss()}
    options = {**utils.QUICKEST, **options}
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, loss, weighting=weighting, **options)
    return model


METHODS = {
    "sum": weightings.Sum,
    "pcgrad": lambda: weightings.PCGrad(seed=3),
    "uncertainty": weightings.Uncertainty,
    "equal": weightings.Equal,
    "nash_mtl": weightings.NashMTL,
    "update_every": lambda: weightings.CAGrad(update_every=2),
    "famo": weightings.FAMO,
    "part": lambda: weightings.MGDA(gramian_batch=0.5),
    "not linear": weightings.TrimmedMean,
    "epochs": weightings.DWA,
}


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("name", METHODS)
def test_it_has_the_numbers_of_the_functional_model(name):
    options = dict(batch_size=4, epochs=2, shuffle=False, verbose=0)
    models = functional(METHODS[name]()), own(METHODS[name]())
    histories = [
        model.fit(X, Y, validation_data=(X, Y), **options).history
        for model in models
    ]
    assert histories[0].keys() == histories[1].keys()
    for key, values in histories[0].items():
        np.testing.assert_allclose(
            histories[1][key], values, 1e-4, 1e-5, err_msg=key
        )
    for v, other in zip(*[m.trainable_variables for m in models]):
        np.testing.assert_allclose(other, v, 1e-5, 1e-5, err_msg=v.path)
    assert models[1].tasks == TASKS


@pytest.mark.quick_on_torch
def test_compiled_steps_and_another_weighting():
    model = own("nash_mtl", **utils.COMPILED)
    history = model.fit(X, Y, verbose=0, validation_split=0.5).history
    assert np.isfinite(history["val_size_loss"])
    history = model.fit(X, Y, verbose=0, weighting="uncertainty").history
    np.testing.assert_allclose(history["weight/a"], 0.5)
    assert type(model.weighting) is weightings.Uncertainty


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("weighting", ["uncertainty", "nash_mtl"])
def test_it_is_saved_and_goes_on(tmp_path, weighting):
    model = own(weighting)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "own.keras")
    loaded = keras.models.load_model(tmp_path / "own.keras")
    assert loaded.tasks == TASKS
    for v, other in zip(model.weighting.variables, loaded.weighting.variables):
        np.testing.assert_array_equal(v, other)
    logs = [m.train_on_batch(X, Y) for m in (model, loaded)]
    np.testing.assert_allclose(*logs, rtol=1e-6)


@pytest.mark.any_backend
def test_it_is_saved_before_its_tasks_are_known(tmp_path):
    model = own("uncertainty")
    model(X)
    model.save(tmp_path / "own.keras")
    loaded = keras.models.load_model(tmp_path / "own.keras")
    assert np.all(np.isfinite(loaded.evaluate(X, Y, verbose=0)))
    assert type(loaded.weighting) is weightings.Uncertainty


class Passes(Own):
    """Needs two forward passes with other random numbers and statistics."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.dropout = layers.Dropout(0.5, seed=1)
        self.mean_size = keras.metrics.Mean(name="mean_size")

    def call(self, x, training=None):
        x = self.norm(x, training=training)
        return super().call(self.dropout(x, training=training))

    def compute_task_losses(
        self, x, y, y_pred, sample_weight=None, training=True
    ):
        again = self(x, training=training)
        self.mean_size.update_state(ops.abs(again["a"]))
        return {
            "a": ops.mean((y["a"] - y_pred["a"]) ** 2),
            "agreement": ops.mean((again["b"] - y_pred["b"]) ** 2),
        }


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("weighting", ["cagrad", "uncertainty"])
def test_losses_may_need_several_forward_passes(weighting):
    model = own(weighting, Passes(), metrics={"a": ["mae"], "b": ["mae"]})
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert {"agreement_loss", "a_mae", "mean_size"} <= logs.keys()
    assert logs["agreement_loss"] > 0 and logs["mean_size"] > 0
    # Each of the passes moves the statistics and draws random numbers.
    momentum = model.norm.momentum**2
    variance = ops.convert_to_numpy(model.norm.moving_variance)
    expected = momentum + (1.0 - momentum) * X.var(axis=0)
    np.testing.assert_allclose(variance, expected, 1e-4)
    logs = model.test_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(logs["agreement_loss"], 0.0, atol=1e-10)


@pytest.mark.any_backend
def test_gramian_and_shared_layers():
    plain = functional("equal")
    model = own(weightings.MGDA(shared=["trunk"]))
    model.train_on_batch(X, Y)
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(
        model.gramian(X, Y), plain.gramian(X, Y), 1e-4, 1e-6
    )
    cosines = keras_mtl.callbacks.GradientCosines((X, Y))
    model.fit(X, Y, verbose=0, callbacks=[cosines])
    assert cosines.cosines.shape == (1, 3, 3)
    with pytest.raises(ValueError, match=r"layers .* not have: \['other'\]"):
        model.fit(X, Y, weighting=weightings.MGDA(shared=["other"]))


@pytest.mark.any_backend
def test_another_class_of_keras_beside_it():
    class Base(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.units = units
            self.dense = layers.Dense(units)

        def call(self, x):
            return self.dense(x)

    class Both(keras_mtl.MultiLossModel, Base):
        def compute_task_losses(self, x, y, y_pred, **kwargs):
            return {"mean": ops.mean(y_pred) ** 2, "size": ops.mean(y_pred**2)}

    model = own("cagrad", Both(4))
    assert np.isfinite(model.fit(X, verbose=0).history["loss"][0])


# Bad input


class Returns(Own):
    def __init__(self, losses):
        super().__init__()
        self.losses_of = losses

    def compute_task_losses(self, x, y, y_pred, **kwargs):
        return self.losses_of(y_pred)


@pytest.mark.parametrize(
    "losses, received",
    [
        (lambda p: {"a": p["a"], "b": ops.mean(p["b"])}, "'a'.* shape .12, 1."),
        (lambda p: ops.mean(p["a"]), "a dict of task to scalar"),
        (lambda p: {"a": ops.mean(p["a"])}, r"two or more tasks.*\['a'\]"),
        (
            lambda p: {"a": ops.mean(p["a"]), "b": 0.0 * ops.mean(X)},
            r"losses of \['b'\] that depend on none",
        ),
    ],
    ids=["vector", "one tensor", "one task", "no variable"],
)
def test_bad_losses(losses, received):
    model = own("sum", Returns(losses))
    with pytest.raises(ValueError, match=f"(?s)Expected .*{received}"):
        model.train_on_batch(X, Y)


# Each loss is that of a task "b" beside one that depends on all variables.
LOST = {
    "data": lambda model, p: 0.0 * ops.mean(X),
    "stopped": lambda model, p: ops.mean(ops.stop_gradient(p["b"])),
    "frozen": lambda model, p: ops.mean(model.frozen(X)),
}


class Lost(Returns):
    def __init__(self, loss):
        super().__init__(lambda p: {"a": ops.mean(p["a"]), "b": loss(self, p)})
        self.frozen = layers.Dense(2, trainable=False)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "igb_v1"])
@pytest.mark.parametrize("name", LOST)
def test_a_task_that_no_variable_reaches(name, weighting):
    model = own(weighting, Lost(LOST[name]))
    with pytest.raises(ValueError, match=r"of \['b'\] that depend on none"):
        model.fit(X, Y, verbose=0)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("options", [utils.EAGER, utils.COMPILED])
def test_a_task_that_no_variable_reaches_in_any_mode(options):
    model = own("dwa", Lost(LOST["frozen"]), **options)
    with pytest.raises(ValueError, match=r"of \['b'\] that depend on none"):
        model.fit(X, Y, verbose=0)


@pytest.mark.quick_on_torch
def test_layers_may_be_frozen_between_trainings():
    model = own("equal", Lost(lambda model, p: ops.mean(p["b"])))
    model.fit(X, Y, verbose=0)
    model.heads[1].trainable = False
    own("equal", model).fit(X, Y, verbose=0)  # The trunk is still trained.
    model.trunk.trainable = False
    own("equal", model)
    with pytest.raises(ValueError, match=r"of \['b'\] that depend on none"):
        model.fit(X, Y, verbose=0)


@pytest.mark.any_backend
def test_tasks_that_change():
    names = iter(["b", "b", "c"])

    def losses(p):
        return {"a": ops.mean(p["a"]), next(names): ops.mean(p["b"])}

    model = own("sum", Returns(losses), **utils.EAGER)
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*of \['a', 'c'\]"):
        for _ in range(3):
            model.train_on_batch(X, Y)


@pytest.mark.any_backend
def test_nothing_is_shared():
    def losses(p):
        return {t: ops.mean(p[t]) for t in "ab"}

    class Apart(Returns):
        def call(self, x):
            return {t: head(x) for t, head in zip("ab", self.heads)}

    model = own("sum", Apart(losses))
    with pytest.raises(ValueError, match="tasks .'a', 'b'., which share"):
        model.train_on_batch(X, Y)
    own("uncertainty", Apart(losses)).train_on_batch(X, Y)


@pytest.mark.any_backend
def test_arguments_that_are_refused():
    class Without(keras_mtl.MultiLossModel):
        pass

    with pytest.raises(ValueError, match="method `compute_task_losses.self, x"):
        Without().compile("sgd")
    with pytest.raises(ValueError, match="no `loss`.*Received: loss='mse'"):
        own("equal", loss="mse")
    with pytest.raises(ValueError, match='Expected gradients="parameters"'):
        model = own(weightings.MGDA(gradients="features"))
        model.train_on_batch(X, Y)
    with pytest.raises(ValueError, match="weighs all shared variables togeth"):
        own(weightings.GradVac(groups="variable")).train_on_batch(X, Y)
    data = {task: (X, Y["a"]) for task in TASKS}
    with pytest.raises(ValueError, match="a `TaskSampler` goes with a `Multi"):
        own("equal").fit(keras_mtl.selection.TaskSampler(data))


def test_a_loss_that_cannot_be_traced():
    def losses(p):
        if stateless_scope() is not None:
            raise TypeError("no number")
        return {t: ops.mean(p[t]) for t in "ab"}

    model = own("sum", Returns(losses))
    with pytest.raises(ValueError, match=r"tasks=\[...\]\)`.*Received: ."):
        model.train_on_batch(X, Y)


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("weighting", ["famo", "moco"])
def test_it_resumes_in_a_new_model(tmp_path, weighting):
    def train(*callbacks):
        model = own(weighting)
        model.compile(
            "adam", weighting=weightings.get(weighting), **utils.QUICKEST
        )
        options = dict(batch_size=4, shuffle=False, verbose=0, epochs=3)
        model.fit(X, Y, callbacks=list(callbacks), **options)
        return [*utils.arrays(model.variables), *model.history.epoch]

    expected = train()
    backup = keras_mtl.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(backup, Stop())
    resumed = train(keras_mtl.callbacks.BackupAndRestore(tmp_path))
    assert resumed.pop() == 2 and resumed.pop() == 1
    for one, other in zip(expected, resumed):
        np.testing.assert_allclose(one, other, 1e-5, 1e-7)
