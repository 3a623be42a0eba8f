"""What a subclass overrides, with each kind of weighting and of use."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.selection import TaskSampler
from keras_mtl.training.gramian import TaskGramian
from keras_mtl.weightings import Sum
from tests import utils

RNG = np.random.default_rng(5)
X = RNG.uniform(size=(8, 5)).astype("float32")
Y = {task: RNG.normal(size=(8, 1)).astype("float32") for task in "ab"}
IS_JAX = utils.BACKEND == "jax"
# On JAX, single operations take longer to compile than a step.
MODE = utils.COMPILED if IS_JAX else utils.EAGER


class Call(keras_mtl.MultiTaskModel):
    def call(self, inputs, training=None, mask=None):
        outputs = super().call(3.0 * inputs, training=training, mask=mask)
        return {name: 2.0 * x for name, x in outputs.items()}


class TracksOwn:
    """Tracks a mean of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="own")


class OfTheSum(TracksOwn):
    """Is not the sum of the task losses, and takes losses of layers twice."""

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        y = {**y, "b": 2.0 * y["b"]}
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        own = 5.0 * ops.mean(y_pred["a"] ** 2) + sum(self.losses)
        self.tracker.update_state(own)
        return 1.5 * loss + own


class Tracking(TracksOwn, keras_mtl.MultiTaskModel):
    pass


class ComputeLoss(OfTheSum, keras_mtl.MultiTaskModel):
    pass


class WithoutTraining(keras_mtl.MultiTaskModel):
    """Has the signature of Keras before 3.3."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        loss = super().compute_loss(x, y, y_pred, sample_weight)
        return loss + ops.mean(y_pred["a"] ** 2)


class ComputeMetrics(Tracking):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.tracker.update_state(y_pred["a"])
        return super().compute_metrics(x, y, y_pred, sample_weight)


class TrainStep(keras_mtl.MultiTaskModel):
    """Doubles the inputs; the data come last."""

    def train_step(self, *args):
        *state, (x, *rest) = args
        return super().train_step(*state, (2.0 * x, *rest))


class TestStep(keras_mtl.MultiTaskModel):
    __test__ = False

    def test_step(self, *args):
        *state, (x, *rest) = args
        return super().test_step(*state, (2.0 * x, *rest))


class PredictStep(keras_mtl.MultiTaskModel):
    def predict_step(self, *args):
        outputs = super().predict_step(*args)
        if IS_JAX:
            return {k: -v for k, v in outputs[0].items()}, outputs[1]
        return {k: -v for k, v in outputs.items()}


OVERRIDES = [
    Call,
    ComputeLoss,
    WithoutTraining,
    ComputeMetrics,
    TrainStep,
    TestStep,
    PredictStep,
]
WEIGHTINGS = {
    "loss": lambda: keras_mtl.weightings.Constant([1.0, 1.0]),
    "parameters": Sum,
    "features": lambda: Sum(gradients="features"),
    "part": lambda: Sum(gramian_batch=0.5, update_every=2, max_norm=1e9),
}


def build(cls, weighting, **mode):
    keras.utils.set_random_seed(1)
    x = keras.Input((5,))
    h = layers.Dense(4, activation="tanh", activity_regularizer="l2")(x)
    h = layers.BatchNormalization()(h)
    outputs = {task: layers.Dense(1, bias_regularizer="l1")(h) for task in "ab"}
    model = cls(x, outputs)
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, "mse", weighting=weighting, **(mode or MODE))
    return model


def weights_of(model):
    own = {id(v) for v in model.weighting.variables}
    return [np.array(v) for v in model.variables if id(v) not in own]


def outcome(cls, weighting, **mode):
    """What a training, an evaluation and a prediction give."""
    model = build(cls, weighting, **mode)
    options = dict(batch_size=4, shuffle=False, verbose=0)
    run = model.fit(X, Y, validation_data=(X, Y), **options)
    predictions = {}
    if model._overrides("call") or model._overrides("predict_step"):
        predictions = model.predict(X, verbose=0)
    return weights_of(model), run.history, predictions


PLAIN = {}
# On PyTorch, all of them take no time.
QUICK = {(Call, "features"), (ComputeLoss, "parameters"), (TrainStep, "part")}


def unless_slow(*values, is_quick=False):
    is_quick = is_quick or utils.BACKEND == "torch"
    return pytest.param(*values, marks=[] if is_quick else pytest.mark.slow)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "cls, weighting",
    [
        unless_slow(cls, weighting, is_quick=(cls, weighting) in QUICK)
        for cls in OVERRIDES
        for weighting in WEIGHTINGS
    ],
)
def test_trains_as_with_equal_weights(cls, weighting):
    """Sums of gradients are the gradient of plain Keras's own loss."""
    if cls not in PLAIN:
        PLAIN[cls] = outcome(cls, "equal")
    expected = PLAIN[cls]
    found = outcome(cls, WEIGHTINGS[weighting]())
    keras.tree.map_structure(
        lambda x, y: np.testing.assert_allclose(x, y, 1e-4, 1e-5),
        expected,
        found,
    )


