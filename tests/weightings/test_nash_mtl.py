import numpy as np
import pytest

from keras_mtl.weightings import NashMTL

pytestmark = pytest.mark.quick_on_torch

LOSSES = np.ones(3, "float32")


def jacobian(seed=0, num_tasks=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_tasks, 20)).astype("float32")


@pytest.mark.every_backend
def test_solves_the_bargaining_equation():
    gradients = jacobian()
    gramian = gradients @ gradients.T
    alpha = np.array(NashMTL()(LOSSES, gramian), "float64")
    np.testing.assert_allclose(alpha * (gramian @ alpha), 1.0, atol=1e-5)


def test_two_gradients_point_where_the_sum_of_unit_gradients_does():
    gradients = jacobian(num_tasks=2) * np.array([[1e-3], [10.0]], "float32")
    direction = np.array(NashMTL().aggregate(gradients))
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    expected = units.sum(axis=0)
    cosine = direction @ expected / np.linalg.norm(direction)
    assert cosine / np.linalg.norm(expected) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_direction_is_clipped_to_max_norm(scale):
    direction = np.array(NashMTL(max_norm=0.5).aggregate(jacobian() * scale))
    # The unclipped direction has norm sqrt(T).
    assert np.linalg.norm(direction) == pytest.approx(0.5, rel=1e-4)
    free = np.array(NashMTL(max_norm=None).aggregate(jacobian() * scale))
    assert np.linalg.norm(free) == pytest.approx(np.sqrt(3), rel=1e-4)
    large = np.array(NashMTL(max_norm=9.0).aggregate(jacobian() * scale))
    np.testing.assert_allclose(large, free, rtol=1e-5)


def test_update_every_reuses_weights():
    weighting = NashMTL(update_every=3)
    gramians = [jacobian(seed) @ jacobian(seed).T for seed in range(7)]
    weights = [np.array(weighting(LOSSES, gramian)) for gramian in gramians]
    for i in range(7):
        anew = np.array(NashMTL()(LOSSES, gramians[i - i % 3]))
        np.testing.assert_allclose(weights[i], anew, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gradients": "both"}, "Received: gradients='both'"),
        ({"update_every": 0}, "Received: update_every=0"),
        ({"max_norm": -1.0}, "Received: max_norm=-1.0"),
        (
            {"gradients": "features", "shared": ["trunk"]},
            r"Received: shared=\['trunk'\]",
        ),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NashMTL(**arguments)
