"""Settings of their own, the best epoch, intervals, and searches."""

import json
import math

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.benchmarking import BenchmarkResult
from keras_mtl.benchmarking import Setting
from keras_mtl.benchmarking import benchmark
from keras_mtl.benchmarking import intervals
from keras_mtl.benchmarking import selection

TASKS = ["sum", "max"]
LOSSES = {"sum": "mse", "max": "mse"}


def make_data(samples=16, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 4)).astype("float32")
    return x, {
        "sum": x.sum(axis=-1, keepdims=True),
        "max": x.max(axis=-1, keepdims=True),
    }


class ScriptedModel(keras_mtl.MultiTaskModel):
    """Trains nothing: its results are a known function of the settings.

    The validation loss of an epoch is `|log10(100 rate)| + |log2(epoch)|`, so
    that the best learning rate is 0.01, and the best epoch the first.
    """

    runs = []
    evaluated = []

    def fit(self, x, y, epochs=1, callbacks=None, **kwargs):
        history = keras.callbacks.History()
        callbacks = keras.callbacks.CallbackList(
            [*callbacks, history], model=self, epochs=epochs, steps=1
        )
        rate = float(self.optimizer.learning_rate)
        self.runs.append(
            {
                "rate": rate,
                "epochs": epochs,
                "weighting": self.weighting,
                "seed_draw": np.random.random(),
            }
        )
        callbacks.on_train_begin()
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            callbacks.on_train_batch_begin(0)
            loss = self.validation_loss(rate, epoch + 1)
            logs = {f"val_{task}_loss": loss for task in TASKS}
            logs |= {"loss": 1.0, "val_loss": 2 * loss, "val_mine": -loss}
            callbacks.on_epoch_end(epoch, logs)
        callbacks.on_train_end()
        return history

    def validation_loss(self, rate, epoch):
        return abs(math.log10(100 * rate)) + math.log2(epoch) + 0.5

    def evaluate(self, x, *args, **kwargs):
        self.evaluated.append(x)
        return {"loss": 2.0, "sum_loss": 1.0, "max_loss": 1.0}


@pytest.fixture(autouse=True)
def forget_runs():
    ScriptedModel.runs.clear()
    ScriptedModel.evaluated.clear()


def build(model_class=ScriptedModel):
    inputs = keras.Input((4,))
    features = keras.layers.Dense(4, activation="relu")(inputs)
    return model_class(
        inputs, {task: keras.layers.Dense(1)(features) for task in TASKS}
    )


def run(weightings=("equal",), function=benchmark, **arguments):
    arguments = {
        "build": build,
        "data": make_data(),
        "compile_args": {"optimizer": "adam", "loss": LOSSES},
        "validation_data": make_data(8, seed=1),
        "progress": False,
        **arguments,
    }
    if not isinstance(weightings, dict):
        weightings = list(weightings)
    return function(weightings=weightings, **arguments)


# Settings of their own


@pytest.mark.any_backend
def test_a_setting_has_a_learning_rate_and_epochs():
    run(
        {
            "slow": Setting("equal", learning_rate=1e-4, epochs=3),
            "fast": Setting("equal", learning_rate=0.5),
            "sgd": Setting("equal", compile_args={"optimizer": "sgd"}),
            "other": "equal",
        },
        epochs=2,
    )
    found = [(x["rate"], x["epochs"]) for x in ScriptedModel.runs]
    np.testing.assert_allclose(
        found, [(1e-4, 3), (0.5, 2), (0.01, 2), (0.001, 2)], rtol=1e-6
    )


@pytest.mark.any_backend
def test_functions_are_called_with_what_a_run_has():
    seen = []

    def compile_args(learning_rate=0.25, epochs=None):
        seen.append((learning_rate, epochs))
        schedule = keras.optimizers.schedules.CosineDecay(
            learning_rate, decay_steps=epochs
        )
        return {"optimizer": keras.optimizers.SGD(schedule), "loss": LOSSES}

    def callbacks(epochs):
        seen.append(epochs)
        return []

    run(
        {"a": Setting("equal", learning_rate=0.5, epochs=3), "b": "equal"},
        compile_args=compile_args,
        callbacks=callbacks,
        epochs=2,
    )
    assert seen.count((0.5, 3)) >= 2 and seen.count((0.25, 2)) >= 2
    assert seen[-1] == 2 and 3 in seen
    assert [x["rate"] for x in ScriptedModel.runs] == [0.5, 0.25]


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["learning_rate", "epochs"])
def test_a_schedule_needs_a_function(name):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 7)
    compile_args = {
        "optimizer": keras.optimizers.SGD(schedule),
        "loss": LOSSES,
    }
    with pytest.raises(ValueError, match=f"its {name} may change. Type compi"):
        run({"a": Setting("equal", **{name: 1})}, compile_args=compile_args)
    assert not ScriptedModel.runs


