import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import IMTLL
from keras_mtl.weightings import Uncertainty

pytestmark = pytest.mark.quick_on_torch


def reference(losses, factors, learning_rate):
    """Adam on Σ c L exp(-s) + s / 2, in float64, by finite differences."""
    s = np.zeros(losses.shape[1])
    first, second = np.zeros_like(s), np.zeros_like(s)
    weights = []
    for t, step in enumerate(losses, start=1):
        weights.append(factors * np.exp(-s))

        def objective(s, step=step):
            return factors * step * np.exp(-s) + s / 2

        gradient = (objective(s + 1e-5) - objective(s - 1e-5)) / 2e-5
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step_size = learning_rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        s = s - step_size * first / (np.sqrt(second) + 1e-7)
    return np.stack(weights)


@pytest.mark.parametrize(
    "form, factors",
    [
        ("regression", [0.5, 0.5, 0.5]),
        ("classification", [1.0, 1.0, 1.0]),
        (["regression", "classification", "regression"], [0.5, 1.0, 0.5]),
    ],
)
@pytest.mark.quick_on_torch(1)
def test_trains_log_variance_with_adam(form, factors):
    losses = np.random.default_rng(0).uniform(0.1, 4.0, (30, 3))
    weighting = Uncertainty(form, learning_rate=0.02)
    weights = [np.array(weighting(step)) for step in losses.astype("float32")]
    expected = reference(losses, np.array(factors), 0.02)
    np.testing.assert_allclose(np.stack(weights), expected, rtol=1e-4)


def test_reaches_the_minimum_of_a_constant_loss():
    # d/ds (L exp(-s) / 2 + s / 2) = 0 at exp(s) = L.
    weighting = Uncertainty(learning_rate=0.02)
    losses = np.array([0.5, 1.0, 3.0], "float32")
    for _ in range(800):
        weights = weighting(losses)
    np.testing.assert_allclose(np.array(weights), 0.5 / losses, rtol=1e-2)


def test_a_task_without_labels_keeps_its_variance():
    weighting = Uncertainty(learning_rate=0.1)
    weighting(np.array([2.0, 3.0], "float32"))
    before = np.array(weighting.log_variance)
    weighting(np.array([0.0, 3.0], "float32"))
    after = np.array(weighting.log_variance)
    assert after[0] == before[0] and after[1] != before[1]


def test_follows_the_learning_rate_of_the_model():
    inputs = keras.Input((2,))
    features = keras.layers.Dense(3)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [2], [0.25, 0.125]
    )
    model.compile(
        keras.optimizers.SGD(schedule),
        loss="mse",
        weighting=Uncertainty(learning_rate=None),
    )
    x = np.ones((4, 2), "float32")
    y = {name: np.zeros((4, 1), "float32") for name in "ab"}
    rates = []
    for _ in range(4):
        model.fit(x, y, verbose=0)
        rates.append(float(model.weighting.model_learning_rate))
    assert rates == [0.25, 0.25, 0.25, 0.125]


METHODS = {"uncertainty": Uncertainty, "imtl_l": IMTLL}


@pytest.mark.every_backend
@pytest.mark.parametrize("name", METHODS)
def test_the_default_is_the_official_learning_rate(name):
    """An own one, whatever that of the model is; files keep what they had."""
    cls = METHODS[name]
    losses = np.array([0.5, 3.0], "float32")
    default, official = cls(), cls(learning_rate=0.025)
    for _ in range(3):
        weights, expected = default(losses), official(losses)
    np.testing.assert_array_equal(np.array(weights), np.array(expected))
    assert not default.learning_rate_variables
    config = cls().get_config()
    assert config["learning_rate"] == 0.025
    del config["learning_rate"]
    assert cls.from_config(config).learning_rate is None
    config["learning_rate"] = None
    assert cls.from_config(config).learning_rate is None


@pytest.mark.parametrize("name", METHODS)
def test_loads_a_file_of_weights_of_the_models_rate(name):
    old, new = METHODS[name](learning_rate=None), METHODS[name]()
    losses = np.array([0.5, 3.0], "float32")
    for _ in range(3):
        old(losses)
    store = {}
    old.save_own_variables(store)
    new.build((2,))
    new.load_own_variables(store)
    weights = np.array(new(losses))
    np.testing.assert_array_equal(weights, np.array(old(losses)))
    [rate] = [v for v in new.variables if v.path.endswith("learning_rate")]
    assert float(rate) == pytest.approx(0.025)


def test_names_a_bad_form():
    with pytest.raises(ValueError, match="Received: form=ranking"):
        Uncertainty("ranking")
    with pytest.raises(ValueError, match="one entry for each of 3 tasks"):
        Uncertainty(["regression"] * 2)(np.ones(3, "float32"))
