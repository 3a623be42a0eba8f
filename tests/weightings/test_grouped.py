"""Weights of each layer: what a model makes of them."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import GradVac
from keras_mtl.weightings import MetaBalance
from tests.weightings.test_metabalance import X
from tests.weightings.test_metabalance import Y
from tests.weightings.test_metabalance import gradients_of
from tests.weightings.test_metabalance import model_of

pytestmark = pytest.mark.quick_on_torch


def step_of(model, variables, before):
    """The direction of one step on the shared variables, one array each."""
    model.fit(X, Y, batch_size=16, verbose=0)
    return [
        (old - np.array(v, "float64")) / 0.01
        for old, v in zip(before, variables)
    ]


def norm(arrays):
    return np.sqrt(sum((np.asarray(x) ** 2).sum() for x in arrays))


@pytest.mark.parametrize(
    "weighting, expected",
    [
        (MetaBalance(rescale="sum"), None),
        (MetaBalance(max_norm=0.25), 0.25),
        (GradVac(groups="layer", max_norm=0.25), 0.25),
    ],
)
def test_the_norm_is_that_of_all_groups(weighting, expected):
    model = model_of(weighting)
    variables, before, rows = gradients_of(model)
    if expected is None:
        expected = norm([sum(parts) for parts in zip(*rows)])
    found = norm(step_of(model, variables, before))
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_weight_of_a_task_is_along_its_gradient():
    model = model_of(MetaBalance(1.0, main="b"))
    _, _, rows = gradients_of(model)
    history = model.fit(X, Y, batch_size=16, verbose=0).history
    squares = np.array(
        [[norm(row[:2]) ** 2, norm(row[2:]) ** 2] for row in rows]
    )
    ratios = np.sqrt(squares[1] / squares)
    expected = (ratios * squares).sum(axis=1) / squares.sum(axis=1)
    for task, weight in zip(Y, expected):
        found = history[f"weight/{task}"][0]
        assert found == pytest.approx(weight, rel=1e-2)


def test_a_chain_weighs_the_losses_before():
    fixed = {"a": 2.0, "b": 0.5, "c": 1.0}
    models = [model_of(w) for w in (fixed, [fixed, MetaBalance(0.0)])]
    for model in models:
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for value, expected in zip(*(m.get_weights() for m in models[::-1])):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_layers_inside_of_a_layer_are_groups():
    inner = keras.Sequential([keras.layers.Dense(3) for _ in range(3)])
    inputs = keras.Input((3,))
    features = inner(inputs)
    outputs = {task: keras.layers.Dense(1)(features) for task in Y}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", "mse", weighting=MetaBalance())
    assert model.weighting.num_groups == 3


def test_frozen_layers_make_other_groups():
    model = model_of(MetaBalance())
    model.get_layer("first").trainable = False
    with pytest.raises(ValueError, match="for the 1 groups .*in use for 2"):
        model.compile("sgd", "mse", weighting=model.weighting)
    model.compile("sgd", "mse", weighting=MetaBalance())
    model.fit(X, Y, verbose=0)


def test_names_a_wrong_shape():
    weighting = GradVac(groups="variable")
    weighting.build((2,), (3, 2, 2))
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\).*=\(2, 2\)"):
        weighting(np.ones(2), np.eye(2))
    with pytest.raises(ValueError, match='groups="model"'):
        CRMOGM(MetaBalance())
