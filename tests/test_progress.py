"""What `fit` prints while it trains."""

import re
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.selection import TaskSampler
from keras_mtl.training import progress
from keras_mtl.training import short_texts
from tests import utils

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def labels(count):
    names = [f"property_{i}" for i in range(count)]
    values = [10.0 * (1 + i) for i in range(count)]
    return {t: np.full((8, 1), x, "float32") for t, x in zip(names, values)}


def trained(count, metrics=None, **kwargs):
    y = labels(count)
    x = keras.Input((3,))
    h = layers.Dense(2)(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in y})
    metrics = None if metrics is None else dict.fromkeys(y, metrics)
    model.compile(
        keras.optimizers.SGD(1e-9),
        dict.fromkeys(y, "mse"),
        metrics=metrics,
        weighting="igb_v1",
        **utils.EAGER,
    )
    return model.fit(X, y, batch_size=4, **kwargs).history


@pytest.fixture(autouse=True)
def no_notebook(monkeypatch):
    """Tests of notebooks leave behind what makes lines coloured."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def drawn(capsys):
    """Returns the lines as they stood one after the other in one place."""
    text = capsys.readouterr().out.replace("\n", "\r")
    return [line.rstrip() for line in text.split("\r") if line.strip()]


@pytest.mark.once
@pytest.mark.parametrize("count", [2, 11, 30])
def test_lines_fit_the_terminal(count, capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    trained(count, "mae", epochs=2, verbose=1)
    lines = drawn(capsys)
    assert lines[0] == "Epoch 1/2" and lines[4] == "Epoch 2/2"
    assert lines[1].startswith("1/2 ━━━━━╌╌╌╌╌ ")
    assert lines[3].startswith("2/2 ━━━━━━━━━━ ")
    assert max(len(line) for line in lines[1:3]) < 80
    assert max(map(len, lines)) < (160 if count == 2 else 80)
    assert "weight/" not in "".join(lines)
    # The largest loss and the smallest are there.
    for line in lines[1:4]:
        assert f" pro{count - 1} " in line and " pro0 " in line
        assert ("…" in line) == (count > 2)


@pytest.mark.once
def test_two_tasks_with_validation_data_and_metrics(capsys):
    y = labels(2)
    logs = trained(2, "mae", verbose=1, validation_data=(X, y))
    (*_, last) = drawn(capsys)
    number = {k: short_texts.short_number(v[0]) for k, v in logs.items()}
    assert last.split("/step - ")[1] == (
        "loss {loss} - val {val_loss}: pro0 {val_property_0_loss} pro1 "
        "{val_property_1_loss} - val_property_0_mae {val_property_0_mae} - "
        "val_property_1_mae {val_property_1_mae}"
    ).format(**number)


@pytest.mark.once
def test_one_line_an_epoch(capsys):
    trained(11, verbose=2, epochs=2)
    lines = drawn(capsys)
    assert [line[:6] for line in lines] == ["Epoch ", "2/2 - "] * 2
    assert lines[1].count(" - ") == 3 and len(lines[1]) < 4 * 80
    # In a file there is room for the loss of every task.
    assert len(re.findall(r"pro\d+ ", lines[1])) == 11


def test_history_and_logs_are_the_same(capsys):
    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(list(logs))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(list(logs))

    runs = []
    for verbose in 0, 1:
        keras.utils.set_random_seed(0)
        seen = []
        history = trained(2, "mae", verbose=verbose, callbacks=[Keep()])
        runs.append((history, seen))
    assert runs[0] == runs[1]
    assert capsys.readouterr().out


@pytest.mark.once
def test_a_task_sampler(capsys):
    y = labels(2)
    x = keras.Input((3,))
    h = layers.Dense(2)(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in y})
    model.compile("sgd", dict.fromkeys(y, "mse"), **utils.EAGER)
    sampler = TaskSampler({t: (X, y[t]) for t in y}, batch_size=4)
    model.fit(sampler, verbose=1)
    (*_, last) = drawn(capsys)
    assert " - loss " in last and "share" not in last


@pytest.mark.any_backend
def test_steps_may_run_ahead_of_it():
    # Keras hands logs to callbacks in another thread if all of them allow it.
    bar = progress.TaskProgress(["a", "b"])
    alone = keras.callbacks.CallbackList([])
    assert keras.callbacks.CallbackList([bar])._async_train == (
        alone._async_train
    )


@pytest.mark.any_backend
def test_only_where_no_other_bar_is():
    own = keras.callbacks.ProgbarLogger()
    tasks = ["a", "b"]
    assert progress.with_progress([own], tasks, 1) == [own]
    assert progress.with_progress([], tasks, 0) == []
    listed = keras.callbacks.CallbackList([])
    assert progress.with_progress(listed, tasks, 1) is listed
    (bar,) = progress.with_progress([], tasks, "auto")
    added = keras.callbacks.CallbackList([bar], add_progbar=True)
    assert added.callbacks == [bar]


@pytest.mark.once
def test_a_report_follows_the_last_line(capsys):
    report = keras_mtl.callbacks.TaskReport()
    trained(2, verbose=1, callbacks=[report])
    lines = drawn(capsys)
    assert lines[-5].startswith("2/2 ") and lines[-4].startswith("Epoch 1: ")
    assert "step" not in "".join(lines[-4:])


@pytest.mark.any_backend
def test_an_unknown_number_of_steps(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    bar = progress.TaskProgress(["a", "b"])
    bar.set_params({"verbose": 1, "epochs": 1, "steps": None})
    for epoch in range(2):
        bar.on_epoch_begin(epoch)
        for step in 0, 2, 1:
            bar.on_train_batch_end(step, {"loss": 2.0, "own": 1e-9})
        bar.on_epoch_end(epoch, {"loss": 2.0, "a_loss": float("nan")})
    lines = drawn(capsys)
    assert lines[0].startswith("1/Unknown ") and " own 1.00e-9" in lines[0]
    assert lines[1].startswith("3/Unknown ")
    assert lines[2].startswith("3/3 ") and "loss 2.00: a nan" in lines[2]
    assert lines[3].startswith("1/3 ")


@pytest.mark.any_backend
def test_times():
    shown = [progress._duration(x) for x in (0.4, 75, 3700)]
    assert shown == ["0s", "1:15", "1:01:40"]
    shown = [progress._per_step(x) for x in (0, 2.2, 0.03, 4e-6)]
    assert shown == ["0s/step", "2s/step", "30ms/step", "4us/step"]


@pytest.mark.any_backend
def test_short_names_are_apart():
    names = ["a_very_long_first", "b_very_long_first", "c"]
    short = short_texts.short_names(names)
    assert short == {names[0]: "a_ve…rst", names[1]: "b_ve…rst", "c": "c"}
    names = [f"layer{i}_of_the_net" for i in range(3)]
    short = short_texts.short_names(names)
    assert len(set(short.values())) == 3
    assert short_texts.short_names([]) == {}


@pytest.mark.any_backend
def test_losses_that_fit_nowhere():
    losses = {"a": 1.0, "b": float("nan"), "c": 2.0}
    line = short_texts.losses_in(25, "loss", 3.0, losses)
    assert line == "loss 3.00: b nan … a 1.00"
    line = short_texts.losses_in(20, "loss", 3.0, losses)
    assert line == "loss 3.00: b nan …"
    assert short_texts.losses_in(12, "loss", 3.0, losses) == "loss 3.00"
