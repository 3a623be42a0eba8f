import itertools
from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.gradvac import GradVac
from tests.compiled import compiled_call
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks, steps=20, size=6, agreement=0.5):
    rng = np.random.default_rng(0)
    size = np.atleast_1d(size)
    common = agreement * rng.normal(size=(steps, 1, *size))
    own = rng.normal(size=(steps, num_tasks, *size))
    scales = np.exp(rng.normal(size=(steps, num_tasks, *size[:-1], 1)))
    return ((common + own) * scales).astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


def vaccinate(gradients, targets, i, order, beta):
    """Algorithm 1 for task i in float64, on the gradients themselves."""
    gradient, targets = gradients[i].copy(), targets[i].copy()
    for j in order:
        other = gradients[j]
        norm, other_norm = np.linalg.norm(gradient), np.linalg.norm(other)
        cosine = gradient @ other / norm / other_norm
        target = targets[j]
        if cosine < target:
            numerator = target * np.sqrt(1 - cosine**2)
            numerator -= cosine * np.sqrt(1 - target**2)
            denominator = other_norm * np.sqrt(1 - target**2)
            gradient = gradient + norm * numerator / denominator * other
        targets[j] = (1 - beta) * target + beta * cosine
    return gradient, targets


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("beta", [0.5, 0.1])
def test_is_algorithm_1(beta):
    """The moving averages tell in which of the orders each task went."""
    weighting = GradVac(beta=beta)
    weighting.build((4,))
    step = compiled_call(weighting)
    corrected = 0
    for jacobian in jacobians(4):
        before = np.array(weighting.targets, "float64")
        weights = step(*arguments(jacobian))
        after = np.array(weighting.targets, "float64")
        gradients = jacobian.astype("float64")
        direction = 0.0
        for i in range(4):
            orders = itertools.permutations(set(range(4)) - {i})
            runs = [vaccinate(gradients, before, i, o, beta) for o in orders]
            errors = [np.abs(targets - after[i]).max() for _, targets in runs]
            assert min(errors) < 1e-6
            direction = direction + runs[int(np.argmin(errors))][0]
        np.testing.assert_allclose(
            weights @ gradients, direction, rtol=1e-4, atol=1e-5
        )
        corrected += weights.max() > 1 + 1e-6
    assert corrected > 15


def test_two_tasks_over_many_steps():
    step = partial(call, GradVac())
    targets = np.zeros((2, 2))
    for jacobian in jacobians(2, steps=40):
        gradients = jacobian.astype("float64")
        first, row = vaccinate(gradients, targets, 0, [1], 0.5)
        second, other = vaccinate(gradients, targets, 1, [0], 0.5)
        targets = np.stack([row, other])
        np.testing.assert_allclose(
            step(*arguments(jacobian)) @ gradients,
            first + second,
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_copy_has_the_target_as_its_cosine():
    weighting = GradVac()
    weighting.build((2,))
    weighting.targets.assign(np.array([[0.0, 0.8], [-1.0, 0.0]]))
    jacobian = jacobians(2)[0]
    weights = call(weighting, *arguments(jacobian))
    # With the target -1, the second copy is the second gradient.
    direction = weights @ jacobian - jacobian[1]
    cosine = direction @ jacobian[1] / np.linalg.norm(direction)
    assert cosine / np.linalg.norm(jacobian[1]) == pytest.approx(0.8, abs=1e-5)


def test_zero_gradients_change_no_target():
    weighting = GradVac()
    step = partial(call, weighting)
    step(*arguments(jacobians(3)[0]))
    before = np.array(weighting.targets)
    jacobian = jacobians(3)[1]
    jacobian[2] = 0.0
    weights = step(*arguments(jacobian))
    after = np.array(weighting.targets)
    assert weights[2] == 1.0
    np.testing.assert_array_equal(after[2], before[2])
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    assert np.all(after[[0, 1], [1, 0]] != before[[0, 1], [1, 0]])


def test_equal_gradients_stay_equal():
    """Their target tends to 1, where the formula divides by zero."""
    step = partial(call, GradVac())
    rng = np.random.default_rng(0)
    for _ in range(40):
        row = rng.normal(size=(1, 5)).astype("float32")
        weights = step(*arguments(np.concatenate([row, row])))
        np.testing.assert_allclose(weights, 1.0, rtol=1e-3)


def test_opposite_gradients_have_no_direction():
    jacobian = np.array([[1.0, 2.0], [-2.0, -4.0]], "float32")
    weights = call(GradVac(), *arguments(jacobian))
    np.testing.assert_allclose(weights @ jacobian, 0.0, atol=1e-6)


def test_names_a_bad_beta():
    with pytest.raises(ValueError, match="Received: beta=2"):
        GradVac(beta=2)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    weighting = GradVac()
    theirs = aggregation.GradVacWeighting(beta=0.5, eps=0.0)
    for jacobian in jacobians(2):
        losses, gramian = arguments(jacobian)
        np.testing.assert_allclose(
            np.array(weighting(losses, gramian)),
            theirs(torch.tensor(gramian)),
            rtol=1e-4,
        )


def test_groups_are_corrected_apart():
    weighting = GradVac(groups="layer")
    weighting.build((2,), (3, 2, 2))
    alone = [GradVac() for _ in range(3)]
    for parts in jacobians(2, steps=30, size=(3, 6)):
        losses = np.ones(2, "float32")
        gramians = np.einsum("ikp,jkp->kij", parts, parts)
        call(weighting, losses, gramians)
        expected = [
            call(one, losses, gramian) for one, gramian in zip(alone, gramians)
        ]
        np.testing.assert_allclose(
            np.array(weighting.weights_of_groups()), expected, rtol=1e-4
        )


def test_one_group_is_what_it_was_in_files():
    config = GradVac().get_config()
    assert "groups" not in config
    assert GradVac.from_config(config).groups == "model"
    weighting = GradVac()
    weighting.build((3,))
    assert weighting.targets.shape == (3, 3)
