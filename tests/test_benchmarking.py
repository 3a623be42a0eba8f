import csv
import io
import json
import math
import pathlib
import re
import sys

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.benchmarking import BenchmarkResult
from keras_mtl.benchmarking import benchmark
from keras_mtl.benchmarking import settings
from keras_mtl.benchmarking import step_timer
from keras_mtl.benchmarking.seeded_order import order_by_seed
from keras_mtl.benchmarking.time_left import TimeLeft

TASKS = ["sum", "max"]
COMPILE = {
    "optimizer": "adam",
    "loss": {"sum": "mse", "max": "mse"},
    "metrics": {"max": ["mae"]},
}


def make_data(samples=32):
    x = np.random.default_rng(0).normal(size=(samples, 4)).astype("float32")
    return x, {
        "sum": x.sum(axis=-1, keepdims=True),
        "max": x.max(axis=-1, keepdims=True),
    }


def build(model_class=keras_mtl.MultiTaskModel, units=8):
    inputs = keras.Input((4,))
    features = keras.layers.Dense(units, activation="relu")(inputs)
    return model_class(
        inputs, {task: keras.layers.Dense(1)(features) for task in TASKS}
    )


class ScriptedModel(keras_mtl.MultiTaskModel):
    """Trains nothing, counts the runs and returns a number that tells them."""

    runs = []

    def fit(self, *args, epochs=1, callbacks=None, **kwargs):
        history = keras.callbacks.History()
        callbacks = keras.callbacks.CallbackList(
            [*callbacks, history], model=self, epochs=epochs, steps=2
        )
        callbacks.on_train_begin()
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            for step in range(2):
                callbacks.on_train_batch_begin(step)
            callbacks.on_epoch_end(epoch, {"loss": 1.0, "sum_loss": math.nan})
        callbacks.on_train_end()
        self.runs.append(type(self.weighting).__name__)
        return history

    def evaluate(self, x, *args, **kwargs):
        number = float(len(self.runs))
        return {"loss": 1.0, "sum_loss": number, "max_loss": 2 * number}


def run(weightings=("equal", "random"), model_class=ScriptedModel, **arguments):
    ScriptedModel.runs.clear()
    arguments = {
        "data": make_data(),
        "compile_args": COMPILE,
        "seeds": (0, 1),
        "progress": False,
        **arguments,
    }
    arguments.setdefault("build", lambda: build(model_class))
    if not isinstance(weightings, dict):
        weightings = list(weightings)
    return benchmark(weightings=weightings, **arguments)


# Training


@pytest.mark.any_backend
def test_data_for_the_weighting_go_to_the_methods_that_take_them():
    result = benchmark(
        build,
        make_data(),
        compile_args=COMPILE,
        weightings=["equal", "auto_lambda"],
        progress=False,
        validation_for_weighting=make_data(),
    )
    assert result.labels == ["equal", "auto_lambda"]


@pytest.mark.quick_on_torch
def test_a_run_is_training_by_hand():
    x, y = make_data()
    optimizer = keras.optimizers.Adam(0.01)
    arguments = {"epochs": 2, "batch_size": 8, "validation_data": (x, y)}
    result = benchmark(
        build,
        (x, y),
        compile_args={**COMPILE, "optimizer": optimizer},
        weightings=["equal", keras_mtl.weightings.ScaleInvariant()],
        seeds=(3, 4),
        progress=False,
        **arguments,
    )
    runs = [(record["seed"], record["label"]) for record in result.records]
    assert runs == [
        *[(3, "equal"), (3, "scale_invariant")],
        *[(4, "equal"), (4, "scale_invariant")],
    ]
    # The second seed shows that nothing is left over from the first.
    for record in result.records[2:]:
        keras.utils.set_random_seed(record["seed"])
        model = build()
        model.compile(
            **{**COMPILE, "optimizer": keras.optimizers.Adam(0.01)},
            weighting=record["label"],
        )
        order = np.random.default_rng(record["seed"]).permutation(len(x))
        labels = {task: values[order] for task, values in y.items()}
        history = model.fit(x[order], labels, verbose=0, **arguments).history
        values = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        assert record["history"].keys() == history.keys()
        for key in history:
            np.testing.assert_allclose(
                record["history"][key], history[key], rtol=1e-6
            )
        assert record["metrics"] == pytest.approx(values, rel=1e-6)
        assert "weight/max" in record["history"]
        assert "max_mae" in record["metrics"]
        assert 0 < record["seconds_per_step"] < record["seconds"]
    assert int(optimizer.iterations) == 0
    summary = result.summary()
    assert list(summary) == ["equal", "scale_invariant"]
    assert summary["equal"]["delta_m"] == (0.0, 0.0)
    assert summary["equal"]["relative_time"] == 1.0


@pytest.mark.any_backend
def test_a_weighting_that_follows_scores_gets_them_from_the_baseline():
    x, y = make_data()
    alone = {"sum_loss": 0.1, "max_loss": 1.0}
    arguments = {"epochs": 3, "shuffle": False, "validation_data": (x, y)}
    result = benchmark(
        build,
        (x, y),
        compile_args=COMPILE,
        weightings=["pivrg", "equal"],
        baseline=alone,
        progress=False,
        **arguments,
    )
    scores = keras_mtl.callbacks.TaskScores(alone)
    by_hand = build_and_fit(x, y, "pivrg", callbacks=[scores], **arguments)
    assert result.histories(0)["pivrg"]["weight/sum"] == pytest.approx(
        by_hand["weight/sum"], rel=1e-6
    )
    # Without scores it would be FairGrad.
    fair = build_and_fit(x, y, "fairgrad", **arguments)
    assert abs(by_hand["weight/sum"][-1] - fair["weight/sum"][-1]) > 1e-3


