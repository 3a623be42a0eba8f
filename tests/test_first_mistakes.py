"""The mistakes of a beginner, and that what is said tells what to type."""

import functools
import re
import sys
import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import selection
from keras_mtl import weightings
from tests import utils

X = np.zeros((8, 3), "float32")
Y = {"a": np.zeros((8, 1), "float32"), "b": np.zeros((8, 2), "float32")}
LOSS = {"a": "mse", "b": "mse"}


def graph(trainable=True):
    x = keras.Input((3,))
    h = layers.Dense(4, name="trunk", trainable=trainable)(x)
    a = layers.Dense(1, name="head_a")(h)
    return x, {"a": a, "b": layers.Dense(2, name="head_b")(h)}


def compiled(weighting="equal"):
    model = keras_mtl.MultiTaskModel(*graph())
    model.compile("sgd", LOSS, weighting=weighting, **utils.EAGER)
    return model


def sampler():
    return selection.TaskSampler({t: (X, Y[t]) for t in Y}, batch_size=8)


def raises(*text, error=ValueError):
    return pytest.raises(error, match=".*".join(map(re.escape, text)))


def typed(error):
    """Returns the code that an error says to type."""
    return re.search(r"Type `([^`]+)`", str(error.value))[1]


# Validation labels


class Batches(keras.utils.PyDataset):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return X, self.y


