import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import Chain
from keras_mtl.weightings import NashMTL
from keras_mtl.weightings import ScaleInvariant
from keras_mtl.weightings import Sum

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.every_backend
def test_the_second_method_sees_the_weighted_gradients():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(3, 20)).astype("float32")
    losses = np.array([0.1, 2.0, 7.0], "float32")
    chain = Chain(["scale_invariant", "nash_mtl"])
    weights = np.array(chain(losses, jacobian @ jacobian.T))
    weighted = jacobian / losses[:, None]
    alone = np.array(NashMTL()(losses / losses, weighted @ weighted.T))
    np.testing.assert_allclose(weights, alone / losses, rtol=1e-4)


@pytest.mark.parametrize("weigh_heads", [True, False])
def test_heads_follow_the_loss_balancing_alone(weigh_heads):
    losses = np.array([0.1, 2.0], "float32")
    chain = Chain(["scale_invariant", NashMTL(weigh_heads=weigh_heads)])
    chain(losses, np.eye(2, dtype="float32"))
    np.testing.assert_allclose(np.array(chain.head_weights()), 1 / losses)


def test_chain_with_sum_trains_as_the_loss_balancing_alone():
    def train(weighting):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        features = keras.layers.Dense(4, activation="relu")(inputs)
        outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
        model = keras_mtl.MultiTaskModel(inputs, outputs)
        model.compile("sgd", loss="mse", weighting=weighting)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(32, 3)).astype("float32")
        y = {"a": x[:, :1], "b": 10 * x[:, 1:2]}
        model.fit(x, y, epochs=4, batch_size=8, verbose=0, shuffle=False)
        return model.get_weights()[:6]

    for alone, chained in zip(train("igb_v1"), train(["igb_v1", "sum"])):
        np.testing.assert_allclose(chained, alone, atol=1e-6)


def test_tells_its_parts_of_epochs():
    chain = Chain(["igb_v1", "sum"])
    chain.build((2,))
    chain.on_epoch_begin()
    chain.on_epoch_end()
    assert int(chain.weightings[0].epochs) == 1


@pytest.mark.parametrize(
    "parts", [["equal"], ["nash_mtl", "equal"], ["equal", "random"], []]
)
def test_names_a_bad_order(parts):
    with pytest.raises(ValueError, match="Expected a chain of loss-balancing"):
        Chain(parts)


def test_takes_instances():
    chain = keras_mtl.weightings.get([ScaleInvariant(), Sum(update_every=3)])
    assert chain.measurement.update_every == 3
    assert chain.needs_positive_losses and not chain.needs_epochs
