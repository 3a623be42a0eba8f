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
from keras_mtl.benchmarking import relative_times
from keras_mtl.benchmarking import selection
from keras_mtl.benchmarking import single_task
from keras_mtl.benchmarking import step_timer
from keras_mtl.benchmarking import trials

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

    Of the validation loss, the best learning rate is 0.01, the best epoch the
    first, CAGrad's best `c` 0.4, and of fixed weights equal ones are the best.
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
        chain = getattr(self.weighting, "weightings", [self.weighting])
        config = chain[-1].get_config()
        loss = 0.5 + abs(math.log10(100 * rate)) + math.log2(epoch)
        loss += abs(config.get("c", 0.4) - 0.4)
        if config.get("values"):
            loss += abs(math.log(config["values"]["sum"] + 1e-3))
        return loss

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


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("select", ["val_max_loss", "val_delta_m"])
def test_a_validation_loss_without_labels(select):
    x, y = make_data()
    unlabelled = {**y, "max": np.full_like(y["max"], np.nan)}
    with pytest.warns(UserWarning, match=r"'val_max_loss'\] are exactly 0"):
        run(
            build=lambda: build(keras_mtl.MultiTaskModel),
            data=(x, y),
            validation_data=(x, unlabelled),
            baseline={"sum_loss": 1.0, "max_loss": 1.0},
            select=select,
            epochs=1,
        )


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
    times = {"equal": 1.0, "nash_mtl": np.float32(4.2)}
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


# The search

RATES = [0.1, 0.001, 0.01]
PARAMETERS = {"CAGrad": {"c": [0.2, 0.4, 0.8]}}


def tune(weightings=("equal", "tuned", "cagrad"), **arguments):
    arguments = {
        "learning_rates": RATES,
        "parameters": PARAMETERS if "cagrad" in weightings else None,
        "epochs": 6,
        **arguments,
    }
    return run(weightings, keras_mtl.tune, **arguments)


@pytest.mark.any_backend
def test_a_search_finds_what_is_best():
    search = tune()
    assert search.best["equal"] == Setting(
        "equal", learning_rate=0.01, search_seed=1000
    )
    best = search.best["cagrad"]
    assert best.learning_rate == 0.01 and best.epochs is None
    assert best.weighting.c == 0.4
    # A third of the epochs.
    assert {x["epochs"] for x in ScriptedModel.runs} == {2}
    trials_of = search.trials
    assert trials_of["cagrad"][0]["score"] == pytest.approx(1.0)
    assert trials_of["cagrad"][0]["best_epoch"] == 1
    for listed in trials_of.values():
        scores = [trial["score"] for trial in listed]
        assert scores == sorted(scores)
    weights = search.best["tuned"].weighting
    assert weights == trials_of["tuned"][0]["parameters"]["weights"]
    lines = str(search).splitlines()
    assert lines[2].split()[:3] == ["equal", "9", "0.01"]
    assert "c=0.4" in lines[4] and "*" not in str(search)
    check_equal_budget(search, 9)
    assert len(ScriptedModel.runs) == 27
    assert set(RATES) <= {x["learning_rate"] for x in trials_of["equal"]}
    for trial in trials_of["tuned"]:
        assert sum(trial["parameters"]["weights"].values()) == pytest.approx(2)
        assert trial["learning_rate"] in RATES


def check_equal_budget(search, number):
    counts = {label: len(x) for label, x in search.trials.items()}
    assert counts == dict.fromkeys(counts, number)
    rates = [trial["learning_rate"] for trial in search.trials["equal"]]
    # More of them, in the same range and with those that were given.
    assert len(set(rates)) == number
    assert min(rates) == 0.001 and max(rates) == 0.1


@pytest.mark.any_backend
def test_trials_that_no_grid_divides():
    parameters = {"cagrad": {"c": [0.2, 0.4]}}
    search = tune(["equal", "cagrad"], trials=7, parameters=parameters)
    check_equal_budget(search, 7)
    values = [x["parameters"]["c"] for x in search.trials["cagrad"]]
    assert sorted([values.count(0.2), values.count(0.4)]) == [3, 4]


@pytest.mark.any_backend
def test_learning_rates_that_are_close_have_labels_of_their_own():
    rates = trials.refined([0.001, 0.001001, 0.001002], 6)
    assert len(set(rates)) == 6 and rates == sorted(rates)
    assert rates[0] == 0.001 and rates[-1] == 0.001002


@pytest.mark.any_backend
def test_the_same_seed_finds_the_same():
    first, second, other = (
        tune(["equal", "tuned"], seed=seed) for seed in (1000, 1000, 3)
    )
    assert first.best["tuned"] == second.best["tuned"]
    weights = [x["parameters"] for x in first.trials["tuned"]]
    assert weights == [x["parameters"] for x in second.trials["tuned"]]
    assert weights != [x["parameters"] for x in other.trials["tuned"]]
    draws = {x["seed_draw"] for x in ScriptedModel.runs}
    assert len(draws) == 2