class NoStep(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        pytest.fail("a step was taken")


@pytest.mark.parametrize(
    "data, text",
    [
        ((X,), ["Expected validation labels", "'a', 'b'", "None. Type `val"]),
        (X, ["Expected validation labels", "Received: None"]),
        ((X, {"a": Y["a"]}), ["validation labels for all", "Missing: ['b']"]),
        ((X, [Y["a"]]), ["Expected validation labels", "Received: 1 values"]),
        ((X, {**Y, "c": X}), ["The validation labels have keys", "['c']"]),
        ((X, Y, {"c": X[:, 0]}), ["`sample_weight` has keys", "Type `valid"]),
    ],
    ids=["x", "array", "one task", "list", "unknown", "weights"],
)
@pytest.mark.parametrize("selects", [False, True])
def test_validation_data_without_labels(data, text, selects):
    train = (sampler(),) if selects else (X, Y)
    with raises(*text):
        compiled().fit(
            *train, validation_data=data, callbacks=[NoStep()], verbose=0
        )


def test_validation_data_of_tensorflow_without_labels():
    tf = pytest.importorskip("tensorflow")
    for data in X, (X, {"a": Y["a"]}):
        data = tf.data.Dataset.from_tensor_slices(data).batch(4)
        with raises("Expected validation labels", "Type `validation_data=(x, "):
            compiled().fit(
                *(X, Y),
                validation_data=data,
                callbacks=[NoStep()],
                verbose=0,
            )


def test_validation_batches_without_labels():
    missing = "Expected validation labels for all tasks", "Missing: ['b']"
    fit = functools.partial(compiled().fit, X, Y, verbose=0)
    with raises(*missing):
        data = Batches({"a": Y["a"]})
        fit(validation_data=data, callbacks=[NoStep()])
    with raises(*missing):
        # What a generator yields is seen when it is its turn.
        batches = ((X, {"a": Y["a"]}) for _ in range(2))
        fit(validation_data=batches, validation_steps=1)
    with raises("Expected labels for all tasks", "Missing: ['b']"):
        compiled().evaluate(X, {"a": Y["a"]}, verbose=0)


def test_validation_data_of_tasks_without_labels():
    with raises("validation labels for the task 'b'", '{"b": (x, y), ...}'):
        compiled().fit(
            sampler(),
            validation_data={"a": (X, Y["a"]), "b": (X,)},
            callbacks=[NoStep()],
            verbose=0,
        )


@pytest.mark.once
def test_validation_data_that_are_as_they_should_be():
    weights = {"a": np.ones(8), "b": None}
    for data in (X, Y), (X, [Y["a"], Y["b"]]), [X, Y, weights], Batches(Y):
        logs = compiled().fit(X, Y, validation_data=data, verbose=0).history
        assert "val_b_loss" in logs


def test_validation_data_of_a_model_with_its_own_step():
    class Own(keras_mtl.MultiTaskModel):
        def test_step(self, *args):
            # On JAX the state comes first.
            state, logs = args[:-1], {"own": ops.ones(())}
            return (logs, *state) if state else logs

    model = Own(*graph())
    model.compile("sgd", LOSS, **utils.EAGER)
    logs = model.fit(X, Y, validation_data=(X,), verbose=0).history
    assert logs["val_own"] == [1.0]


# What a weighting is called with


@pytest.mark.once
@pytest.mark.parametrize("name", ["igb_v1", "nash_mtl"])
def test_losses_in_a_list(name):
    weighting = weightings.get(name)
    known = [np.eye(2, dtype="float32")] * weighting.needs_gradients
    losses = [1.0, 2.0]
    with raises("`keras.ops.convert_to_tensor(losses)`", "losses=[1.0, 2.0]"):
        weighting(losses, *known)
    with raises("`losses` to be a tensor", "losses={'a': 1.0"):
        weighting({"a": 1.0, "b": 2.0}, *known)
    with raises("array of shape (T,)", "Received: losses=1.0"):
        weighting(1.0, *known)
    losses = [ops.convert_to_tensor(x) for x in losses]
    with raises("Stack them: `keras.ops.stack(losses)`. Received: losses=["):
        weighting(losses, *known)
    assert tuple(weighting(ops.stack(losses), *known).shape) == (2,)
    # Whole numbers are losses, too.
    assert tuple(weighting(np.array([1, 2]), *known).shape) == (2,)


def test_a_gramian_in_a_list():
    gramian = [[1.0, 0.0], [0.0, 1.0]]
    with raises("`keras.ops.convert_to_tensor(gramian)`", "gramian=[[1.0"):
        weightings.Sum()(np.ones(2), gramian)
    with raises("`keras.ops.convert_to_tensor(gramian)`", "gramian=[[1.0"):
        weightings.Sum()(losses=np.ones(2), gramian=gramian)


# What a model is made from


def test_a_plain_model():
    inputs, outputs = graph()
    for given in outputs, list(outputs.values()):
        model = keras.Model(inputs, given)
        with pytest.raises(ValueError) as error:
            keras_mtl.MultiTaskModel(model)
        made = eval(typed(error), {"keras_mtl": keras_mtl, "model": model})
        made.compile(loss="mse", weighting="nash_mtl", **utils.EAGER)
        assert len(made.tasks) == 2
    assert made.tasks == ["head_a", "head_b"]


@pytest.mark.once
def test_a_model_without_a_graph_and_a_layer_without_a_call():
    class Subclassed(keras.Model):
        pass

    with raises("'own' is not Functional: write it with `x = keras.Input("):
        keras_mtl.MultiTaskModel(Subclassed(name="own"))
    head = layers.Dense(1, name="head")
    with raises("The layer 'head' was not called", "`layer(features)`"):
        keras_mtl.MultiTaskModel(keras.Input((3,)), {"a": head, "b": head})


@pytest.mark.once
@pytest.mark.parametrize("module", ["tf_keras.src.engine", "keras.engine"])
def test_tensors_of_keras_2(module):
    other = type("KerasTensor", (), {"__module__": module})()
    inputs, outputs = graph()
    for given in (other, outputs), (inputs, {**outputs, "b": other}):
        with raises(f"of {module} is of Keras 2", "with `import keras`"):
            keras_mtl.MultiTaskModel(*given)


# Nothing to balance


@pytest.mark.once
def test_a_frozen_trunk():
    model = keras_mtl.MultiTaskModel(*graph(trainable=False))
    with raises(
        "frozen layers only: ['trunk']",
        'a loss balancing, such as weighting="uncertainty"',
        "unfreeze one, `model.get_layer('trunk').trainable = True`",
    ):
        model.compile("sgd", LOSS, weighting="nash_mtl")
    model.get_layer("trunk").trainable = True
    model.compile("sgd", LOSS, weighting="nash_mtl")


@pytest.mark.once
def test_a_trunk_that_is_frozen_after_compile():
    model = compiled("nash_mtl")
    model.get_layer("trunk").trainable = False
    with raises("frozen layers only: ['trunk']. Either use a loss balancing"):
        model.fit(X, Y, verbose=0)


# Export


@pytest.mark.skipif(utils.BACKEND != "torch", reason="SavedModels are written")
def test_a_saved_model_on_torch(tmp_path):
    with raises("Received: format='tf_saved_model' on PyTorch", "`format="):
        compiled().export(tmp_path / "model", verbose=False)


def test_onnx_without_its_packages(tmp_path, monkeypatch):
    by_backend = {"tensorflow": "tf2onnx", "jax": "jax2onnx", "torch": "onnx"}
    missing = by_backend[utils.BACKEND]
    monkeypatch.setitem(sys.modules, "onnx", types.ModuleType("onnx"))
    sys.modules["onnx"].__spec__ = object()
    monkeypatch.setitem(sys.modules, missing, None)
    with raises(f"Type `pip install {missing}`", error=ImportError):
        compiled().export(tmp_path / "m.onnx", format="onnx", verbose=False)


# A weighting in the place of another argument


@pytest.mark.once
@pytest.mark.parametrize(
    "weighting", ["nash_mtl", weightings.NashMTL(), ["igb_v1", "nash_mtl"]]
)
def test_a_weighting_by_position(weighting):
    model = keras_mtl.MultiTaskModel(*graph())
    text = "a weighting by its keyword: `model.compile(optimizer, loss, weight"
    with raises(text, "Received: loss_weights="):
        model.compile("sgd", LOSS, weighting)
    if not isinstance(weighting, list):
        with raises(text, "Received: metrics="):
            model.compile("sgd", LOSS, None, weighting)
        with raises(text, "Received: loss="):
            model.compile("sgd", weighting)
    model = compiled()
    text = "a weighting by its keyword: `model.fit(x, y, weighting="
    for arguments, name in [
        ((X, weighting), "y"),
        ((X, Y, weighting), "batch_size"),
        ((X, Y, 8, weighting), "epochs"),
        ((X, Y, 8, 1, weighting), "verbose"),
        ((X, Y, 8, 1, 0, weighting), "callbacks"),
        ((sampler(), weighting), "y"),
    ]:
        with raises(text, f"Received: {name}="):
            model.fit(*arguments)


@pytest.mark.once
@pytest.mark.once
@pytest.mark.parametrize(
    "abbreviation, name",
    [("UW", "uncertainty"), ("SI", "scale_invariant"), ("rlw", "random")],
)
def test_what_papers_call_a_weighting(abbreviation, name):
    with raises(f"Unknown weighting: '{abbreviation}'. Did you mean '{name}'?"):
        weightings.get(abbreviation)


@pytest.mark.once
def test_an_argument_that_a_weighting_does_not_have():
    with raises("'gradients'", "update_evry=5. Did you mean `update_every`?"):
        weightings.NashMTL(update_evry=5)
    with raises("Expected arguments of DWA:", "'temperature'", "T=2.0."):
        weightings.DWA(T=2.0)
    assert weightings.DWA(name="mine", trainable=False).name == "mine"


def test_arguments_that_are_no_weightings():
    model = keras_mtl.MultiTaskModel(*graph())
    metrics = {"a": ["mae"], "b": ["mae"]}
    model.compile("sgd", "mse", [1.0, 2.0], metrics, **utils.EAGER)
    model.compile("sgd", "mse", None, [["mae"], ["mae"]], **utils.EAGER)
    model.fit(X, Y, 8, 1, "auto", [keras.callbacks.TerminateOnNaN()])


# Plots and policies


@pytest.mark.any_backend
@pytest.mark.parametrize("plot", ["task_losses", "task_weights"])
def test_a_plot_of_the_history_of_another_model(plot):
    pytest.importorskip("matplotlib")
    history = {"loss": [2.0], "a_loss": [1.0], "b_loss": [1.0]}
    with raises("train `keras_mtl.MultiTaskModel(inputs, outputs)`", "'a_los"):
        getattr(keras_mtl.plots, plot)(history)


def log_of(steps, tasks="abc"):
    log = selection.SelectionLog(tasks=list(tasks))
    for i in range(steps):
        log.append(i % len(tasks), propensity=1 / len(tasks), reward=i / steps)
    return log


@pytest.mark.any_backend
def test_too_few_steps_for_a_policy():
    pytest.importorskip("cma")
    with raises("of 2 steps without ['c']. Log at least 90 steps, 30 per"):
        selection.counterfactual_policy(log_of(2))
    with pytest.warns(match="at least 90 .*from 9 logged steps. Log at least"):
        selection.counterfactual_policy(log_of(9), seed=0, iterations=2)


@pytest.mark.any_backend
def test_a_sampler_in_place_of_its_log():
    with raises("such as `sampler.log` of a `TaskSampler`", "TaskSampler"):
        selection.counterfactual_policy(sampler())


@pytest.mark.any_backend
def test_a_class_is_looked_for_in_the_package_itself():
    with pytest.raises(AttributeError, match=r"keras_mtl.weightings.NashMTL$"):
        keras_mtl.NashMTL  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'$"):
        keras_mtl.nothing  # noqa: B018
    assert not hasattr(keras_mtl, "NashMTL")