def build_and_fit(x, y, weighting, **arguments):
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(**COMPILE, weighting=weighting)
    return model.fit(x, y, verbose=0, **arguments).history


@pytest.mark.once
@pytest.mark.parametrize(
    "given",
    [
        {"baseline": {"sum_loss": 1.0}, "metrics": ["sum_loss"]},
        {"baseline": {"sum_loss": 1.0, "max_loss": 1.0}},
        {},
    ],
)
def test_there_are_no_scores_without_a_baseline_of_all_tasks(given):
    """Nor without validation data: the second case has none."""
    x, y = make_data()
    validation = {"validation_data": (x, y)} if "metrics" in given else {}
    with pytest.warns(UserWarning, match="scores"):
        benchmark(
            build,
            (x, y),
            compile_args=COMPILE,
            weightings=["pivrg"],
            epochs=2,
            progress=False,
            **given,
            **validation,
        )


@pytest.mark.once
def test_scores_need_a_result_of_a_task_whose_name_begins_another():
    inputs = keras.Input((4,))
    names = ["max", "max_of_all"]
    x, y = make_data()
    y = dict.fromkeys(names, y["max"])

    def build():
        features = keras.layers.Dense(8)(inputs)
        return keras_mtl.MultiTaskModel(
            inputs, {name: keras.layers.Dense(1)(features) for name in names}
        )

    with pytest.warns(UserWarning, match="scores"):
        benchmark(
            build,
            (x, y),
            compile_args={"optimizer": "sgd", "loss": "mse"},
            weightings=["pivrg"],
            epochs=2,
            progress=False,
            validation_data=(x, y),
            baseline={"max_of_all_loss": 1.0},
            metrics=["max_of_all_loss"],
        )


@pytest.mark.once
def test_weightings_meet_the_same_parameters_and_batches():
    x, y = make_data()
    losses = []
    record_loss = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["sum_loss"])
    )
    benchmark(
        build,
        (x, y),
        compile_args={**COMPILE, "optimizer": keras.optimizers.SGD(0.0)},
        weightings=["equal", "random", "uncertainty"],
        batch_size=8,
        callbacks=record_loss,
        progress=False,
    )
    equal, random, uncertainty = np.reshape(losses, (3, 4))
    np.testing.assert_allclose(random, equal, rtol=1e-6)
    np.testing.assert_allclose(uncertainty, equal, rtol=1e-6)


@pytest.mark.quick_on_torch
def test_a_seed_has_batches_of_its_own(monkeypatch):
    """Where Keras shuffles by the number of the epoch alone, too."""
    seed_keras = keras.utils.set_random_seed
    monkeypatch.setattr(
        "keras_mtl.benchmarking.training.keras.utils.set_random_seed",
        lambda seed: seed_keras(0),
    )
    losses = []
    record_loss = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["sum_loss"])
    )
    run(
        ["equal", "random", "igb_v1"],
        keras_mtl.MultiTaskModel,
        compile_args={**COMPILE, "optimizer": keras.optimizers.SGD(0.0)},
        epochs=2,
        batch_size=8,
        callbacks=record_loss,
    )
    # By seed, weighting and epoch: the means until a batch.
    losses = np.reshape(losses, (2, 3, 2, 4))
    for weighting in (1, 2):
        np.testing.assert_allclose(
            losses[:, weighting], losses[:, 0], rtol=1e-6
        )
    assert np.all(np.abs(losses[0, :, :, 0] / losses[1, :, :, 0] - 1) > 1e-3)
    # All take the same examples.
    np.testing.assert_allclose(losses[..., -1], losses[0, 0, 0, -1], rtol=1e-5)


@pytest.mark.parametrize("split", [None, 0.3])
def test_order_of_a_seed(split):
    x = np.arange(10.0, dtype="float32")[:, None]
    data = {"x": {"a": x, "b": -x}, "y": {"t": 2 * x, "u": None}}
    data["sample_weight"] = {"t": 3 * x[:, 0], "u": None}
    ordered = order_by_seed({**data, "validation_split": split}, seed=5)
    kept = 10 if split is None else 7
    order = np.random.default_rng(5).permutation(kept)
    expected = [*order, *range(kept, 10)]
    assert expected != list(range(10))
    np.testing.assert_array_equal(ordered["x"]["a"][:, 0], expected)
    np.testing.assert_array_equal(ordered["x"]["b"], -ordered["x"]["a"])
    np.testing.assert_array_equal(ordered["y"]["t"], 2 * ordered["x"]["a"])
    np.testing.assert_array_equal(
        ordered["sample_weight"]["t"], 3 * ordered["x"]["a"][:, 0]
    )
    assert ordered["y"]["u"] is ordered["sample_weight"]["u"] is None
    assert ordered["validation_split"] == split
    np.testing.assert_array_equal(x[:, 0], range(10))


def test_order_with_validation_data():
    """Then Keras splits nothing off."""
    x = np.arange(100)
    ordered = order_by_seed(
        {"x": x, "y": x, "validation_split": 0.5, "validation_data": (x, x)},
        seed=0,
    )
    np.testing.assert_array_equal(
        ordered["x"], np.random.default_rng(0).permutation(100)
    )