@pytest.mark.any_backend
def test_random_weights():
    drawn = trials.random_weights(
        *("tuned", Setting("tuned"), list("abc"), (0.1, 10.0), RATES, 300, 1)
    )
    weights = np.array([list(x.parameters["weights"].values()) for x in drawn])
    np.testing.assert_allclose(weights.sum(axis=1), 3)
    # A search by hand begins with equal weights.
    assert np.all(weights[0] == 1) and np.all(weights[1:] != 1)
    rates = [x.setting.learning_rate for x in drawn]
    assert rates[:4] == [RATES[1], RATES[2], RATES[0], RATES[1]]
    # The logarithm of a ratio of two has a triangular distribution.
    ratios = np.log(weights[:, 0] / weights[:, 1]) / np.log(100)
    assert -1 < ratios.min() < -0.7 and 0.7 < ratios.max() < 1
    assert abs(ratios.mean()) < 0.1
    assert ratios.std() == pytest.approx(1 / math.sqrt(6), rel=0.1)
    # More trials begin with the same ones.
    fewer = trials.random_weights(
        *("tuned", Setting("tuned"), list("abc"), (0.1, 10.0), RATES, 5, 1)
    )
    assert fewer == drawn[:5]


@pytest.mark.any_backend
def test_a_search_looks_at_validation_data_alone():
    tune(["equal", "tuned"])
    assert ScriptedModel.evaluated == []
    with pytest.raises(ValueError, match=r"no test data.*\['test_data'\]"):
        tune(test_data=make_data(8, seed=2))


@pytest.mark.any_backend
def test_an_interrupted_search_continues(tmp_path):
    path = tmp_path / "search.jsonl"
    weightings = ["equal", "tuned"]
    whole = tune(weightings, path=path)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == len(ScriptedModel.runs) == 6
    path.write_text("".join(lines[:4]))
    ScriptedModel.runs.clear()
    again = tune(weightings, path=path)
    assert len(ScriptedModel.runs) == 2
    assert str(again) == str(whole)
    # A report can be in the same file.
    report = run(again.best, path=path, seeds=[0, 1])
    assert len(report.records) == 4
    ScriptedModel.runs.clear()
    tune(weightings, path=path)
    run(again.best, path=path, seeds=[0, 1])
    assert not ScriptedModel.runs


@pytest.mark.any_backend
def test_a_report_has_other_seeds():
    search = tune(["equal"], seed=7)
    report = run(search.best, seeds=[0, 1], epochs=6, select="val_loss")
    assert [x["epochs"] for x in report.records] == [6, 6]
    assert ScriptedModel.runs[-1]["rate"] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="which is 7. Received: .*6, 7"):
        run(search.best, seeds=[6, 7])


@pytest.mark.any_backend
def test_a_search_by_another_result():
    # The highest is that of the highest loss.
    search = tune(["equal"], select=("val_mine", "max"), epochs=1)
    assert search.best["equal"].learning_rate == 0.01
    search = tune(["equal"], select=("val_mine", "min"), epochs=1)
    assert search.best["equal"].learning_rate in (0.001, 0.1)
    assert "*: at the end of the range" in str(search)
    assert list(search.at_the_end()) == ["equal"]
    search = tune(["equal"], baseline={"sum_loss": 1.0, "max_loss": 2.0})
    (best, *_) = search.trials["equal"]
    assert best["score"] == pytest.approx((-50 - 75) / 2)


@pytest.mark.any_backend
def test_a_parameter_in_a_chain():
    search = tune(
        {"chain": ["igb_v1", "CAGrad"]}, parameters={"chain": {"c": [0.2, 0.4]}}
    )
    igb, cagrad = search.best["chain"].weighting
    assert type(igb).__name__ == "IGBv1" and cagrad.c == 0.4


@pytest.mark.any_backend
def test_a_parameter_that_is_a_learning_rate():
    search = tune(
        ["Uncertainty"],
        parameters={"uncertainty": {"learning_rate": [1.0, 2.0]}},
    )
    assert len(search.trials["uncertainty"]) == 6
    best = search.best["uncertainty"]
    assert best.learning_rate == 0.01 and best.weighting.learning_rate == 1.0
    assert " 0.01 " in str(search) and "learning_rate=1.0" in str(search)


