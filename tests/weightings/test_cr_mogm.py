from functools import partial

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import NashMTL
from keras_mtl.weightings.cr_mogm import CRMOGM
from keras_mtl.weightings.graddrop import GradDrop
from keras_mtl.weightings.modo import MoDo
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks=4, steps=30, size=30):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps, num_tasks, size)).astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


def inverse_of_two(jacobian):
    """Nash-MTL for two tasks, from the gradients in float64."""
    g, h = jacobian.astype("float64")
    norms = np.array([np.linalg.norm(g), np.linalg.norm(h)])
    return 1 / norms / np.sqrt(1 + g @ h / norms.prod())


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_averages_the_weights(alpha):
    """The recursion is written out as a sum over all steps."""
    step = partial(call, CRMOGM(NashMTL(), alpha))
    past = []
    for jacobian in jacobians(num_tasks=2):
        past.append(inverse_of_two(jacobian))
        shares = (1 - alpha) * alpha ** np.arange(len(past))[::-1]
        shares[0] = alpha ** (len(past) - 1)
        expected = shares @ np.array(past)
        np.testing.assert_allclose(
            step(*arguments(jacobian)), expected, rtol=2e-5
        )


def test_the_inner_method_keeps_its_own_state():
    inner = partial(call, MoDo(gamma=0.01))
    outer = partial(call, CRMOGM(MoDo(gamma=0.01), alpha=0.5))
    average = None
    for jacobian in jacobians():
        weights = inner(*arguments(jacobian))
        average = weights if average is None else (average + weights) / 2
        np.testing.assert_allclose(
            outer(*arguments(jacobian)), average, atol=1e-5
        )


def test_a_step_that_is_not_finite_changes_nothing():
    weighting = CRMOGM(MoDo(gamma=0.01))
    losses, gramian = arguments(jacobians()[0])
    before = np.array(weighting(losses, gramian))
    state = [np.array(v) for v in weighting.variables]
    after = weighting(losses, np.full_like(gramian, np.nan))
    np.testing.assert_array_equal(np.array(after), before)
    for new, old in zip(weighting.variables, state):
        np.testing.assert_array_equal(np.array(new), old)


def test_takes_over_the_arguments_of_the_method():
    inner = NashMTL(gradients="features", max_norm=2.0)
    outer = CRMOGM(inner)
    assert outer.measurement.gradients == "features"
    assert outer.measurement.max_norm == 2.0
    assert outer.weigh_heads
    assert CRMOGM(inner, max_norm=None).measurement.max_norm is None


def test_names_methods_that_it_cannot_average():
    for weighting in ("equal", GradDrop(), NashMTL(update_every=2)):
        with pytest.raises(ValueError, match="Received: weighting=<"):
            CRMOGM(weighting)
    with pytest.raises(ValueError, match="Received: alpha=1.0"):
        CRMOGM(NashMTL(), alpha=1.0)


def test_trains_a_model_and_is_saved_with_it(tmp_path):
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting=CRMOGM(MoDo(), alpha=0.5))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model.fit(x, {name: x[:, :1] for name in "ab"}, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").weighting
    assert type(loaded.weighting) is MoDo
    assert np.array(loaded.started) == 1.0
    for new, old in zip(loaded.variables, model.weighting.variables):
        np.testing.assert_array_equal(np.array(new), np.array(old))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    ours = CRMOGM(MoDo(0.02, 0.1), alpha=0.8)
    theirs = aggregation.CRMOGMWeighting(
        aggregation.MoDoWeighting(0.02, 0.1), alpha=0.8
    )
    for jacobian in jacobians():
        losses, gramian = arguments(jacobian)
        np.testing.assert_allclose(
            np.array(ours(losses, gramian)),
            theirs(torch.tensor(gramian)),
            atol=1e-5,
        )