@pytest.mark.parametrize("kind", ["tensor", "series", "sparse"])
def test_order_keeps_the_kind_of_arrays(kind):
    values = np.arange(6.0, dtype="float32")
    if kind == "tensor":
        x = keras.ops.convert_to_tensor(values)
    elif kind == "series":
        x = pytest.importorskip("pandas").Series(values)
    else:
        sparse = pytest.importorskip("scipy.sparse")
        x = sparse.coo_matrix(np.diag(values))
    ordered = order_by_seed({"x": x, "y": values}, seed=1)["x"]
    if kind == "sparse":
        assert sparse.issparse(ordered)
        ordered = ordered.toarray().sum(axis=1)
    elif kind == "series":
        assert type(ordered) is type(x)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(ordered),
        np.random.default_rng(1).permutation(6),
    )


@pytest.mark.parametrize(
    "arguments",
    [{"shuffle": False}, {"shuffle": "batch"}, {"x": [1, 2]}, {"y": None}],
)
def test_order_that_is_left(arguments):
    x = np.arange(6)
    fitting = {"x": x, "y": x, **arguments}
    assert order_by_seed(fitting, seed=1) is fitting


def test_arrays_of_different_lengths():
    with pytest.raises(ValueError, match="same number of samples"):
        run(data=(np.ones((5, 4)), make_data()[1]))


def test_weightings_are_made_anew():
    weighting = keras_mtl.weightings.Uncertainty()
    seen = []
    run(
        [weighting, ["igb_v1", keras_mtl.weightings.NashMTL(update_every=2)]],
        on_run_end=lambda model, record: seen.append(model.weighting),
    )
    assert not weighting.built
    assert len(set(map(id, seen))) == 4
    assert [type(x).__name__ for x in seen] == ["Uncertainty", "Chain"] * 2
    for chain in seen[1::2]:
        nash = chain.get_config()["weightings"][1]["config"]
        assert nash["update_every"] == 2


@pytest.mark.any_backend
def test_labels():
    nash = keras_mtl.weightings.NashMTL
    result = run(["equal", nash(update_every=2), ["igb_v1", nash]], seeds=[0])
    assert result.labels == ["equal", "nash_mtl", "igb_v1 + nash_mtl"]
    weightings = {"slow": nash(), "fast": nash(update_every=9)}
    result = benchmark(
        lambda: build(ScriptedModel),
        make_data(),
        compile_args=COMPILE,
        weightings=weightings,
        progress=False,
    )
    assert result.labels == ["slow", "fast"]


@pytest.mark.parametrize("given", ["data", "validation_data", "test_data"])
def test_what_results_are_measured_on(given):
    used = []

    class Model(ScriptedModel):
        def evaluate(self, x, y, sample_weight=None, **kwargs):
            used.append((x, sample_weight, kwargs["steps"]))
            return super().evaluate(x)

    data = {"data": make_data(), "steps_per_epoch": 2, "validation_steps": 3}
    for name in ["validation_data", "test_data"]:
        if given in (name, "test_data"):
            weights = {task: np.ones(8) for task in TASKS}
            data[name] = (*make_data(8), weights)
    run(["equal"], Model, seeds=[0], **data)
    ((x, sample_weight, steps),) = used
    assert x is data[given][0]
    assert (sample_weight is None) == (given == "data")
    steps_of = {"data": 2, "validation_data": 3, "test_data": None}
    assert steps == steps_of[given]


@pytest.mark.quick_on_torch
def test_data_set():
    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return make_data(8)

    result = run(["equal"], keras_mtl.MultiTaskModel, data=Data(workers=1))
    assert [record["epochs"] for record in result.records] == [1, 1]


@pytest.mark.quick_on_torch
def test_callables_are_called_for_each_run():
    optimizers, stoppers = [], []

    def make_optimizer():
        optimizers.append(keras.optimizers.SGD(0.01))
        return optimizers[-1]

    def make_callbacks():
        stoppers.append(
            keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)
        )
        return stoppers[-1:]

    result = run(
        ["equal"],
        keras_mtl.MultiTaskModel,
        compile_args={**COMPILE, "optimizer": make_optimizer},
        callbacks=make_callbacks,
        epochs=5,
    )
    # One model finds out whether the arguments work.
    assert len(optimizers) >= 3
    assert len(stoppers) == 2
    assert [record["epochs"] for record in result.records] == [2, 2]


# The comparison


def make_result(values, times=None, **arguments):
    """Makes a result of `values[label][seed] = (sum, max)`."""
    arguments = {"keys": ["sum_loss", "max_mae"], **arguments}
    records = [
        {
            "label": label,
            "seed": seed,
            "epochs": 1,
            "seconds": 1.0,
            "seconds_per_step": times[label][seed] if times else 1.0,
            "metrics": {"sum_loss": pair[0], "max_mae": pair[1], "loss": 0.0},
            "history": {"loss": [float(seed)]},
        }
        for label, pairs in values.items()
        for seed, pair in enumerate(pairs)
    ]
    return BenchmarkResult(records, labels=list(values), **arguments)


VALUES = {
    "equal": [(1.0, 10.0), (2.0, 20.0), (1.5, 10.0)],
    "a": [(2.0, 10.0), (1.0, 30.0), (1.2, 11.0)],
    "b": [(0.5, 40.0), (2.5, 10.0), (1.1, 50.0)],
}