@pytest.mark.any_backend
def test_a_search_without_finite_results(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ScriptedModel, "validation_loss", lambda *arguments: math.nan
    )
    search = tune(["equal"])
    assert "nan" in str(search)
    with pytest.raises(ValueError, match="try smaller `learning_rates`"):
        search.best  # noqa: B018
    search.to_json(tmp_path / "search.json")
    content = json.loads((tmp_path / "search.json").read_text())
    assert content["seed"] == 1000
    assert [x["score"] for x in content["trials"]["equal"]] == [None] * 3


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"learning_rates": [0.1, 0.2]}, r"3 or more.*Received.*\[0.1, 0.2\]"),
        ({"learning_rates": [0.1, 0.2, 0]}, "3 or more"),
        ({"learning_rates": 0.1}, "3 or more"),
        ({"trials": 8}, "at least 9.*'equal': 3.*Received: trials=8"),
        ({"parameters": {"famo": {"a": [1]}}}, "Received: 'famo'"),
        ({"parameters": {"tuned": {"a": [1]}}}, "Received: 'tuned'"),
        ({"parameters": {"cagrad": [1]}}, "a dict of label to a dict"),
        ({"parameters": {"cagrad": {"c": 1}}}, "a dict of label to a dict"),
        ({"parameters": {"cagrad": {"c": [1, 1]}}}, "different values"),
        ({"parameters": {"cagrad": {"rho": [1]}}}, "'c'.*Received: 'rho'"),
        ({"weight_range": (1.0,)}, r"weight_range=\(1.0,\)"),
        ({"weight_range": (2, 1)}, r"weight_range=\(2, 1\)"),
        ({"weight_range": (0, 1)}, r"weight_range=\(0, 1\)"),
        ({"fraction": 0}, "fraction=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seeds": [1]}, r"Received: \['seeds'\]"),
        ({"validation_data": None}, "Received: none of them"),
    ],
)
def test_bad_searches(arguments, message):
    with pytest.raises(ValueError, match=message):
        tune(**arguments)
    assert not ScriptedModel.runs


@pytest.mark.any_backend
def test_tuned_weights_need_a_search():
    with pytest.raises(ValueError, match=r"Type search = keras_mtl.tune\("):
        run(["equal", "tuned"])


@pytest.mark.quick_on_torch
def test_a_search_trains(tmp_path):
    """The best learning rate of real training is known, too."""
    x = np.ones((16, 4), "float32")
    y = {task: np.full((16, 1), 3.0) for task in TASKS}

    def linear():
        inputs = keras.Input((4,))
        heads = {
            task: keras.layers.Dense(1, kernel_initializer="zeros")(inputs)
            for task in TASKS
        }
        return keras_mtl.MultiTaskModel(inputs, heads)

    search = run(
        ["tuned"],
        keras_mtl.tune,
        build=linear,
        data=(x, y),
        compile_args={"optimizer": "sgd", "loss": "mse"},
        # One step of 1 / (2 · 5) per unit of the weight is the best one.
        learning_rates=[0.001, 0.1, 10.0],
        weight_range=(0.9, 1.1),
        validation_data=(x, y),
        batch_size=16,
    )
    assert search.best["tuned"].learning_rate == 0.1


# Models of one task each


@pytest.mark.any_backend
def test_single_tasks():
    alone = single_task(
        build,
        make_data(),
        compile_args={"optimizer": "adam", "loss": LOSSES},
        validation_data=make_data(8, seed=1),
        test_data=make_data(8, seed=2),
        learning_rates=np.array(RATES),
        seeds=iter([0, 1]),
        epochs=3,
        select="loss",
        progress=False,
    )
    assert alone.learning_rates == {"sum": 0.01, "max": 0.01}
    assert alone.results == {"sum_loss": 1.0, "max_loss": 1.0}
    assert alone.validation.keys() == {"sum_loss", "max_loss"}
    assert [x["label"] for x in alone.records] == ["sum", "max"] * 2
    weights = [
        x["weighting"].get_config()["values"] for x in ScriptedModel.runs
    ]
    assert {"sum": 1.0, "max": 0.0} in weights
    # Two tasks and seeds; the searches are not tested.
    assert len(ScriptedModel.evaluated) == 4
    result = run(baseline=alone, select="val_delta_m", scale={"max_loss": 2.0})
    assert result.baseline == {"sum_loss": 1.0, "max_loss": 2.0}
    assert result.summary()["equal"]["delta_m"][0] == 0.0
    (record,) = result.records
    expected = keras_mtl.metrics.delta_m(
        {key: record["validation"][key] for key in alone.validation},
        alone.validation,
    )
    assert record["validation"]["delta_m"] == pytest.approx(expected)
    assert tune(["equal"], baseline=alone).trials["equal"][0]["score"] < 0


