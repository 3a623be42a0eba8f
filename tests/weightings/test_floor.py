"""`floor`: methods that follow the logarithms of losses see L + floor L̄₁."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.weightings import DBMTL
from keras_mtl.weightings import FAMO
from keras_mtl.weightings import Chain
from keras_mtl.weightings import Equal
from keras_mtl.weightings import IGBv1
from keras_mtl.weightings import IGBv2
from keras_mtl.weightings import ScaleInvariant
from keras_mtl.weightings import Uncertainty
from tests.compiled import compiled_call

pytestmark = pytest.mark.quick_on_torch

FLOOR = 0.1
# Those whose weights are about 1 / L, with the arguments that make it so.
FOLLOWING = {
    "scale_invariant": {},
    "igb_v1": {},
    "famo": {},
    "geometric_mean": {},
    "go4align": {},
    "igb_v2": {"agent": "keras", "seed": 0},
    "imtl_l": {},
    "ldc_mtl": {"normalization": "log"},
    "relobralo": {"seed": 0},
    "uncertainty": {},
    "uw_so": {},
    "dwa": {"scale_invariant": True},
}


def made(name, **arguments):
    cls = type(keras_mtl.weightings.get(name))
    return cls(**FOLLOWING[name], **arguments)


def weights_of(weighting, steps):
    weighting.build((2,))
    call = compiled_call(weighting)
    return np.stack([call(row) for row in np.asarray(steps, "float32")])


@pytest.mark.quick_on_torch(3)
@pytest.mark.parametrize("name", FOLLOWING)
def test_bounds_the_weight_of_a_loss_that_comes_close_to_zero(name):
    beginning = np.tile([1.0, 2.0], (5, 1))
    steps = np.concatenate([beginning, [[1.0, 2e-12]] * 3])
    weights = weights_of(made(name, floor=FLOOR), steps)
    # The mean of the first losses falls while there are fewer than 100.
    bound = 1 / FLOOR * len(steps) / len(beginning) * weights[0, 1]
    assert np.all(weights[:, 1] <= 3.0 * bound)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_loss_does_not_matter(scale):
    losses = np.random.default_rng(0).uniform(0.01, 2.0, (6, 2))
    expected = weights_of(ScaleInvariant(floor=FLOOR), losses)
    weights = weights_of(ScaleInvariant(floor=FLOOR), scale * losses)
    np.testing.assert_allclose(scale * weights, expected, rtol=1e-5)


def test_is_a_share_of_the_mean_of_the_first_losses():
    losses = np.random.default_rng(0).uniform(0.01, 2.0, (120, 2))
    losses[3, 1] = 0.0
    weights = weights_of(ScaleInvariant(floor=FLOOR), losses)
    assert weights[3, 1] == 0.0
    means = losses[:100, 0].cumsum() / np.arange(1, 101)
    means = np.concatenate([means, np.full(20, means[-1])])
    expected = 1 / (losses[:, 0] + FLOOR * means)
    np.testing.assert_allclose(weights[:, 0], expected, rtol=1e-5)
    labelled = np.delete(losses[:101, 1], 3)
    expected = 1 / (losses[-1, 1] + FLOOR * labelled.mean())
    assert weights[-1, 1] == pytest.approx(expected, rel=1e-5)


def test_db_mtl_bounds_the_weights_of_the_heads():
    weighting = DBMTL(floor=FLOOR)
    for loss in (2.0, 2e-12):
        losses = np.array([1.0, loss], "float32")
        weighting(losses, np.eye(2, dtype="float32"))
    heads = ops.convert_to_numpy(weighting.head_weights())
    assert heads[1] == pytest.approx(1 / (FLOOR * 1.0), rel=1e-5)


def test_famo_sees_the_losses_after_the_step_above_the_floor():
    weighting = FAMO(floor=1.0)
    weighting(np.array([1.0, 1.0], "float32"))
    weighting.after_step(np.array([1e-9, 1e-9], "float32"))
    np.testing.assert_allclose(np.array(weighting.logits), 0.0, atol=1e-6)
    gaps = np.array(weighting.gaps)
    np.testing.assert_allclose(gaps, 2.0, rtol=1e-6)


def test_the_agent_sees_what_it_is_rewarded_for():
    weighting = IGBv2(agent="keras", seed=0, floor=1.0, base_epoch=1)
    losses = np.array([1.0, 3.0], "float32")
    for _ in range(2):
        weighting(losses)
    weighting.on_epoch_end()
    weighting(losses)
    rewards = ops.convert_to_numpy(weighting.buffer.gather([0])["reward"])
    np.testing.assert_allclose(rewards, 0.0, atol=1e-6)


def test_no_floor_is_as_before():
    assert "floor" not in ScaleInvariant().get_config()
    config = ScaleInvariant(floor=FLOOR).get_config()
    assert ScaleInvariant.from_config(config).floor == FLOOR
    plain, zero = ScaleInvariant(), ScaleInvariant(floor=0.0)
    for weighting in (plain, zero):
        weighting.build((2,))
        assert len(weighting.variables) == 1


def test_the_floor_is_saved(tmp_path):
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting=IGBv1(floor=FLOOR))
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model.fit(x, {name: x[:, :1] for name in "ab"}, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").weighting
    assert loaded.floor == FLOOR
    assert np.all(np.array(loaded.first_mean) > 0)
    for new, old in zip(loaded.variables, model.weighting.variables):
        np.testing.assert_array_equal(np.array(new), np.array(old))


def test_says_where_a_floor_has_no_meaning():
    with pytest.raises(ValueError, match=r"Received: floor=0.1"):
        Equal(floor=0.1)(np.ones(2, "float32"))
    with pytest.raises(ValueError, match=r"Received: floor=0.1 for Chain"):
        Chain(["scale_invariant", "sum"], floor=0.1)
    with pytest.raises(ValueError, match=r"Received: floor=-1"):
        Uncertainty(floor=-1.0)
