"""A linear network of three tasks, whose gradients are known."""

import keras
import numpy as np

import keras_mtl
from tests.utils import BACKEND
from tests.utils import COMPILED
from tests.utils import EAGER
from tests.utils import QUICKEST
from tests.utils import further_cases

# How a test of many steps trains: as is quickest, and with `make test-slow` in
# the other way.
MODES = [EAGER]
if BACKEND != "torch":
    MODES = [COMPILED, *further_cases(EAGER)]

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = {"a": X[:, :1] * 2, "b": X[:, 1:2] ** 2, "c": -X[:, 2:]}


def make_model(
    weighting,
    rate=0.1,
    dropout=0.0,
    norm=False,
    tasks=Y,
    loss_scale=None,
    **kwargs,
):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4, use_bias=False)(inputs)
    if norm:
        features = keras.layers.BatchNormalization()(features)
        features = keras.layers.Dropout(dropout)(features)
    outputs = {
        name: keras.layers.Dense(1, use_bias=False)(features) for name in tasks
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    optimizer = keras.optimizers.SGD(rate)
    if loss_scale is not None:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, loss_scale)
    model.compile(
        optimizer,
        loss="mse",
        weighting=weighting,
        **{**QUICKEST, **kwargs},
    )
    return model


def make_multi_loss_model(weighting, rate=0.1, **kwargs):
    """The same network as a model that computes its losses itself."""

    class Model(keras_mtl.MultiLossModel):
        def __init__(self):
            super().__init__()
            self.trunk = keras.layers.Dense(4, use_bias=False)
            self.heads = [keras.layers.Dense(1, use_bias=False) for _ in Y]

        def call(self, x):
            features = self.trunk(x)
            return [head(features) for head in self.heads]

        def compute_task_losses(
            self, x, y, y_pred, sample_weight=None, training=True
        ):
            return {
                task: keras.ops.mean((y[task] - p) ** 2)
                for task, p in zip(Y, y_pred)
            }

    model = Model()
    model(X)
    model.set_weights(make_model("equal").get_weights())
    model.compile(
        keras.optimizers.SGD(rate),
        weighting=weighting,
        tasks=list(Y),
        **{**QUICKEST, **kwargs},
    )
    return model


def fit(model, epochs=1, **kwargs):
    tasks = {task: Y[task] for task in model.tasks}
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **kwargs}
    model.fit(X, tasks, epochs=epochs, **options)
    return model.get_weights()


def loss_and_gradients(trunk, head, y, x=X):
    """The loss of a task, a mean of squares, with its gradients."""
    x = x.astype("float64")
    error = x @ trunk @ head - y
    slope = 2 * error / len(x)
    return np.mean(error**2), x.T @ slope @ head.T, (x @ trunk).T @ slope
