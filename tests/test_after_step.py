"""What a weighting is told after the step, and what that leaves unchanged."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import Weighting

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = {"a": X[:, :1] * 2, "b": X[:, 1:2] + 1}


@keras.saving.register_keras_serializable(package="tests")
class Recorder(Weighting):
    needs_losses_after = True

    def build_state(self, num_tasks):
        self.before = self.add_state((num_tasks,))
        self.after = self.add_state((num_tasks,))

    def compute_weights(self, losses):
        self.before.assign(losses)
        return 0.0 * losses + 1.0

    def update_after_step(self, losses):
        self.after.assign(losses)


def make_model(weighting, learning_rate, dropout=0.5, **kwargs):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    features = keras.layers.Dense(16, activation="relu")(inputs)
    features = keras.layers.BatchNormalization()(features)
    features = keras.layers.Dropout(dropout)(features)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss="mse",
        weighting=weighting,
        **kwargs,
    )
    return model


def fit(model, **kwargs):
    model.fit(X, Y, batch_size=6, shuffle=False, verbose=0, **kwargs)
    return [np.array(v) for v in model.variables]


def test_both_passes_have_the_same_dropout():
    recorder = Recorder()
    fit(make_model(recorder, learning_rate=0.0))
    before, after = np.array(recorder.before), np.array(recorder.after)
    assert np.all(before > 0.0)
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("chained", [False, True])
def test_the_losses_are_those_after_the_update(chained):
    recorder = Recorder()
    weighting = [recorder, "sum"] if chained else recorder
    model = make_model(weighting, 0.05, dropout=0.0)
    x, y = X[:6], {task: labels[:6] for task, labels in Y.items()}
    model.fit(x, y, batch_size=6, verbose=0)
    after = np.array(recorder.after)
    # Batch normalization by the batch, as in training.
    predicted = model(x, training=True)
    for i, task in enumerate("ab"):
        error = keras.ops.convert_to_numpy(predicted[task]) - y[task]
        np.testing.assert_allclose(after[i], np.mean(error**2), rtol=1e-4)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kwargs", [{}, {"loss_weights": {"a": 2.0}}])
def test_leaves_the_step_as_it_is(kwargs):
    plain = make_model("equal", 0.1, **kwargs)
    recorded = make_model(Recorder(), 0.1, **kwargs)
    history = []
    for model in (plain, recorded):
        keras.utils.set_random_seed(1)  # PyTorch's dropout is of its own.
        settings = dict(batch_size=6, epochs=2, shuffle=False, verbose=0)
        history.append(model.fit(X, Y, **settings).history)
    for key, values in history[0].items():
        np.testing.assert_allclose(values, history[1][key], rtol=1e-5)
    for v, w in zip(plain.weights, recorded.weights):
        np.testing.assert_allclose(np.array(v), np.array(w), atol=1e-6)