@pytest.mark.any_backend
@pytest.mark.parametrize("baseline", ["equal", "b", None])
def test_summary_against_numpy(baseline):
    times = {"equal": [2.0, 1.0, 9.0], "a": [3.0, 3.0, 3.0], "b": [1, 1, 1]}
    summary = make_result(
        VALUES, times, baseline=baseline, scale={"max_mae": 0.1}
    ).summary()
    base = np.array(VALUES[baseline or "equal"])
    for label, values in VALUES.items():
        values = np.array(values)
        entry = summary[label]
        np.testing.assert_allclose(
            [entry["metrics"]["sum_loss"], entry["metrics"]["max_mae"]],
            np.stack([values.mean(0), values.std(0, ddof=1)], 1)
            * [[1.0], [0.1]],
        )
        delta = 100 * ((values - base) / base).mean(axis=1)
        np.testing.assert_allclose(
            entry["delta_m"], [delta.mean(), delta.std(ddof=1)], atol=1e-12
        )
        assert entry["runs"] == 3
    # Means of sum: 1.5, 1.4, 1.3667, and of max: 13.3, 17, 33.3.
    ranks = [summary[label]["mean_rank"] for label in VALUES]
    assert ranks == [2.0, 2.0, 2.0]
    expected = [2 / 1, 3 / 1, 1 / 1] if baseline == "b" else [1, 1.5, 0.5]
    assert [summary[x]["relative_time"] for x in VALUES] == expected


@pytest.mark.any_backend
def test_baseline_of_values_and_directions():
    summary = make_result(
        {"a": [(1.0, 10.0)], "b": [(3.0, 30.0)]},
        baseline={"sum_loss": 2.0, "max_mae": 2.0},
        scale={"max_mae": 0.1},
        higher_is_better=["max_mae"],
    ).summary()
    assert summary["a"]["delta_m"][0] == pytest.approx((-50 + 50) / 2)
    assert summary["b"]["delta_m"][0] == pytest.approx((50 - 50) / 2)
    assert math.isnan(summary["a"]["delta_m"][1])
    assert summary["a"]["mean_rank"] == 1.5


@pytest.mark.any_backend
def test_non_finite_results():
    values = {**VALUES, "c": [(math.nan, 1.0), (1.0, 1.0), (1.0, math.inf)]}
    result = make_result(values)
    reference = make_result(VALUES).summary()
    summary = result.summary()
    for label in VALUES:
        assert summary[label]["delta_m"] == reference[label]["delta_m"]
    assert math.isnan(summary["c"]["delta_m"][0])
    assert math.isnan(summary["c"]["metrics"]["sum_loss"][0])
    assert summary["c"]["mean_rank"] == 4.0
    assert str(result).splitlines()[5].split()[:3] == ["c", "nan", "nan"]


@pytest.mark.any_backend
def test_baseline_without_a_delta():
    summary = make_result({"equal": [(0.0, 1.0)], "a": [(1.0, 1.0)]}).summary()
    assert math.isnan(summary["a"]["delta_m"][0])
    assert summary["a"]["mean_rank"] == 1.75


@pytest.mark.any_backend
def test_printed_table():
    result = make_result(VALUES, scale={"sum_loss": 1e-9})
    assert str(result) == repr(result)
    header, rule, *rows, last_rule, caption = str(result).splitlines()
    assert " ".join(header.split()) == (
        "weighting sum_loss ↓ max_mae ↓ rank ↓ Δm (%) ↓ time"
    )
    assert len({len(line) for line in [header, rule, *rows, last_rule]}) == 1
    # From three seeds on, half of the interval: 4.303 / sqrt(3) deviations.
    sums = "1.500e-09 ± 1.242e-09"
    assert rows[0].split("  ")[0] == "equal"
    assert sums in rows[0]
    assert "13.33 ± 14.34" in rows[0]
    assert "+0.0 ± 0.0" in rows[0]
    assert "± 95 % confidence interval (Student's t) of 3 seeds" in caption
    assert "equal" in caption


@pytest.mark.any_backend
def test_many_results_go_down_the_page():
    keys = [f"task_{i}_loss" for i in range(5)]
    record = {"label": "equal", "seed": 0, "seconds_per_step": 1.0}
    record["metrics"] = {key: float(i) for i, key in enumerate(keys)}
    result = BenchmarkResult([record], keys, ["equal"])
    lines = str(result).splitlines()
    assert lines[0].split() == ["weighting", "equal"]
    assert lines[3].split() == ["task_1_loss", "↓", "1.000"]
    assert "One seed." in lines[-1]


@pytest.mark.any_backend
def test_rich_table():
    rich_console = pytest.importorskip("rich.console")
    file = io.StringIO()
    values = {"a[b]": [(1.0, 2.0)], "c": [(2.0, 1.0)]}
    table = make_result(values, higher_is_better=["max_mae"]).table()
    rich_console.Console(width=80, file=file).print(table)
    rows = [line.split() for line in file.getvalue().splitlines()]
    assert rows[0][:5] == ["weighting", "sum_loss", "↓", "max_mae", "↑"]
    assert rows[2][:3] == ["a[b]", "1.000", "2.000"]


@pytest.mark.any_backend
def test_table_in_markdown():
    result = make_result(
        {"equal": [(1.0, 2.0)], "c": [(2.0, 4.0)]},
        higher_is_better=["max_mae"],
    )
    header, rule, *rows, empty, caption = result.to_markdown().splitlines()
    assert header == (
        "| weighting | sum_loss ↓ | max_mae ↑ | rank ↓ | Δm (%) ↓ | time |"
    )
    assert rule == "| --- | ---: | ---: | ---: | ---: | ---: |"
    # The mean of 100 % worse and 100 % better.
    assert rows == [
        "| equal | **1.000** | 2.000 | 1.50 | +0.0 | 1.00 |",
        "| c | 2.000 | **4.000** | 1.50 | +0.0 | 1.00 |",
    ]
    assert empty == "" and caption.startswith("One seed. ↑: higher is better")