@pytest.mark.slow
@pytest.mark.skipif(utils.BACKEND != "tensorflow", reason="is as above")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("cls", [Call, ComputeLoss])
def test_trains_as_with_equal_weights_compiled(cls, jit_compile):
    expected = outcome(cls, "equal")
    found = outcome(cls, Sum(), jit_compile=jit_compile)
    keras.tree.map_structure(
        lambda x, y: np.testing.assert_allclose(x, y, 1e-4, 1e-5),
        expected,
        found,
    )


def test_equal_weights_train_as_plain_keras_with_the_override():
    """What `ComputeLoss` does, written for `keras.Model`."""

    class Plain(OfTheSum, keras.Model):
        pass

    def make(cls, **kwargs):
        model = build(keras_mtl.MultiTaskModel, "equal")
        model = cls(model.input, model.output)
        optimizer = keras.optimizers.SGD(0.05)
        model.compile(optimizer, {t: "mse" for t in "ab"}, **kwargs, **MODE)
        run = model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
        return model.get_weights()[:12], run.history

    (plain, expected), (ours, found) = (
        make(Plain),
        make(ComputeLoss, weighting="sum"),
    )
    for x, y in zip(plain, ours):
        np.testing.assert_allclose(x, y, 1e-4, 1e-5)
    for name in ("loss", "own", "a_loss", "b_loss"):
        np.testing.assert_allclose(expected[name], found[name], 1e-5)


def test_the_gramian_is_that_of_the_task_losses_of_an_override():
    """The labels of `b` are doubled, and a factor is no task's."""
    gramian = TaskGramian(build(ComputeLoss, "equal", **utils.COMPILED))(X, Y)
    doubled = {"a": Y["a"], "b": 2 * Y["b"]}
    plain = build(keras_mtl.MultiTaskModel, "equal", **utils.COMPILED)
    np.testing.assert_allclose(gramian, TaskGramian(plain)(X, doubled), 1e-5)


def test_a_gramian_changes_no_tracker_of_an_override():
    model = build(ComputeLoss, "sum")
    model.train_on_batch(X, Y)
    before = [np.array(v) for v in model.metrics_variables]
    TaskGramian(model)(X, Y)
    for x, v in zip(before, model.metrics_variables):
        np.testing.assert_array_equal(x, np.array(v))


class TwiceTheSum(keras_mtl.MultiTaskModel):
    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + super().compute_loss(x, y, y_pred, sample_weight)


class OwnLoss(keras_mtl.MultiTaskModel):
    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return ops.mean((y_pred["a"] - y["a"]) ** 2)


class OwnStep(keras_mtl.MultiTaskModel):
    """Returns a loss alone, and trains nothing."""

    def train_step(self, *args):
        logs = {"loss": ops.ones(())}
        return (logs, args[0]) if IS_JAX else logs


class OwnStepWithLoss(keras_mtl.MultiTaskModel):
    def train_step(self, *args):
        x, y = args[-1]
        if IS_JAX:
            trainable, others, optimizer, metrics = args[0]
            loss, _ = self.stateless_compute_loss(
                trainable, others, metrics, x, y, {t: x[:, :1] for t in "ab"}
            )
            return {"loss": loss}, args[0]
        return {"loss": self.compute_loss(x, y, self(x, training=True))}


