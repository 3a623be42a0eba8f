"""The nine metrics of NYUv2 against NumPy, over two batches."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.losses.directions import is_higher_better
from keras_mtl.metrics import MedianAngle
from keras_mtl.metrics import PixelMean
from keras_mtl.metrics import scene_metrics

pytestmark = pytest.mark.quick_on_torch

SHAPE = (4, 5, 6)
BETTER_IF_HIGHER = {
    "mean_iou",
    "pixel_accuracy",
    "within_11",
    "within_22",
    "within_30",
}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    normal = unit(rng.normal(size=(*SHAPE, 3)))
    y_pred = {
        "segmentation": rng.normal(size=(*SHAPE, 5)),
        "depth": rng.uniform(1, 3, (*SHAPE, 1)),
        "normal": unit(normal + 0.3 * rng.normal(size=normal.shape)),
    }
    normal[rng.random(SHAPE) < 0.3] = 0
    # Class 3 never occurs and class 4 is only predicted.
    y_pred["segmentation"][..., 3] = -9
    y_true = {
        "segmentation": rng.integers(-1, 3, SHAPE),
        "depth": rng.integers(0, 4, (*SHAPE, 1)).astype("float64"),
        "normal": normal,
    }
    return y_true, y_pred


def expected_values(y_true, y_pred):
    labels, predicted = (
        y_true["segmentation"],
        y_pred["segmentation"].argmax(-1),
    )
    known = labels >= 0
    labels, predicted = labels[known], predicted[known]
    union = [np.sum((labels == k) | (predicted == k)) for k in range(5)]
    both = [np.sum((labels == k) & (predicted == k)) for k in range(5)]
    known = y_true["depth"] > 0
    depth = y_true["depth"][known]
    error = np.abs(depth - y_pred["depth"][known])
    cosines = np.sum(y_true["normal"] * y_pred["normal"], axis=-1)
    angles = np.degrees(np.arccos(cosines[y_true["normal"].any(axis=-1)]))
    return {
        "mean_iou": np.mean([b / u for b, u in zip(both, union) if u]),
        "pixel_accuracy": np.mean(labels == predicted),
        "absolute_error": error.mean(),
        "relative_error": (error / depth).mean(),
        "mean_angle": angles.mean(),
        "median_angle": np.median(angles),
        "within_11": np.mean(angles < 11.25),
        "within_22": np.mean(angles < 22.5),
        "within_30": np.mean(angles < 30),
    }


@pytest.mark.parametrize("missing", ["as in the files", "NaN"])
def test_values(scene, missing):
    y_true, y_pred = scene
    expected = expected_values(y_true, y_pred)
    labels = {t: y.astype("float32") for t, y in y_true.items()}
    if missing == "NaN":
        labels["segmentation"][y_true["segmentation"] < 0] = np.nan
        labels["depth"][y_true["depth"] == 0] = np.nan
        labels["normal"][~y_true["normal"].any(axis=-1)] = np.nan
    values = {}
    for task, metrics in scene_metrics(classes=5).items():
        for metric in metrics:
            for part in (slice(0, 2), slice(2, 4)):
                metric.update_state(
                    labels[task][part], y_pred[task][part].astype("float32")
                )
            values[metric.name] = float(metric.result())
    assert values.keys() == expected.keys()
    # With 80 pixels, the two in the middle are 0.3 degrees apart.
    assert values.pop("median_angle") == pytest.approx(
        expected.pop("median_angle"), abs=0.3
    )
    assert values == pytest.approx(expected, rel=1e-4)


def test_median_of_many_angles():
    rng = np.random.default_rng(0)
    angles = rng.gamma(2.0, 10.0, (5, 1, 4001))
    radians = np.radians(angles)
    y_true = np.zeros((*angles.shape, 3))
    y_true[..., 2] = 1
    y_pred = np.stack([np.sin(radians), 0 * radians, np.cos(radians)], -1)
    metric = MedianAngle()
    metric.update_state(y_true.astype("float32"), y_pred.astype("float32"))
    assert float(metric.result()) == pytest.approx(np.median(angles), abs=0.02)
    metric.reset_state()
    assert float(metric.result()) == 0


@pytest.mark.any_backend
def test_median_of_what_is_not_a_number():
    metric = MedianAngle()
    y_true = np.ones((1, 1, 2, 3), "float32")
    metric.update_state(y_true, np.full_like(y_true, np.nan))
    assert float(metric.result()) == pytest.approx(180, abs=0.01)


def test_sample_weight(scene):
    """A weight of zero leaves an image out, as if it were not there."""
    y_true, y_pred = scene
    weight = np.array([1.0, 0.0, 1.0, 1.0], "float32")
    for task, metrics in scene_metrics(classes=5).items():
        labels, predicted = y_true[task], y_pred[task].astype("float32")
        labels = labels.astype("float32")
        for metric in metrics:
            metric.update_state(labels, predicted, weight)
            weighted = float(metric.result())
            metric.reset_state()
            metric.update_state(labels[weight > 0], predicted[weight > 0])
            assert weighted == pytest.approx(float(metric.result()), rel=1e-4)


@pytest.mark.any_backend
def test_each_knows_its_direction():
    found = {
        metric.name: is_higher_better(metric)
        for metrics in scene_metrics().values()
        for metric in metrics
    }
    assert found == {name: name in BETTER_IF_HIGHER for name in found}
    assert len(found) == 9


@pytest.mark.any_backend
def test_config():
    for metrics in scene_metrics(classes=5).values():
        for metric in metrics:
            config = keras.saving.serialize_keras_object(metric)
            assert config["registered_name"].startswith("keras_mtl>")
            copy = keras.saving.deserialize_keras_object(config)
            assert copy.get_config() == metric.get_config()


@pytest.mark.any_backend
def test_bad_arguments():
    with pytest.raises(ValueError, match="measure.*Received"):
        PixelMean("median")
    with pytest.raises(ValueError, match="degrees.*Received"):
        PixelMean("within")
    with pytest.raises(ValueError, match="some of .*Received: tasks="):
        scene_metrics(["edges"])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "batch_size", [4, pytest.param(3, marks=pytest.mark.slow)]
)
def test_in_a_compiled_model(scene, batch_size):
    """The results of `evaluate` are those over all pixels."""
    y_true, y_pred = scene
    inputs = {
        task: keras.Input(y.shape[1:], name=task) for task, y in y_pred.items()
    }
    outputs = {
        t: keras.layers.Activation("linear")(x) for t, x in inputs.items()
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        loss=keras_mtl.models.scene_losses(), metrics=scene_metrics(classes=5)
    )
    labels = {t: ops.cast(y, "float32") for t, y in y_true.items()}
    labels = {t: ops.convert_to_numpy(y) for t, y in labels.items()}
    results = model.evaluate(
        y_pred, labels, batch_size=batch_size, verbose=0, return_dict=True
    )
    for name, value in expected_values(y_true, y_pred).items():
        (key,) = [key for key in results if key.endswith(f"_{name}")]
        tolerance = 0.3 if name == "median_angle" else 1e-4 * abs(value)
        assert results[key] == pytest.approx(value, abs=tolerance)
