"""What one huge loss or gradient leaves behind, for all methods."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.weightings import GO4Align
from keras_mtl.weightings import GradDrop
from keras_mtl.weightings import IGBv1
from keras_mtl.weightings import Uncertainty
from tests import utils
from tests.compiled import compiled_call

pytestmark = pytest.mark.quick_on_torch

# Those that remember losses or norms for longer than a few steps.
REMEMBERING = [
    *["uncertainty", "imtl_l", "bandit_mtl", "moco", "db_mtl"],
    *["excess_mtl", "pcd", "go4align", "gradnorm"],
]
# FAMO's many steps after the step are eager here; test_famo.py has the bound.
OTHERS = {*keras_mtl.weightings.names()} - {*REMEMBERING, "igb_v2"}
BEFORE, AFTER = 30, 90


def last_weights(name, huge):
    """The mean share of the weights of the last steps, after a huge loss."""
    keras.utils.set_random_seed(0)
    weighting = keras_mtl.weightings.get(name)
    weighting = type(weighting).from_config(weighting.get_config())
    weighting.build((3,))
    call = compiled_call(weighting)
    rng, shares = np.random.default_rng(0), []
    for step in range(BEFORE + AFTER):
        losses = rng.uniform(0.8, 1.25, 3) * [1.0, 2.0, 0.5]
        jacobian = rng.normal(size=(3, 12)) * [[1.0], [2.0], [0.5]] + 0.5
        after = 0.99 * losses
        if step == BEFORE:
            losses[0] *= huge
            jacobian[0] *= min(huge, 1e12)
        args = [losses.astype("float32")]
        if weighting.needs_gradients:
            args.append((jacobian @ jacobian.T).astype("float32"))
        weights = call(*args)
        if weighting.needs_losses_after:
            weighting.after_step(after.astype("float32"))
        if step >= BEFORE + AFTER - 20:
            shares.append(weights / weights.sum())
    state = [ops.convert_to_numpy(v) for v in weighting.variables]
    assert all(np.all(np.isfinite(value)) for value in state)
    return np.mean(shares, axis=0)


def check(name):
    usual = last_weights(name, 1.0)
    for huge in (1e6, 1e20):
        weights = last_weights(name, huge)
        np.testing.assert_allclose(weights, usual, atol=0.06)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "name", [*REMEMBERING[:5], *utils.further_cases(*REMEMBERING[5:])]
)
def test_one_huge_loss_is_forgotten(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_one_huge_loss_is_forgotten_by_all_others(name):
    check(name)


def arrays(weighting):
    return [ops.convert_to_numpy(v) for v in weighting.variables]


class Remembers(keras_mtl.weightings.Weighting):
    def build_state(self, num_tasks):
        self.squares = self.add_state((num_tasks,))

    def compute_weights(self, losses):
        self.squares.assign(losses**2)
        return ops.ones_like(losses)

    def update_after_step(self, losses):
        self.squares.assign(losses**3)


def test_a_state_that_is_not_finite_changes_nothing():
    weighting = Remembers()
    weighting(np.array([1.0, 2.0], "float32"))
    before = arrays(weighting)
    weighting(np.array([1e30, 2.0], "float32"))
    weighting.after_step(np.array([1e20, 2.0], "float32"))
    for new, old in zip(arrays(weighting), before):
        np.testing.assert_array_equal(new, old)


def test_a_file_with_a_state_that_is_not_finite_begins_anew():
    weighting = Uncertainty()
    weighting.build((2,))
    store = {}
    weighting.save_own_variables(store)
    store["1"] = np.full_like(store["1"], np.inf)
    before = arrays(weighting)
    with pytest.warns(UserWarning, match="a file in which it is not"):
        weighting.load_own_variables(store)
    for new, old in zip(arrays(weighting), before):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_seed_stays_where_a_step_is_not_finite(bad):
    weighting = GradDrop(seed=0)
    jacobian = np.random.default_rng(0).normal(size=(2, 5))
    weighting.aggregate(jacobian)
    before = arrays(weighting)
    weighting.aggregate(np.where(jacobian > 0, jacobian, bad))
    for new, old in zip(arrays(weighting), before):
        np.testing.assert_array_equal(new, old)
    weighting.aggregate(jacobian)
    assert any(map(np.any, map(np.not_equal, arrays(weighting), before)))


def test_a_huge_loss_gives_no_huge_weight_to_the_others():
    weights = np.array(GO4Align()(np.array([1e20, 1.0, 2.0], "float32")))
    assert weights.max() < 2e3


def test_a_huge_loss_does_not_decide_the_base():
    weighting = IGBv1(base_epoch=1)
    weighting.build((2,))
    weighting.on_epoch_begin()
    for scale in (1.0, 1.0, 1e15, 1.0):
        weighting(np.array([scale, 1.0], "float32"))
    assert np.all(np.array(weighting.base()) < 30.0)