@pytest.mark.any_backend
def test_rich_is_missing(monkeypatch):
    for name in ["rich", "rich.table", "rich.box", "rich.progress"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="Type: pip install rich"):
        make_result(VALUES).table()
    assert str(make_result(VALUES))
    assert len(run(progress=True).records) == 4


@pytest.mark.any_backend
def test_histories():
    result = make_result(VALUES)
    assert result.histories()["a"] == {"loss": [0.0]}
    assert result.histories(seed=2)["b"] == {"loss": [2.0]}
    with pytest.raises(ValueError, match="Received: label='equal', seed=7"):
        result.histories(seed=7)


@pytest.mark.any_backend
def test_files(tmp_path):
    values = {**VALUES, "c": [(math.nan, 1.0)] * 3}
    result = make_result(values)
    summary = result.summary()
    result.to_csv(tmp_path / "result.csv")
    result.to_csv(tmp_path / "result.csv")
    result.to_json(tmp_path / "result.json")
    assert len(list(tmp_path.iterdir())) == 2
    with open(tmp_path / "result.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(values)
    for row in rows:
        entry = summary[row["label"]]
        mean, deviation = entry["metrics"]["sum_loss"]
        np.testing.assert_equal(float(row["sum_loss"]), mean)
        np.testing.assert_equal(float(row["sum_loss_std"]), deviation)
        np.testing.assert_equal(float(row["delta_m"]), entry["delta_m"][0])
        assert float(row["mean_rank"]) == entry["mean_rank"]
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["summary"]["c"]["metrics"]["sum_loss"] == [None, None]
    assert content["summary"]["a"]["delta_m"] == list(summary["a"]["delta_m"])
    assert len(content["records"]) == 12


# The file of runs


def interrupt_after(runs):
    def on_run_end(model, record):
        if len(ScriptedModel.runs) == runs:
            raise KeyboardInterrupt

    return on_run_end


def test_an_interrupted_benchmark_continues(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path=path, on_run_end=interrupt_after(3))
    assert len(path.read_text().splitlines()) == 3
    ended = []
    result = run(path=path, on_run_end=lambda model, x: ended.append(x))
    assert ScriptedModel.runs == ["Random"]
    assert ended == [result.records[-1]]
    runs = [(record["seed"], record["label"]) for record in result.records]
    assert runs == [(0, "equal"), (0, "random"), (1, "equal"), (1, "random")]
    assert [x["metrics"]["sum_loss"] for x in result.records] == [1, 2, 3, 1]
    assert math.isnan(result.records[0]["history"]["sum_loss"][0])
    assert len(path.read_text().splitlines()) == 4
    again = run(path=path)
    assert ScriptedModel.runs == []
    assert str(again) == str(result)


@pytest.mark.quick_on_torch
def test_a_file_of_version_0_1_continues(tmp_path):
    """It was written before the argument `compile` had another name."""
    old = pathlib.Path(__file__).with_name("files") / "benchmark_runs.jsonl"
    x = np.arange(128, dtype="float32").reshape(32, 4) / 128
    y = {task: getattr(x, task)(axis=-1, keepdims=True) for task in TASKS}
    lines = [json.loads(line) for line in old.read_text().splitlines()]
    for line in lines:
        # They depend on where the tests run, and the version of Keras.
        line["settings"]["backend"] = keras.backend.backend()
        line["settings"]["model"] = settings.describe_model(build())
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = []
    result = run(
        ["equal", "nash_mtl"],
        keras_mtl.MultiTaskModel,
        data=(x, y, {task: np.ones(32, "float32") for task in TASKS}),
        epochs=2,
        batch_size=8,
        validation_split=0.25,
        callbacks=[keras.callbacks.TerminateOnNaN()],
        path=path,
        on_run_end=lambda model, record: ended.append(record),
    )
    assert [(x["seed"], x["label"]) for x in ended] == [(1, "nash_mtl")]
    assert len(result.records) == 4
    first = {key: x for key, x in lines[0].items() if key != "settings"}
    assert result.records[0] == first
    # What is written now has the same settings.
    *_, last = map(json.loads, path.read_text().splitlines())
    assert last["settings"] == lines[1]["settings"]


@pytest.mark.any_backend
@pytest.mark.parametrize("kept", [1, 5, 11, 300, -1])
def test_a_truncated_line_is_repeated(tmp_path, kept):
    path = tmp_path / "runs.jsonl"
    run(path=path)
    *lines, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines) + last[:kept])
    with pytest.warns(UserWarning, match="The last line of .* is not whole"):
        result = run(path=path)
    assert ScriptedModel.runs == ["Random"]
    assert len(result.records) == 4
    assert path.read_text().splitlines(keepends=True)[:3] == lines
    run(path=path)
    assert ScriptedModel.runs == []


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "kept, end",
    [
        (1, "\n"),
        (1, ""),
        (10, ""),
        (40, "\n"),
        (40, ""),
        (300, "{half}"),
        (-3, ""),
    ],
)
def test_half_a_line_in_the_middle_is_repeated(tmp_path, kept, end):
    path = tmp_path / "runs.jsonl"
    # A label that looks like the beginning of a line.
    weightings = {"equal": "equal", 'a}\\"{"label": ': "random"}
    run(weightings=weightings, path=path)
    first, second, *others = path.read_text().splitlines(keepends=True)
    half = second[:kept]
    end = end.format(half=half)
    path.write_text(first + half + end + "".join(others))
    with pytest.warns(UserWarning, match="Line 2 of .* is not whole"):
        result = run(weightings=weightings, path=path)
    assert ScriptedModel.runs == ["Random"]
    assert len(result.records) == 4
    *lines, _ = path.read_text().splitlines(keepends=True)
    assert lines == [first, *others]
    run(weightings=weightings, path=path)
    assert ScriptedModel.runs == []


