"""The losses of NYUv2 against NumPy, with labels that are missing."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.models import scene_losses
from keras_mtl.models import seg_net

SHAPE = (3, 4, 2)


@pytest.fixture
def scene():
    """Labels as in MTAN's files, and predictions."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(*SHAPE, 3))
    predicted = rng.normal(size=(*SHAPE, 3))
    y_true = {
        "segmentation": rng.integers(-1, 3, SHAPE),
        "depth": rng.integers(0, 4, (*SHAPE, 1)) / 2,
        "normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True),
    }
    y_true["normal"][rng.random(SHAPE) < 0.3] = 0
    y_pred = {
        "segmentation": rng.normal(size=(*SHAPE, 3)),
        "depth": rng.normal(size=(*SHAPE, 1)),
        "normal": predicted / np.linalg.norm(predicted, axis=-1, keepdims=True),
    }
    as_float = {
        name: {t: x.astype("float32") for t, x in part.items()}
        for name, part in (("true", y_true), ("pred", y_pred))
    }
    return as_float["true"], as_float["pred"]


def with_nan(y_true):
    has_normal = y_true["normal"].any(axis=-1, keepdims=True)
    missing = {
        "segmentation": y_true["segmentation"] < 0,
        "depth": y_true["depth"] == 0,
        "normal": ~has_normal,
    }
    return {
        t: np.where(missing[t], np.float32("nan"), y_true[t]) for t in y_true
    }


def expected_losses(y_true, y_pred):
    logits = np.float64(y_pred["segmentation"])
    chosen = y_true["segmentation"] >= 0
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    classes = y_true["segmentation"][chosen].astype(int)
    known = y_true["depth"] > 0
    upright = y_true["normal"].any(axis=-1)
    cosines = np.sum(y_true["normal"] * y_pred["normal"], axis=-1)
    return {
        "segmentation": -np.mean(log_p[chosen][range(len(classes)), classes]),
        "depth": np.abs(y_true["depth"] - y_pred["depth"])[known].mean(),
        "normal": 1 - cosines[upright].mean(),
    }


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("labels", [lambda y: y, with_nan])
def test_values(scene, labels):
    y_true, y_pred = scene
    expected = expected_losses(y_true, y_pred)
    for task, loss in scene_losses().items():
        value = float(loss(labels(y_true)[task], y_pred[task]))
        assert value == pytest.approx(expected[task], rel=1e-5)


@pytest.mark.quick_on_torch
def test_last_axis_of_one(scene):
    y_true, y_pred = scene
    losses = scene_losses()
    classes, depth = y_true["segmentation"][..., None], y_true["depth"][..., 0]
    expected = expected_losses(y_true, y_pred)
    value = losses["segmentation"](classes, y_pred["segmentation"])
    assert float(value) == pytest.approx(expected["segmentation"], rel=1e-5)
    value = losses["depth"](depth, y_pred["depth"])
    assert float(value) == pytest.approx(expected["depth"], rel=1e-5)


@pytest.mark.quick_on_torch
def test_image_without_labels(scene):
    y_true, y_pred = scene
    for task, loss in scene_losses().items():
        nothing = -1 if task == "segmentation" else 0
        value = loss(np.full_like(y_true[task], nothing), y_pred[task])
        assert float(value) == 0


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("labels", [lambda y: y, with_nan])
def test_in_a_model(labels):
    """The loss of a model is that over the pixels, with either sign."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 4, 2, 3)).astype("float32")
    y_true = {
        "segmentation": rng.integers(-1, 3, SHAPE).astype("float32"),
        "depth": rng.integers(0, 4, (*SHAPE, 1)).astype("float32"),
        "normal": rng.integers(0, 2, (*SHAPE, 3)).astype("float32"),
    }
    model = keras_mtl.MultiTaskModel(
        *seg_net(shape=(4, 2, 3), widths=(2,), classes=3)
    )
    model.compile("sgd", loss=scene_losses(), run_eagerly=True)
    y_pred = model.predict(image, verbose=0)
    results = model.evaluate(
        image, labels(y_true), verbose=0, return_dict=True, batch_size=3
    )
    for task, value in expected_losses(y_true, y_pred).items():
        assert results[f"{task}_loss"] == pytest.approx(value, rel=1e-4)


@pytest.mark.any_backend
def test_config():
    for loss in scene_losses().values():
        config = keras.saving.serialize_keras_object(loss)
        assert config["registered_name"].startswith("keras_mtl>")
        copy = keras.saving.deserialize_keras_object(config)
        assert type(copy) is type(loss)


@pytest.mark.any_backend
def test_unknown_task():
    with pytest.raises(ValueError, match="some of .*Received: tasks='depth'"):
        scene_losses("depth")