@pytest.mark.any_backend
def test_the_file_knows_the_settings(tmp_path):
    path = tmp_path / "runs.jsonl"
    weightings = {"a": Setting("equal", learning_rate=0.1), "b": "random"}
    run(weightings, path=path, seeds=[1])
    assert len(ScriptedModel.runs) == 2
    run(weightings, path=path, seeds=[1])
    # Runs of another weighting may have other settings.
    run({"b": "random"}, path=path, seeds=[1])
    run({"a": weightings["a"]}, path=path, seeds=[1])
    assert len(ScriptedModel.runs) == 2
    changed = {"a": Setting("equal", learning_rate=0.2)}
    with pytest.raises(ValueError, match="'a', .*learning_rate` is 0.1"):
        run(changed, path=path, seeds=[1])
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["settings"]["setting"] == {"learning_rate": 0.1}
    # As in files of versions that knew no such settings.
    assert "setting" not in second["settings"]


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"weighting": Setting("equal")}, "Received: Setting"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Setting(**{"weighting": "equal", **arguments})


# The best epoch


class EpochWeights(keras.callbacks.Callback):
    """Sets all weights to the number of the epoch, and logs a result."""

    def __init__(self, results):
        super().__init__()
        self._results = results

    def on_epoch_end(self, epoch, logs=None):
        for variable in self.model.trainable_variables:
            variable.assign(np.full(variable.shape, epoch + 1.0))
        if self._results[epoch] is not None:
            logs["val_mine"] = self._results[epoch]


