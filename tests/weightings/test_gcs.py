import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import CRMOGM
from keras_mtl.weightings import GCS
from keras_mtl.weightings import PCD
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.every_backend
def test_is_equation_4():
    for jacobian in steps():
        norms = np.linalg.norm(jacobian, axis=1)
        cosines = jacobian @ jacobian[0] / norms / norms[0]
        expected = np.maximum(cosines, 0) @ jacobian
        np.testing.assert_allclose(
            direction_of(GCS(), jacobian),
            expected,
            rtol=1e-4,
            atol=1e-5 * norms.max(),
        )


def test_the_main_task_loses_nothing():
    for jacobian in steps():
        direction = direction_of(GCS(), jacobian)
        assert direction @ jacobian[0] >= jacobian[0] @ jacobian[0] * 0.9999


def test_a_main_task_without_a_label():
    gramian = np.diag([0.0, 1.0, 4.0])
    weights = np.array(GCS()(np.array([0.0, 1.0, 1.0]), gramian))
    np.testing.assert_array_equal(weights, [1.0, 0.0, 0.0])


def small_model(weighting):
    """Two tasks that share all they have."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="zeros"
    )(inputs)
    outputs = {task: features * 1.0 for task in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", "mse", weighting=weighting)
    return model


@pytest.mark.parametrize("cls", [GCS, PCD])
def test_the_main_task_is_one_of_the_model(cls):
    assert small_model(cls(main="b")).weighting.main_index == 1
    message = r"one of the tasks \['a', 'b'\]. Received: main='depth'"
    with pytest.raises(ValueError, match=message):
        small_model(cls(main="depth"))
    with pytest.raises(ValueError, match="name of a task or None. Received: m"):
        cls(main=1)
    with pytest.raises(ValueError, match="name_tasks"):
        cls(main="b")(np.ones(2), np.eye(2))
    config = keras.saving.serialize_keras_object(cls())["config"]
    assert "main" not in config
    config = keras.saving.serialize_keras_object(cls(main="b"))
    assert keras.saving.deserialize_keras_object(config).main == "b"


@pytest.mark.parametrize("wrap", [lambda x: x, CRMOGM, lambda x: ["equal", x]])
def test_a_file_knows_the_main_task(wrap, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = {"a": x[:, :1], "b": x[:, 1:2]}
    model = small_model(wrap(PCD(main="b")))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected, history = (m.fit(x, y, verbose=0).history for m in (model, again))
    for key, values in history.items():
        assert values == pytest.approx(expected[key], rel=1e-5)


def test_a_task_that_harms_the_main_one_trains_nothing():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    y = {"a": x[:, :1], "b": -x[:, :1]}

    def trained(weighting):
        model = small_model(weighting)
        model.fit(x, y, batch_size=64, epochs=3, shuffle=False, verbose=0)
        return np.array(model.layers[1].kernel)

    main = trained(GCS(main="b"))
    assert np.abs(main - trained(GCS())).max() > 0.01
    # From zeros on, the gradients of the tasks are opposite.
    alone = trained({"a": 0.0, "b": 1.0})
    np.testing.assert_allclose(main, alone, rtol=1e-5, atol=1e-7)
