"""`rescale="sum"`: a direction with the norm of the plain sum."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import weightings
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch

CLASSES = {
    name: type(weightings.get(name))
    for name in weightings.names()
    if weightings.get(name).needs_gradients
    # `rescale` is an argument of the method inside of it.
    and not weightings.get(name).perturbs
}
LINEAR = [name for name, cls in CLASSES.items() if cls().is_linear]
# They draw their weights anew in each call.
DRAWN = {"pcgrad", "gradvac"}


@pytest.mark.quick_on_torch(2)
@pytest.mark.parametrize("name", LINEAR)
def test_the_norm_is_that_of_the_sum(name):
    weighting, plain = CLASSES[name](rescale="sum"), CLASSES[name]()
    for jacobian in steps(5, 12)[:3]:
        direction = direction_of(weighting, jacobian)
        expected = np.linalg.norm(jacobian.sum(axis=0))
        assert np.linalg.norm(direction) == pytest.approx(expected, rel=1e-4)
        if name not in DRAWN:
            other = direction_of(plain, jacobian)
            along = direction @ other / np.linalg.norm(direction)
            assert along == pytest.approx(np.linalg.norm(other), rel=1e-4)


def test_stays_where_the_direction_cancels():
    gramian = np.array([[1.0, -1.0], [-1.0, 1.0]])
    weights = np.array(weightings.MGDA(rescale="sum")(np.ones(2), gramian))
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-5)
    assert np.all(np.isfinite(weights)) and weights.max() <= 1.0


def test_max_norm_comes_after_it():
    weighting = weightings.MGDA(rescale="sum", max_norm=1.0)
    direction = np.array(weighting.aggregate(10.0 * np.eye(3)))
    assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-5)


def length_of_a_step(weighting):
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = {"a": x[:, :1], "b": 5 * x[:, 1:2] ** 2}
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    shared = keras.layers.Dense(4)
    features = shared(inputs)
    outputs = {task: keras.layers.Dense(1)(features) for task in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", "mse", weighting=weighting)
    before = [np.array(v) for v in shared.variables]
    model.fit(x, y, batch_size=16, verbose=0)
    after = [np.array(v) for v in shared.variables]
    return sum(((a - b) ** 2).sum() for a, b in zip(after, before)) ** 0.5


def test_a_step_of_sgd_is_as_long_as_that_of_the_sum():
    expected = length_of_a_step(weightings.Sum())
    length = length_of_a_step(weightings.MGDA(rescale="sum"))
    assert length == pytest.approx(expected, rel=1e-3)
    assert length_of_a_step(weightings.MGDA()) < 0.5 * expected


@pytest.mark.parametrize("name", sorted({*CLASSES} - {*LINEAR}))
def test_what_is_no_weighted_sum_has_no_norm_beforehand(name):
    with pytest.raises(ValueError, match="or `rescale`. .*rescale='sum'"):
        CLASSES[name](rescale="sum")


def test_names_bad_values_and_is_saved():
    with pytest.raises(ValueError, match='`rescale` to be "sum". Received: r'):
        weightings.MGDA(rescale="mean")
    config = keras.saving.serialize_keras_object(weightings.MGDA())
    assert "rescale" not in config["config"]
    for weighting in (
        weightings.MGDA(rescale="sum"),
        weightings.CAGrad(rescale="sum"),
        weightings.CAGrad(rescale=2),
    ):
        config = keras.saving.serialize_keras_object(weighting)
        again = keras.saving.deserialize_keras_object(config)
        assert again.rescale == weighting.rescale


@pytest.mark.parametrize("name", ["mgda", "imtl_g"])
def test_gradients_may_differ_by_many_decades(name):
    jacobian = np.random.default_rng(0).normal(size=(3, 8))
    jacobian *= np.array([[1e10], [1.0], [1e-10]])
    direction = direction_of(CLASSES[name](rescale="sum"), jacobian)
    expected = np.linalg.norm(jacobian.sum(axis=0))
    assert np.linalg.norm(direction) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "made",
    [
        weightings.NashMTL,
        weightings.FairGrad,
        weightings.NTKMTL,
        lambda **kwargs: weightings.CRMOGM("nash_mtl", **kwargs),
        lambda **kwargs: weightings.CRMOGM(weightings.MGDA(**kwargs)),
    ],
)
def test_the_default_bound_and_an_average_leave_the_norm(made):
    weighting = made(rescale="sum")
    config = keras.saving.serialize_keras_object(weighting)
    again = keras.saving.deserialize_keras_object(config)
    for jacobian in steps(5, 12)[:2]:
        expected = 10.0 * np.linalg.norm(jacobian.sum(axis=0))
        for known in (weighting, again):
            direction = np.array(known.aggregate(10.0 * jacobian))
            norm = np.linalg.norm(direction)
            assert norm == pytest.approx(expected, rel=1e-4)
    assert weightings.NashMTL().measurement.max_norm == 1.0
    assert weightings.FairGrad(max_norm=2.0).measurement.max_norm == 2.0