@pytest.mark.quick_on_torch
@pytest.mark.parametrize(
    "mode, results, best",
    [
        ("min", [2.0, 1.0, 3.0], 2),
        ("max", [2.0, 1.0, 3.0], 3),
        ("min", [math.nan, 2.0, 3.0], 2),
        ("min", [None, 1.0, None], 2),
        ("max", [1.0, 1.0, math.nan], 1),
    ],
)
def test_the_best_epoch_is_tested(mode, results, best):
    seen = []
    result = run(
        build=lambda: build(keras_mtl.MultiTaskModel),
        callbacks=EpochWeights(results),
        select=("val_mine", mode),
        epochs=3,
        test_data=make_data(8, seed=2),
        on_run_end=lambda model, record: seen.append(model),
    )
    (model,), (record,) = seen, result.records
    assert record["best_epoch"] == best
    assert record["validation"]["mine"] == results[best - 1]
    for weights in model.trainable_variables:
        np.testing.assert_array_equal(weights, np.full(weights.shape, best))
    expected = model.evaluate(
        *make_data(8, seed=2), verbose=0, return_dict=True
    )
    assert record["metrics"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.any_backend
def test_select_delta_m_of_the_baseline():
    baseline = {"sum_loss": 10.0, "max_loss": 20.0}
    scale = {"max_loss": 10.0}
    result = run(select="val_delta_m", baseline=baseline, scale=scale, epochs=2)
    (record,) = result.records
    assert record["best_epoch"] == 1
    # At Adam's rate of 0.001, the losses are 1.5, those of the baseline 10, 2.
    assert record["validation"]["delta_m"] == pytest.approx((-85 - 25) / 2)
    own = keras_mtl.callbacks.DeltaM({"sum_loss": 3.0})
    result = run(select="val_delta_m", callbacks=[own])
    assert result.records[0]["validation"]["delta_m"] == pytest.approx(-50)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"select": "loss"}, "select='loss'"),
        ({"select": ("val_loss", "best")}, "Received: select=.*'best'"),
        ({"select": "val_mine"}, r'select=\("val_mine", "max"\), or "min"'),
        ({"select": "val_loss", "validation_data": None}, "none of them"),
        ({"select": "val_delta_m"}, "Expected a `baseline` of values"),
    ],
)
def test_bad_selections(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(**arguments)
    assert not ScriptedModel.runs


@pytest.mark.any_backend
def test_a_result_that_is_never_logged():
    with pytest.raises(ValueError, match="'val_loss'.*Received.*'val_no'"):
        run(select=("val_no", "min"))


@pytest.mark.any_backend
def test_known_directions():
    model = build()
    model.compile("sgd", LOSSES, metrics={"max": ["accuracy", "mae"]})
    model.train_on_batch(*make_data(2))
    fitting = {"validation_split": 0.5}

    def mode(key, higher=None):
        return selection.resolve(key, model, higher, fitting)[1]

    assert mode("val_max_mae") == mode("val_loss") == "min"
    assert mode("val_max_accuracy") == "max"
    assert mode("val_f", ["f"]) == mode("val_f", {"f": True}) == "max"
    assert mode("val_f", {"f": False}) == "min"


# Equal cost


@pytest.mark.any_backend
def test_equal_cost_adds_rows(tmp_path):
    path = tmp_path / "runs.jsonl"
    run(["equal", "NashMTL"], epochs=10, path=path)
    times = {"equal": 1.0, "nash_mtl": 4.2}
    weightings = ["equal", "nash_mtl"]
    result = run(weightings, epochs=10, equal_cost=times, path=path)
    assert result.labels == [*weightings, "nash_mtl, equal cost"]
    assert [x["epochs"] for x in result.records] == [10, 10, 2]
    assert len(ScriptedModel.runs) == 3
    with pytest.raises(ValueError, match="Received: 'famo': 2"):
        run(["equal"], equal_cost={"famo": 2})
    with pytest.raises(ValueError, match="Received: 'equal': 0"):
        run(["equal"], equal_cost={"equal": 0})


# Intervals


@pytest.mark.any_backend
def test_quantiles_of_student():
    stats = pytest.importorskip("scipy.stats")
    degrees = [*range(1, 40), 500]
    for probability in (0.5, 0.95, 0.999):
        np.testing.assert_allclose(
            [intervals.quantile(probability, n) for n in degrees],
            [stats.t.ppf((1 + probability) / 2, n) for n in degrees],
            rtol=1e-10,
        )


def make_result(values, **arguments):
    """Makes a result of `values[label][seed] = loss`."""
    records = [
        {
            "label": label,
            "seed": seed,
            "seconds_per_step": 1.0,
            "metrics": {"loss": loss},
        }
        for label, losses in values.items()
        for seed, loss in enumerate(losses)
    ]
    return BenchmarkResult(records, ["loss"], list(values), **arguments)


VALUES = {"equal": [1.0, 2.0, 4.0], "a": [2.0, 3.0, 5.5]}


@pytest.mark.any_backend
def test_intervals_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    summary = make_result(VALUES).summary()

    def expected(values):
        error = stats.sem(values)
        return stats.t.interval(0.95, len(values) - 1, np.mean(values), error)

    a, equal = np.array(VALUES["a"]), np.array(VALUES["equal"])
    entry = summary["a"]
    np.testing.assert_allclose(entry["intervals"]["loss"], expected(a))
    change = 100 * (a / equal - 1)
    np.testing.assert_allclose(entry["intervals"]["delta_m"], expected(change))
    mean, *ends = entry["differences"]["loss"]
    assert mean == pytest.approx(np.mean(a - equal))
    np.testing.assert_allclose(ends, expected(a - equal))
    assert summary["equal"]["differences"]["delta_m"] == (0.0, 0.0, 0.0)
    differences = make_result(VALUES).differences("a")
    np.testing.assert_allclose(differences["equal"]["loss"][0], -mean)
    with pytest.raises(ValueError, match="Received: label='b'"):
        make_result(VALUES).differences("b")


@pytest.mark.any_backend
def test_table_with_differences():
    """Against given values, Δm does not show how runs differ by seed."""
    result = make_result(VALUES, baseline={"loss": 2.0})
    header, _, equal, a, _, caption = str(result).splitlines()
    assert header.split()[-4:] == ["Δm", "−", "equal", "time"]
    # The differences of Δm are 50, 50, 75.
    assert "+58.3 ± 35.9" in a
    assert "+0.0 ± 0.0" in equal
    assert "Δm − equal: seed by seed." in caption
    assert "Δm −" not in str(make_result(VALUES))
    one = {label: values[:1] for label, values in VALUES.items()}
    assert "Δm −" not in str(make_result(one, baseline={"loss": 2.0}))


@pytest.mark.any_backend
def test_two_seeds_have_a_deviation():
    two = {label: values[:2] for label, values in VALUES.items()}
    text = str(make_result(two))
    assert "± standard deviation of 2 seeds" in text
    assert "1.500 ± 0.707" in text


@pytest.mark.any_backend
def test_intervals_of_what_is_not_finite():
    nan = (math.nan, math.nan, math.nan)
    summary = make_result({**VALUES, "b": [1.0, math.nan, 1.0]}).summary()
    np.testing.assert_equal(summary["b"]["intervals"]["loss"], nan[1:])
    np.testing.assert_equal(summary["b"]["differences"]["loss"], nan)
    assert math.isfinite(summary["a"]["intervals"]["loss"][0])