@pytest.mark.quick_on_torch
def test_single_tasks_train_alone():
    """The results are those of models of the other tasks' zero weights."""
    x, y = make_data()
    seen = []
    alone = single_task(
        lambda: build(keras_mtl.MultiTaskModel),
        (x, y),
        compile_args={"optimizer": "sgd", "loss": LOSSES},
        epochs=2,
        validation_split=0.25,
        on_run_end=lambda model, record: seen.append(model),
        progress=False,
    )
    for model, record in zip(seen, alone.records):
        values = model.evaluate(x, y, verbose=0, return_dict=True)
        key = f"{record['label']}_loss"
        assert alone.results[key] == pytest.approx(values[key], rel=1e-6)
        assert alone.validation[key] == record["history"][f"val_{key}"][-1]


@pytest.mark.quick_on_torch
def test_a_single_task_with_examples_of_its_own():
    """Labels of the other tasks may be missing altogether."""
    x, y = make_data()
    y = {"sum": y["sum"], "max": np.full_like(y["max"], np.nan)}
    options = {
        "compile_args": {"optimizer": "sgd", "loss": LOSSES},
        "epochs": 2,
        "validation_data": (x, y),
        "progress": False,
    }
    alone = single_task(
        lambda: build(keras_mtl.MultiTaskModel),
        (x, y),
        tasks=["sum"],
        select={"sum": "loss"},
        **options,
    )
    assert [record["label"] for record in alone.records] == ["sum"]
    assert alone.results.keys() == alone.validation.keys() == {"sum_loss"}
    both = single_task(
        lambda: build(keras_mtl.MultiTaskModel),
        make_data(),
        select="loss",
        **{**options, "validation_data": make_data()},
    )
    assert alone.results["sum_loss"] == pytest.approx(both.results["sum_loss"])


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"select": {"sum": "loss"}}, "Received: select={'sum': 'loss'}"),
        ({"tasks": ["all"]}, r"among \['sum', 'max'\]. Received: tasks=\['a"),
        ({"tasks": "sum"}, "Received: tasks='sum'"),
        ({"tasks": []}, r"Received: tasks=\[\]"),
        (
            {"tasks": ["max"], "select": {"sum": "loss"}},
            r"dict of that with the tasks \['max'\]",
        ),
        ({"select": 1}, "Received: select=1"),
        ({"baseline": "sum"}, r"Received: \['baseline'\]"),
        ({"select": "loss"}, "Received: none of them"),
        ({"seeds": [0, 0]}, r"Received: seeds=\[0, 0\]"),
        (
            {"seeds": [1000], "learning_rates": np.geomspace(1e-3, 0.1, 3)},
            "search that found the settings, which is 1000",
        ),
        ({"learning_rates": [0.1]}, r"Received: learning_rates=\[0.1\]"),
    ],
)
def test_bad_single_tasks(arguments, message):
    with pytest.raises(ValueError, match=message):
        single_task(
            build,
            make_data(),
            compile_args={"optimizer": "adam", "loss": LOSSES},
            **arguments,
        )
    assert not ScriptedModel.runs


@pytest.mark.any_backend
def test_a_baseline_without_a_result():
    alone = keras_mtl.benchmarking.SingleTaskResult(
        {"sum_loss": 1.0}, {}, {}, []
    )
    with pytest.raises(ValueError, match=r"\['sum_loss'\]. Received: \['max"):
        run(baseline=alone)


# Relative times


@pytest.mark.any_backend
def test_relative_times_take_turns(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: now[0])
    trained = []

    class Slow(ScriptedModel):
        def fit(self, *args, callbacks, epochs, **kwargs):
            name = type(self.weighting).__name__
            trained.append(name)
            callbacks = keras.callbacks.CallbackList(
                callbacks, model=self, epochs=epochs, steps=3
            )
            callbacks.on_train_begin()
            callbacks.on_epoch_begin(0)
            for step in range(3):
                callbacks.on_train_batch_begin(step)
                # The machine becomes slower all the time.
                now[0] += (1 + 2 * (name == "Random")) * (10 + len(trained))
            callbacks.on_epoch_end(0, {})
            callbacks.on_train_end()

    times = relative_times(
        lambda: build(Slow),
        make_data(),
        compile_args={"optimizer": "sgd", "loss": LOSSES},
        weightings=["Equal", "random"],
        rounds=2,
        warm_up=2,
    )
    warm_up = ["Equal"] * 2 + ["Random"] * 2
    assert trained == warm_up + ["Equal", "Random", "Random", "Equal"] * 2
    assert times == {"equal": 1.0, "random": pytest.approx(3.0)}
    trained.clear()
    times = relative_times(
        lambda: build(Slow),
        make_data(),
        compile_args={"optimizer": "sgd", "loss": LOSSES},
        weightings=["random"],
        rounds=1,
    )
    assert times == {"random": pytest.approx(3.0)}
