"""What the results of a benchmark are, and whether more of one is better."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.benchmarking import benchmark
from keras_mtl.losses import directions

pytestmark = pytest.mark.any_backend


def build(model_class=keras_mtl.MultiTaskModel):
    inputs = keras.Input((3,))
    trunk = keras.layers.Dense(4, activation="relu")(inputs)
    head = keras.layers.Dense(1, activation="sigmoid")
    return model_class(
        inputs, {"a": head(trunk), "b": keras.layers.Dense(2)(trunk)}
    )


def compiled(metrics, model_class=keras_mtl.MultiTaskModel, **arguments):
    model = build(model_class)
    model.compile("sgd", loss="mse", metrics=metrics, **arguments)
    return model


def own_key(model):
    """Returns the one result that is no loss of a task."""
    losses = {"loss", "a_loss", "b_loss"}
    (key,) = [x for x in directions.results_of(model) if x not in losses]
    return key


def make_data():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    return x, {"a": (x[:, :1] > 0).astype("float32"), "b": x[:, :2]}


def ours(y_true, y_pred):
    return ops.mean(y_pred - y_true, axis=-1)


class Ours(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_pred, sample_weight)


class OurAUC(keras.metrics.AUC):
    pass


def test_results_are_those_of_evaluate():
    metrics = {
        "a": ["accuracy", keras.metrics.AUC(name="area"), "mae", "mae"],
        "b": ["cosine_similarity", ours, Ours(name="ours_too")],
    }
    weighted = {"a": ["mse", "mae"]}
    model = compiled(metrics, weighted_metrics=weighted)
    known = directions.results_of(model)
    assert known == {
        **dict.fromkeys(["loss", "a_loss", "b_loss"], False),
        **{"a_accuracy": True, "a_area": True, "a_mae": False},
        **{"a_mae_1": False, "b_cosine_similarity": True, "b_ours": None},
        **{"b_ours_too": None, "a_mse": False, "a_weighted_mae": False},
    }
    # Nothing was built on the way.
    assert not model._compile_metrics.built
    results = model.evaluate(*make_data(), verbose=0, return_dict=True)
    assert set(known) == set(results)


def test_every_metric_of_keras_has_a_direction():
    without = {"Metric", "Mean", "MeanMetricWrapper", "Sum"}
    classes = {
        name
        for name, value in vars(keras.metrics).items()
        if inspect.isclass(value) and issubclass(value, keras.metrics.Metric)
    }
    both = directions.HIGHER_IS_BETTER & directions.LOWER_IS_BETTER
    known = directions.HIGHER_IS_BETTER | directions.LOWER_IS_BETTER
    assert both == set()
    assert known == classes - without


@pytest.mark.parametrize(
    "metric, higher",
    [
        ("accuracy", True),
        ("acc", True),
        ("auc", True),
        ("mse", False),
        (keras.metrics.MeanIoU(2), True),
        (keras.metrics.F1Score(), True),
        (keras.metrics.R2Score(), True),
        (OurAUC(), True),
        (keras.metrics.binary_accuracy, True),
        (keras.metrics.mean_absolute_error, False),
        # The loss is minus the similarity.
        (keras.losses.cosine_similarity, False),
        (keras.losses.Huber(), False),
        (keras.metrics.MeanMetricWrapper(ours), None),
        (ours, None),
        (Ours(), None),
        (lambda y_true, y_pred: ours(y_true, y_pred), None),
    ],
)
def test_direction_of_a_metric(metric, higher):
    model = compiled({"a": [metric]})
    assert directions.results_of(model)[own_key(model)] is higher


def compare(metric, given=None, **arguments):
    """Returns the mean ranks of two runs, the second with a larger result."""
    values = iter([0.42, 0.45])

    class Scripted(keras_mtl.MultiTaskModel):
        def evaluate(self, *args, **kwargs):
            return {"loss": 1.0, key: next(values)}

    key = own_key(compiled({"a": [metric]}))
    result = benchmark(
        lambda: build(Scripted),
        make_data(),
        compile_args={
            **{"optimizer": "sgd", "loss": "mse", "metrics": {"a": [metric]}}
        },
        weightings=["equal", "random"],
        metrics=[key],
        higher_is_better=given,
        progress=False,
    )
    return [x["mean_rank"] for x in result.summary().values()]


@pytest.mark.parametrize(
    "metric, given, ranks",
    [
        ("accuracy", None, [2, 1]),
        ("accuracy", [], [2, 1]),
        ("accuracy", {"a_accuracy": False}, [1, 2]),
        ("mae", None, [1, 2]),
        ("mae", ["a_mae"], [2, 1]),
        (ours, ["a_ours"], [2, 1]),
        (ours, {"a_ours": True}, [2, 1]),
        (ours, {"a_ours": False}, [1, 2]),
        (ours, [], [1, 2]),
    ],
)
def test_ranks(metric, given, ranks):
    assert compare(metric, given) == ranks


def test_a_direction_is_asked_for():
    with pytest.raises(ValueError, match=r"better for \['a_ours'\]") as error:
        compare(ours)
    assert "Type higher_is_better={'a_ours': True}" in str(error.value)


@pytest.mark.parametrize(
    "metrics, received",
    [
        ({"a": "accurracy"}, r"'a_accurracy'\]. Did you mean 'a_accuracy'\?"),
        (["b_accuracy"], r"'b_accuracy'\]. Did you mean 'a_accuracy'\?"),
        ({"a": "xyz"}, r"\['a_xyz'\]$"),
    ],
)
def test_a_typo_costs_no_run(metrics, received):
    class Untrained(keras_mtl.MultiTaskModel):
        def fit(self, *args, **kwargs):
            raise AssertionError("a run has begun")

    with pytest.raises(
        ValueError, match=f"`metrics` .* Received: .*{received}"
    ):
        benchmark(
            lambda: build(Untrained),
            make_data(),
            compile_args={
                **{"optimizer": "sgd", "loss": "mse"},
                "metrics": {"a": ["accuracy"]},
            },
            weightings=["equal"],
            metrics=metrics,
        )


def test_results_of_ones_own():
    class Own(keras_mtl.MultiTaskModel):
        def get_metrics_result(self):
            return {**super().get_metrics_result(), "own": ops.ones(())}

    result = benchmark(
        lambda: build(Own),
        make_data(),
        compile_args={"optimizer": "sgd", "loss": "mse"},
        weightings=["equal"],
        metrics=["own"],
        higher_is_better=["own"],
        progress=False,
    )
    assert result.results("equal", 0) == {"own": 1.0}