def changed_record(**changes):
    def change(line):
        return json.dumps(json.loads(line) | changes)

    return change


BROKEN_LINES = {
    "a byte": lambda line: line.replace('"seed": ', '"seed"; '),
    "a bracket": lambda line: line.replace('"metrics": {', '"metrics": '),
    "deep": lambda line: '{"label": ' + 5000 * "[" + 5000 * "]" + "}",
    "deep settings": lambda line: line.replace(
        '"settings": {',
        '"settings": {"a": ' + 300 * "[" + "0" + 300 * "]" + ", ",
    ),
    "label": changed_record(label={}),
    "seed": changed_record(seed=[0]),
    "infinite seed": changed_record(seed=math.inf),
    "metrics": changed_record(metrics={"loss": "low"}),
    "nested metrics": changed_record(metrics={"loss": {"a": 1.0}}),
    "large": changed_record(metrics={"loss": 10**400}),
    "history": changed_record(history=[1.0]),
    "seconds": changed_record(seconds="1"),
    "settings": changed_record(settings=["weighting"]),
}


@pytest.mark.any_backend
@pytest.mark.parametrize("kind", BROKEN_LINES)
def test_a_broken_line_is_named(tmp_path, kind):
    path = tmp_path / "runs.jsonl"
    run(path=path)
    lines = path.read_text().splitlines()
    lines[2] = BROKEN_LINES[kind](lines[2])
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"Expected {path} .*: line 3, "):
        run(path=path)
    assert path.read_text() == text


@pytest.mark.any_backend
@pytest.mark.parametrize("text", ["notes", "notes\n", "{}\n", "[1]\n", "\n"])
def test_another_file_is_kept(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="one with the runs of a benchmark"):
        run(path=path)
    assert path.read_text() == text


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"epochs": 3}, "`fit/epochs` is 1 in the file and 3 now"),
        ({"batch_size": 4}, "`fit/batch_size` is None in the file and 4 now"),
        (
            {"compile_args": {**COMPILE, "optimizer": "sgd"}},
            "`compile/optimizer`",
        ),
        (
            {"data": make_data(31)},
            r"`fit/x` is 'float32 array \(32, 4\) .*\(31",
        ),
        ({"test_data": make_data(31)}, r"`evaluate/y/max` is 'float32 array"),
        ({"steps_per_epoch": 2}, "`fit/steps_per_epoch` is None"),
        (
            {"callbacks": [keras.callbacks.TerminateOnNaN()]},
            "`callbacks/0/class` is None",
        ),
        (
            {"build": lambda: build(ScriptedModel, units=9)},
            "`model/parameters` is 58 in the file and 65 now",
        ),
    ],
)
def test_other_settings(tmp_path, arguments, message):
    path = tmp_path / "runs.jsonl"
    run(path=path)
    text = path.read_text()
    with pytest.raises(ValueError, match=message):
        run(path=path, **arguments)
    assert path.read_text() == text


@pytest.mark.any_backend
def test_other_configuration_of_a_weighting(tmp_path):
    path = tmp_path / "runs.jsonl"
    nash = keras_mtl.weightings.NashMTL
    run(["equal", "nash_mtl"], path=path)
    # An instance with the same configuration is the same.
    run(["equal", nash()], path=path)
    assert ScriptedModel.runs == []
    with pytest.raises(ValueError, match="update_every` is 1 in the file"):
        run(["equal", nash(update_every=5)], path=path)


@pytest.mark.any_backend
def test_settings_that_may_change(tmp_path):
    path = tmp_path / "runs.jsonl"
    run(["equal", "random"], path=path)
    result = run(
        ["scale_invariant", "equal"],
        path=path,
        seeds=(1, 2),
        baseline="equal",
        metrics=["loss", "max_loss"],
        scale={"loss": 10.0},
        higher_is_better=["loss"],
    )
    assert ScriptedModel.runs == ["ScaleInvariant", "ScaleInvariant", "Equal"]
    assert result.summary()["equal"]["metrics"]["loss"][0] == 10.0
    assert len(path.read_text().splitlines()) == 7


def test_settings_do_not_depend_on_the_process():
    """What Keras numbers, and where an object is, must not matter."""

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 7

    class Endless:
        def __len__(self):
            raise TypeError

    def describe():
        model = build()
        return settings.describe_model(model), settings.describe(
            {
                "weighting": keras_mtl.weightings.get(["igb_v1", "nash_mtl"]),
                "optimizer": keras.optimizers.Adam(
                    keras.optimizers.schedules.CosineDecay(0.1, 7)
                ),
                "loss": keras.losses.Huber(2.0),
                "function": describe,
                "words": np.array(["a", "b"], dtype=object),
                "data": Data(),
                "endless": Endless(),
                "callback": keras.callbacks.TerminateOnNaN(),
            }
        )

    first = describe()
    assert first == describe()
    assert json.loads(json.dumps(first[1])) == first[1]
    assert first[1]["data"] == {"class": Data.__qualname__, "size": 7}
    assert first[1]["endless"]["size"] is None