@pytest.mark.parametrize(
    "cls, weighting, message",
    [
        (TwiceTheSum, "sum", "once, .* TwiceTheSum, which calls it again"),
        (OwnLoss, "sum", "calls `super.*task losses.* OwnLoss"),
        (OwnLoss, "uncertainty", "asks the weighting.* OwnLoss, whose compute"),
        (OwnStep, "sum", "asks the weighting.* OwnStep, whose train_step"),
        (OwnStep, "dwa", "asks the weighting.* OwnStep, whose train_step"),
        (OwnStepWithLoss, "sum", "happens in `train_step`.* OwnStepWithLoss"),
    ],
)
def test_what_cannot_be_balanced_is_refused(cls, weighting, message):
    model = build(cls, weighting)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("mode", set(utils.MODES) - {"eager"} or ["eager"])
def test_a_step_may_return_its_loss_alone(mode):
    run = build(OwnStep, "equal", **utils.MODES[mode]).fit(X, Y, verbose=0)
    assert run.history["loss"] == [1.0]
    model = build(OwnStepWithLoss, "dwa", **utils.MODES[mode])
    assert len(model.fit(X, Y, verbose=0).history["loss"]) == 1


@pytest.mark.parametrize(
    "weighting",
    ["uncertainty", "sum"]
    + [
        unless_slow(name)
        for name in ("dwa", "igb_v1", "famo", "bandit_mtl", "imtl_l")
        + ("go4align", "random")
    ],
)
def test_state_changes_in_steps_alone(weighting):
    model = build(WithoutTraining, weighting)
    model.fit(X, Y, verbose=0)
    optimizer = model.optimizer.variables
    state = [*model.weighting.variables, *optimizer]
    before = [np.array(v) for v in state]
    value = model.evaluate(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="outside of a training step"):
        loss = model.compute_loss(X, Y, model(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compute_loss(X, Y, model(X))
    np.testing.assert_allclose(ops.convert_to_numpy(loss), value[0], 1e-5)
    for x, v in zip(before, state):
        np.testing.assert_array_equal(x, np.array(v))


def sampler():
    return TaskSampler(
        {task: (X, y) for task, y in Y.items()},
        policy=keras_mtl.selection.Fixed([1.0, 0.0]),
        batch_size=4,
        shuffle=False,
    )


def test_a_task_sampler_runs_the_own_call():
    weights = []
    for cls, factor in ((Call, 1.0), (keras_mtl.MultiTaskModel, 3.0)):
        model = build(cls, "equal")
        # The loss of the outputs times 2 is that of half the labels times 4.
        data = sampler()
        if cls is not Call:
            data = TaskSampler(
                {task: (factor * X, y / 2) for task, y in Y.items()},
                policy=keras_mtl.selection.Fixed([1.0, 0.0]),
                batch_size=4,
                shuffle=False,
            )
            model.compile(
                keras.optimizers.SGD(0.05), "mse", loss_weights=[4, 4], **MODE
            )
        model.fit(data, verbose=0, steps_per_epoch=2)
        weights.append(weights_of(model))
    for x, y in zip(*weights):
        np.testing.assert_allclose(x, y, 1e-5, 1e-6)


@pytest.mark.parametrize("cls", [ComputeLoss, ComputeMetrics, TrainStep])
def test_a_task_sampler_refuses_what_is_about_all_tasks(cls):
    model = build(cls, "equal")
    message = f"of one task.*{cls.__name__}, which over"
    with pytest.raises(ValueError, match=message):
        model.fit(sampler(), verbose=0)


def test_a_task_sampler_and_a_call_that_needs_all_outputs():
    class Both(keras_mtl.MultiTaskModel):
        def call(self, inputs, training=None, mask=None):
            outputs = super().call(inputs, training=training, mask=mask)
            return {"a": outputs["a"], "b": outputs["b"]}

    with pytest.raises(ValueError, match="the output of one task, 'a'.* Both"):
        build(Both, "equal").fit(sampler(), verbose=0)


def test_data_of_each_task_and_an_own_test_step():
    model = build(TestStep, "equal")
    data = {task: (X, y) for task, y in Y.items()}
    with pytest.raises(ValueError, match="`test_step`.* TestStep"):
        model.fit(sampler(), validation_data=data, verbose=0)
