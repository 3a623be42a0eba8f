import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import NTKMTL
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_weights_are_those_of_the_kernels(exponent):
    for jacobian in steps():
        squares = (jacobian**2).sum(axis=1)
        expected = len(squares) * (squares.sum() / squares) ** exponent
        weights = weights_of(NTKMTL(exponent, max_norm=None), jacobian)
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_all_gradients_come_to_one_length():
    for jacobian in steps():
        weights = weights_of(NTKMTL(), jacobian)
        lengths = weights * np.linalg.norm(jacobian, axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)


def test_the_direction_has_norm_1():
    for jacobian in steps():
        direction = np.array(NTKMTL().aggregate(jacobian))
        assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-4)


def test_a_task_without_a_label_is_left_out():
    gramian = np.diag([4.0, 0.0, 9.0])
    weights = np.array(NTKMTL()(np.ones(3), gramian))
    expected = np.array(NTKMTL()(np.ones(2), np.diag([4.0, 9.0])))
    np.testing.assert_allclose(weights, [expected[0], 0.0, expected[1]])
    assert not np.any(np.array(NTKMTL()(np.ones(3), np.zeros((3, 3)))))


def test_parts_have_the_largest_eigenvalue():
    """Against the kernel of all features, whose examples are apart."""
    rng = np.random.default_rng(0)
    weighting = NTKMTL(gradients="features", parts=4, max_norm=None)
    for _ in range(60):
        # Tasks, parts, examples and features.
        rows = rng.normal(size=(3, 4, 5, 2)) * rng.uniform(0.5, 3, (3, 4, 1, 1))
        kernels = []
        for of_task in rows:
            jacobian = np.zeros((4, 4, 5, 2))
            jacobian[range(4), range(4)] = of_task
            jacobian = jacobian.reshape(4, -1)
            kernels.append(np.linalg.eigvalsh(jacobian @ jacobian.T)[-1])
        expected = 3 * (np.sum(kernels) / kernels) ** 0.5
        gramians = np.einsum("inef,jnef->nij", rows, rows).astype("float32")
        weights = np.array(weighting(np.ones(3, "float32"), gramians))
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


X = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
Y = {"a": X[:, :1], "b": 5 * X[:, 1:2] ** 2}


def features_only(weighting):
    """A model whose features, two trained numbers, are the same for all."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {task: keras.layers.Dense(1)(features) for task in Y}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse", weighting=weighting)
    return model


@pytest.mark.parametrize("parts, update_every", [(4, 1), (4, 2), (20, 1)])
def test_fit_takes_the_parts_of_the_batch(parts, update_every):
    model = features_only(
        NTKMTL(gradients="features", parts=parts, update_every=update_every)
    )
    kernels = []
    for task in Y:
        error = model.predict(X, verbose=0)[task] - Y[task]
        kernel = np.array(model.layers[-2 + list(Y).index(task)].kernel)
        rows = 2 * error / len(X) * kernel[:, 0]
        size = -(-len(X) // parts)
        squares = [
            (rows[i : i + size] ** 2).sum() for i in range(0, len(X), size)
        ]
        kernels.append(max(squares))
    expected = 2 * (np.sum(kernels) / kernels) ** 0.5
    logs = model.fit(X, Y, batch_size=10, shuffle=False, epochs=2, verbose=0)
    for task, weight in zip(Y, expected):
        found = logs.history[f"weight/{task}"]
        np.testing.assert_allclose(found, weight, rtol=1e-4)


def test_parts_are_of_features():
    with pytest.raises(ValueError, match="Received: parts=4"):
        NTKMTL(parts=4)
    assert "parts" not in NTKMTL().get_config()
    weighting = NTKMTL(gradients="features", parts=4)
    assert NTKMTL.from_config(weighting.get_config()).parts == 4