# Bad input


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"weightings": []}, "with at least one. Received: weightings={}"),
        ({"weightings": ["equal", "equal"]}, r"more than one \['equal'\]"),
        ({"weightings": ["equal", "nosh_mtl"]}, "'nash_mtl'"),
        ({"seeds": []}, r"0 or more. Received: seeds=\[\]"),
        ({"seeds": [1, 1]}, r"0 or more. Received: seeds=\[1, 1\]"),
        ({"seeds": [-1]}, r"0 or more. Received: seeds=\[-1\]"),
        ({"seeds": [0.5]}, r"0 or more. Received: seeds=\[0.5\]"),
        ({"seeds": 3}, "integers, 0 or more. Received: seeds=3"),
        ({"epochs": 0}, "at least 1. Received: epochs=0"),
        ({"epochs": 1.5}, "at least 1. Received: epochs=1.5"),
        ({"baseline": "nash_mtl"}, "'random'.*Received: 'nash_mtl'"),
        ({"baseline": {"sum_loss": 1.0}}, r"not in `baseline` \['max_loss'\]"),
        ({"baseline": {"sum_loss": 1.0, "max_loss": 0.0}}, "zero for"),
        ({"scale": {"max": 2.0}}, r"'max_loss'\]. Received: \['max'\]"),
        ({"higher_is_better": ["mae"]}, r"`higher_is_better`.*\['mae'\]"),
        ({"higher_is_better": {"mae": True}}, r"`higher_is.*\['mae'\]"),
        ({"higher_is_better": {"max_loss": 1}}, "Received: {'max_loss': 1}"),
        ({"metrics": {"mean": "mae"}}, "Received: metrics={'mean': 'mae'}"),
        ({"metrics": []}, r"not to be empty. Received: metrics=\[\]"),
        (
            {"metrics": ["sum_mae"]},
            r"better for \['sum_mae'\].*higher_is_better={'sum_mae': True}",
        ),
        ({"data": make_data()[:1]}, "a tuple of 1"),
        ({"data": iter([make_data()])}, "read from its beginning"),
        ({"build": None}, "Received: None of type"),
        ({"build": lambda: keras.Sequential()}, "new, uncompiled Multi"),
        (
            {"compile_args": {**COMPILE, "weighting": "equal"}},
            "to have no weighting",
        ),
        ({"compile_args": None}, "Received: compile_args=None"),
        ({"compile_args": "adam"}, "Received: compile_args=adam"),
        ({"weighting": "equal"}, r"Received: \['weighting'\]"),
        ({"y": 1}, r"Received: \['y'\]"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(**arguments)
    assert ScriptedModel.runs == []


@pytest.mark.any_backend
def test_results_that_only_a_run_tells():
    """Here, `evaluate` is the user's own."""
    with pytest.raises(ValueError, match=r"'max_loss'\]. Received: \['acc'\]"):
        run(metrics=["acc"], higher_is_better=["acc"])
    assert len(ScriptedModel.runs) == 1


def test_old_name_of_compile_args():
    with pytest.warns(DeprecationWarning, match="`compile_args` now") as seen:
        result = benchmark(
            lambda: build(ScriptedModel),
            make_data(),
            compile=COMPILE,
            weightings=["equal"],
            progress=False,
        )
    assert seen[0].filename == __file__
    assert len(result.records) == 1
    with pytest.raises(ValueError, match="its old name. Received: both"):
        run(compile=COMPILE)


@pytest.mark.any_backend
def test_weightings_is_a_name():
    with pytest.raises(ValueError, match="Received: weightings=equal"):
        benchmark(build, make_data(), compile_args=COMPILE, weightings="equal")


@pytest.mark.any_backend
def test_build_returns_the_same_model():
    model = build(ScriptedModel)
    with pytest.raises(ValueError, match="uncompiled.*, compiled"):
        run(build=lambda: model)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "given",
    [build, lambda units: build(units=units), "a model"],
    ids=["model", "function of arguments", "text"],
)
def test_what_is_no_builder(given):
    given = given() if given is build else given
    with pytest.raises(ValueError, match="a function without arg") as error:
        run(build=given)
    assert "    def build():\n" in str(error.value)
    assert f"Received: {given} of type {type(given)}. Move" in str(error.value)


# Names of weightings


@pytest.mark.any_backend
def test_labels_are_canonical():
    names = ["Equal", "NashMTL", "scale-invariant", ["IGBv1", "nash-mtl"]]
    result = run(names, seeds=[0], baseline="NashMTL")
    assert result.labels == [
        *["equal", "nash_mtl", "scale_invariant", "igb_v1 + nash_mtl"]
    ]
    assert result.baseline == "nash_mtl"
    with pytest.raises(ValueError, match=r"more than one \['nash_mtl'\]"):
        run(["NashMTL", "nash_mtl"])
    # A label of one's own stays as it is.
    mine = {"NashMTL": "equal", "Equal + a": "random"}
    assert run(mine, seeds=[0]).labels == list(mine)


