import doctest
import itertools

import keras
import numpy as np
import pytest
import scipy.cluster.vq
from keras import ops

from keras_mtl.solvers import kmeans as module
from keras_mtl.solvers.kmeans import kmeans_1d

pytestmark = pytest.mark.quick_on_torch


def fit(points, num_groups, counted=None):
    points = np.asarray(points, "float32")
    counted = None if counted is None else np.array(counted)
    means = kmeans_1d(points, num_groups, counted)
    return ops.convert_to_numpy(means).astype("float64")


def best_of_all_partitions(points, num_groups):
    """Tries every partition into groups, also those that are not intervals."""
    best = None
    for labels in itertools.product(range(num_groups), repeat=len(points)):
        labels = np.array(labels)
        means = np.zeros(len(points))
        for group in set(labels):
            means[labels == group] = points[labels == group].mean()
        error = np.square(points - means).sum()
        if best is None or error < best[0]:
            best = error, means
    return best[1]


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_tasks, num_groups", [(2, 2), (5, 2), (7, 3)])
def test_is_the_best_of_all_partitions(num_tasks, num_groups, seed):
    points = np.exp(np.random.default_rng(seed).normal(size=num_tasks))
    np.testing.assert_allclose(
        fit(points, num_groups),
        best_of_all_partitions(points, num_groups),
        rtol=1e-5,
    )


@pytest.mark.parametrize("num_tasks, num_groups", [(11, 5), (40, 4), (100, 8)])
def test_is_not_worse_than_the_best_of_many_runs_of_scipy(
    num_tasks, num_groups
):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(num_tasks, 1))
    runs = [
        scipy.cluster.vq.kmeans(points, num_groups, iter=5, rng=rng)[0]
        for _ in range(20)
    ]
    errors = [
        np.square(scipy.cluster.vq.vq(points, centers)[1]).sum()
        for centers in runs
    ]
    means = fit(points[:, 0], num_groups)
    assert len(np.unique(means)) == num_groups
    error = np.square(points[:, 0] - means).sum()
    assert error <= min(errors) * (1 + 1e-5)


def test_groups_that_can_be_seen():
    points = [5.1, 0.1, 9.0, 5.0, 0.0, 0.2, 4.9]
    np.testing.assert_allclose(
        fit(points, 3), [5.0, 0.1, 9.0, 5.0, 0.1, 0.1, 5.0], rtol=1e-5
    )


@pytest.mark.parametrize("num_groups", [4, 9])
def test_enough_groups_leave_each_number_alone(num_groups):
    points = [3.0, 1e-16, 1e16, -2.0]
    np.testing.assert_allclose(fit(points, num_groups), points, rtol=1e-6)


def test_one_group_is_the_mean():
    points = np.random.default_rng(0).normal(size=9)
    np.testing.assert_allclose(fit(points, 1), points.mean(), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-16, 1.0, 1e16, 1e30])
def test_scale_and_order_do_not_matter(scale):
    points = np.exp(np.random.default_rng(0).normal(size=8))
    order = np.random.default_rng(1).permutation(8)
    np.testing.assert_allclose(
        fit(points[order] * scale, 3), fit(points, 3)[order] * scale, rtol=1e-5
    )


def test_an_offset_costs_no_groups():
    # The squares of such numbers differ in the last digits of float32.
    points = np.array([0.0, 1.0, 8.0, 9.0, 20.0])
    np.testing.assert_allclose(
        fit(points + 4096, 3), [4096.5, 4096.5, 4104.5, 4104.5, 4116.0]
    )


def test_uncounted_numbers_do_not_move_the_groups():
    points = np.array([1.0, 2.0, 70.0, 9.0, 10.0])
    counted = [True, True, False, True, True]
    means = fit(points, 2, counted)
    np.testing.assert_allclose(means[[0, 1, 3, 4]], [1.5, 1.5, 9.5, 9.5])
    assert np.all(np.isfinite(fit(points, 2, [False] * 5)))


def test_equal_numbers_are_their_own_mean():
    np.testing.assert_allclose(fit([3.0] * 6, 4), 3.0)
    np.testing.assert_allclose(fit([0.0] * 6, 4), 0.0)


def test_compiled_is_as_eager():
    points = np.random.default_rng(0).normal(size=11).astype("float32")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda x: kmeans_1d(x, 3), jit_compile=True)
    elif backend == "jax":
        import jax

        function = jax.jit(lambda x: kmeans_1d(x, 3))
    else:
        pytest.skip("nothing to compile")
    means = ops.convert_to_numpy(function(ops.convert_to_tensor(points)))
    np.testing.assert_allclose(means, fit(points, 3), rtol=1e-5)


def test_example_of_the_docstring():
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
