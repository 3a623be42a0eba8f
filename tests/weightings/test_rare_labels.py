"""What a batch without labels of a task does to the weights of all methods."""

import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import MoCo
from tests.compiled import compiled_call

pytestmark = pytest.mark.quick_on_torch

EVERY = 10
STEPS = 100

EXCEPTIONS = {
    "tchebycheff": "it gives all weight to one task",
    "krum": "it gives all weight to one or two tasks",
    "pcd": "the first task is the main one",
    "gcs": "the first task is the main one",
    "metabalance": "the first task is the main one",
    "pbi": "its weights turn with the smallest difference of the losses",
    "igb_v2": "its first weights are random",
    "random": "its weights do not depend on the tasks",
}
METHODS = [n for n in keras_mtl.weightings.names() if n not in EXCEPTIONS]
# Those of which the weights in a step depend on the steps before.
REMEMBERING = ["famo", "moco", "modo", "sdmgrad", "cr_mogm", "igb_v1"]


def made(name, num_tasks):
    weighting = keras_mtl.weightings.get(name)
    weighting = type(weighting).from_config(weighting.get_config())
    weighting.build((num_tasks,))
    return weighting


def means(name, num_tasks, steps):
    """The mean weights where the third task has a label, and where not.

    The losses of all tasks are alike and fall alike, and so are the gradients.
    """
    weighting = made(name, num_tasks)
    call = compiled_call(weighting)
    rng = np.random.default_rng(0)
    with_label, without = [], []
    for step in range(steps):
        losses = rng.uniform(0.9, 1.1, 3)[:num_tasks].astype("float32")
        jacobian = rng.normal(scale=0.3, size=(3, 100))[:num_tasks]
        labelled = step % EVERY == EVERY - 1
        if num_tasks == 3 and not labelled:
            losses[2], jacobian[2] = 0.0, 0.0
        if step % 20 == 0:
            weighting.on_epoch_begin()
        args = [losses]
        if weighting.needs_gradients:
            args.append((jacobian @ jacobian.T).astype("float32"))
        weights = call(*args)
        if weighting.needs_losses_after:
            weighting.after_step(0.9 * losses)
        if step % 20 == 19:
            weighting.on_epoch_end()
        if step >= steps // 2:
            (with_label if labelled else without).append(weights)
    return np.mean(with_label, axis=0), np.mean(without, axis=0)


def check(name, steps=STEPS):
    with_label, without = means(name, 3, steps)
    assert 0.6 < with_label[2] / with_label[:2].mean() < 1.6, with_label
    _, alone = means(name, 2, steps)
    without = without[:2] / without[:2].sum()
    np.testing.assert_allclose(without, alone / alone.sum(), atol=0.05)


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_rare_label_has_the_weight_of_the_others(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*METHODS} - {*REMEMBERING}))
def test_so_it_has_with_all_other_methods(name):
    check(name)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("name", ["modo", "sdmgrad", "moco", "cr_mogm"])
def test_the_others_have_what_they_have_without_the_task(name):
    """Step by step, and exactly, for the methods that share one weight."""
    three, two = made(name, 3), made(name, 2)
    for step in range(5):
        jacobian = np.random.default_rng(step).normal(size=(3, 12))
        jacobian[2] = 0.0
        gramian = (jacobian @ jacobian.T).astype("float32")
        losses = np.array([1.0, 1.0, 0.0], "float32")
        weights = np.array(three(losses, gramian))
        expected = np.array(two(losses[:2], gramian[:2, :2]))
        np.testing.assert_allclose(weights[:2], expected, rtol=1e-4)
        assert name == "cr_mogm" or weights[2] == 0.0


def test_an_average_of_weights_is_in_units_of_those_that_are_there():
    weighting = CRMOGM("mgda", alpha=0.5)
    losses = np.ones(3, "float32")
    whole = np.eye(3, dtype="float32")
    part = np.diag([1.0, 1.0, 0.0]).astype("float32")
    for gramian, expected in (
        (part, [1 / 2, 1 / 2, 0.0]),
        (whole, [1 / 3, 1 / 3, 1 / 3]),
        (part, [1 / 2, 1 / 2, 0.0]),
        (whole, [1 / 3, 1 / 3, 1 / 3]),
    ):
        weights = np.array(weighting(losses, gramian))
        np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_an_older_file_of_moco_has_no_mass():
    weighting, other = MoCo(), MoCo()
    losses, gramian = np.ones(2, "float32"), np.eye(2, dtype="float32")
    weighting(losses, gramian)
    store = {}
    weighting.save_own_variables(store)
    del store[str(len(store) - 1)]
    other.build((2,))
    other.load_own_variables(store)
    np.testing.assert_allclose(np.array(other.tracked), 0.1 * gramian)
    np.testing.assert_array_equal(np.array(other.mass), 1.0)