@pytest.mark.any_backend
@pytest.mark.parametrize("old", ["NashMTL", "Nash_MTL"])
def test_runs_of_another_spelling_continue(tmp_path, old):
    path = tmp_path / "runs.jsonl"
    # As versions before wrote it, and as a label of one's own is written.
    run({"equal": "equal", old: "nash_mtl", "Equal + x": "random"}, path=path)
    result = run(["equal", "NashMTL"], path=path)
    assert ScriptedModel.runs == []
    runs = [(record["seed"], record["label"]) for record in result.records]
    assert runs == [(s, x) for s in (0, 1) for x in ("equal", "nash_mtl")]
    assert result.records[1]["metrics"]["sum_loss"] == 2.0


@pytest.mark.any_backend
def test_another_spelling_of_another_weighting(tmp_path):
    """A label of one's own may look like the name of a method."""
    path = tmp_path / "runs.jsonl"
    other = keras_mtl.weightings.NashMTL(update_every=7)
    run({"NashMTL": other}, path=path, seeds=[0])
    run(["nash_mtl"], path=path, seeds=[0])
    assert ScriptedModel.runs == ["NashMTL"]
    # What is found under its own name comes before another spelling.
    run({"nash-mtl": "nash_mtl"}, path=path, seeds=[0])
    first = run(["nash_mtl"], path=path, seeds=[0])
    assert ScriptedModel.runs == []
    assert len(path.read_text().splitlines()) == 3
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in reversed(lines)))
    again = run(["nash_mtl"], path=path, seeds=[0])
    assert ScriptedModel.runs == [] and again.records == first.records


# Time and progress


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(step_timer.time, "perf_counter", lambda: self.now)


def test_step_timer(monkeypatch):
    clock = Clock(monkeypatch)

    def train(epochs, steps=4, known=True, steps_per_execution=1):
        timer = step_timer.StepTimer()
        model = build()
        model.compile(**COMPILE, steps_per_execution=steps_per_execution)
        timer.set_model(model)
        timer.set_params({"steps": steps if known else None})
        timer.on_train_begin()
        for epoch, seconds in enumerate(epochs):
            timer.on_epoch_begin(epoch)
            for step in range(0, steps, steps_per_execution):
                timer.on_train_batch_begin(step)
                clock.now += seconds * steps_per_execution
                # The first step compiles.
                clock.now += 100.0 * (epoch == step == 0)
            timer.on_test_begin()
            clock.now += 7.0
            timer.on_epoch_end(epoch)
        timer.on_train_end()
        return timer

    timer = train([1.0, 2.0, 5.0, 3.0])
    assert timer.seconds_per_step == pytest.approx(3.0)
    assert timer.seconds == pytest.approx(100 + 4 * 11.0 + 4 * 7.0)
    assert train([1.0]).seconds_per_step == pytest.approx(1.0)
    assert train([1.0], known=False).seconds_per_step == pytest.approx(1.0)
    timer = train([1.0], known=False, steps_per_execution=2)
    assert timer.seconds_per_step == pytest.approx(1.0)
    assert train([1.0], steps=1).seconds_per_step == pytest.approx(101.0)


@pytest.mark.any_backend
def test_lines_of_progress(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    run(progress=True, epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("[2/4] random, seed 0: 3 epochs, loss 1, ")
    assert all(line.endswith(" s; about 1 s left") for line in lines[:3])
    assert lines[3].endswith(" s")
    run(progress=False)
    assert capsys.readouterr().out == ""


@pytest.mark.any_backend
def test_bar_of_progress(monkeypatch):
    rich = pytest.importorskip("rich")
    from rich.console import Console

    console = Console(
        force_terminal=True, width=100, record=True, file=io.StringIO()
    )
    monkeypatch.setattr(rich, "get_console", lambda: console)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    run(["equal", "random"], progress=True, epochs=3)
    text = console.export_text()
    assert "[4/4] random, seed 1" in text
    assert "epoch 3/3, loss 1" in text
    assert re.search(r"epoch 3/3, loss 1, about \d+ s left", text)


@pytest.mark.any_backend
def test_progress_of_a_benchmark_that_continues(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    run(path=path, seeds=[0])
    run(path=path, seeds=[0, 1], progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[3/4] equal, seed 1: ")
    assert lines[1].startswith("[4/4] random, seed 1: ")


@pytest.mark.any_backend
def test_time_that_is_left(monkeypatch):
    clock = Clock(monkeypatch)
    left = TimeLeft(["a", "b", "a", "b"], {})
    assert left.seconds() is None and str(left) == ""
    left.start()
    clock.now += 20.0
    left.show(0.25)
    # By its own epochs, a run takes 80 s: 60 s of this one, and three more.
    assert left.seconds() == pytest.approx(300.0)
    assert str(left) == "about 5 min left"
    clock.now += 80.0
    left.end()
    assert left.done == 1 and left.seconds() == pytest.approx(300.0)
    left.start()
    clock.now += 7100.0
    left.end()
    # Of each weighting, its own runs.
    assert left.seconds() == pytest.approx(7200.0)
    assert str(left) == "about 2 h 0 min left"
    left.start()
    left.show(0.5)
    assert left.seconds() == pytest.approx(7150.0)
    left.end()
    left.start()
    left.end()
    assert left.seconds() == 0.0 and str(left) == ""


@pytest.mark.any_backend
def test_time_that_is_left_by_runs_before():
    left = TimeLeft(["a", "b"], {"a": [10.0, math.nan, 30.0]})
    assert left.done == 3
    assert left.seconds() == pytest.approx(20.0 + 20.0)
    assert str(left) == "about 40 s left"
