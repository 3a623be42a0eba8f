"""Heads that leave the trunk early cost what they depend on."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.training import balancing
from keras_mtl.training.task_gradients import TaskGradients
from tests import utils

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)).astype("float32")


def model_with_early_exits():
    x = keras.Input((3,))
    first = layers.Dense(4, "tanh", name="first")(x)
    second = layers.Dense(4, "tanh", name="second")(first)
    outputs = {
        "early": layers.Dense(1, name="early")(first),
        "late": layers.Dense(1, name="late")(second),
        "later": layers.Dense(1, name="later")(second),
    }
    model = keras_mtl.MultiTaskModel(x, outputs)
    model.compile("sgd", "mse", weighting="mgda", **utils.QUICKEST)
    return model


def test_what_a_task_does_not_reach_has_no_row(monkeypatch):
    model, seen = model_with_early_exits(), {}

    def spy(self):
        blocks = jacobian(self)
        for v, block in zip(self.measured, blocks):
            seen[v.path] = block.tasks
        return blocks

    jacobian = TaskGradients.jacobian
    monkeypatch.setattr(balancing.TaskGradients, "jacobian", spy)
    model.train_on_batch(X, {task: X[:, :1] for task in model.tasks})
    assert seen == {
        "first/kernel": [0, 1, 2],
        "first/bias": [0, 1, 2],
        "second/kernel": [1, 2],
        "second/bias": [1, 2],
    }


@pytest.mark.skipif(utils.BACKEND != "jax", reason="of JAX")
def test_what_an_output_does_not_depend_on_is_not_pulled_back():
    import jax

    from keras_mtl.training.jax.pullback import TrunkPullback

    first, second = np.eye(2, dtype="float32"), 2 * np.eye(2, dtype="float32")

    def trunk(values):
        h = values[0] @ X[:2, :2]
        return ({"early": h, "late": h @ values[1]}, [h.sum()]), None

    def pull(values, cotangents, added=()):
        return TrunkPullback(trunk, values).pull(cotangents, added)

    ones = np.ones((2, 2), "float32")
    early = jax.jit(pull)([first, second], {"early": ones, "late": None})
    assert early[1] is None
    np.testing.assert_allclose(early[0], ones @ X[:2, :2].T, rtol=1e-6)
    of_added = jax.jit(pull)([first, second], {}, [np.float32(3)])
    np.testing.assert_allclose(of_added[0], 3 * early[0], rtol=1e-6)
    both = pull([first, second], {"early": ones, "late": ones}, [np.float32(0)])
    assert both[1] is not None
    np.testing.assert_allclose(both[0], 3 * early[0], rtol=1e-6)
