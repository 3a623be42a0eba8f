import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.callbacks import TaskReport
from keras_mtl.selection import TaskSampler
from tests import utils

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = {"seg": X[:, :1], "seg_fine": X[:, 1:2]}


def make_model(weighting="dwa"):
    x = keras.Input((3,))
    h = layers.Dense(2)(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in Y})
    metrics = {"seg": ["mae"], "seg_fine": ["mae", "mape"]}
    model.compile(
        "sgd",
        dict.fromkeys(Y, "mse"),
        metrics=metrics,
        weighting=weighting,
        **utils.EAGER,
    )
    return model


def reported(epochs, every=1):
    """Returns the reports of the logs of some epochs."""
    texts = []
    report = TaskReport(every, texts.append)
    report.set_model(make_model())
    report.on_train_begin()
    for epoch, logs in enumerate(epochs):
        report.on_epoch_end(epoch, logs)
    return texts


@pytest.mark.once
def test_a_report_of_a_training():
    texts = []
    report = TaskReport(print_fn=texts.append)
    history = make_model().fit(
        X, Y, validation_data=(X, Y), callbacks=[report], verbose=0
    )
    (text,) = texts
    assert text.startswith("Epoch 1: loss ")
    lines = [line.split() for line in text.splitlines()[1:]]
    assert lines[0] == ["task", "loss", "val", "loss", "weight", "metrics"]
    assert [line[0] for line in lines[1:]] == list(Y)
    for line, task in zip(lines[1:], Y, strict=True):
        names = f"{task}_loss", f"val_{task}_loss", f"weight/{task}"
        logs = [history.history[name][0] for name in names]
        np.testing.assert_allclose([float(x) for x in line[1:4]], logs, 6e-3)
    assert lines[1][4::2] == ["mae"] and lines[2][4::2] == ["mae", "mape"]
    shown = float(lines[2][5])
    np.testing.assert_allclose(
        shown, history.history["val_seg_fine_mae"][0], 6e-3
    )


@pytest.mark.any_backend
def test_trends_since_the_last_report():
    losses = [1.0, 0.5, 0.501, 0.6, float("nan"), 0.3]
    texts = reported([{"loss": 2.0, "seg_loss": x} for x in losses])
    rows = [text.splitlines()[2].split() for text in texts]
    shown = ["", "↓", "→", "↑", "", "↓"]
    assert [row[-1] if len(row) > 2 else "" for row in rows] == shown
    # Every second report compares with the one before.
    texts = reported([{"seg_loss": x} for x in (1, 2, 3, 4)], every=2)
    assert [text[:7] for text in texts] == ["Epoch 2", "Epoch 4"]
    assert texts[1].splitlines()[2].split() == ["seg", "4.00", "↑"]


@pytest.mark.any_backend
def test_trends_of_validation_data_in_some_epochs():
    logs = {"seg_loss": 1.0}
    texts = reported([logs, {**logs, "val_seg_loss": 5.0}, logs])
    rows = [text.splitlines()[2].split() for text in texts]
    assert rows == [["seg", "1.00"], ["seg", "1.00", "5.00"], rows[2]]
    assert rows[2] == ["seg", "1.00", "→"]


@pytest.mark.any_backend
def test_many_tasks_fit_the_terminal(capsys):
    tasks = [f"toxicity_in_assay_number_{i}" for i in range(60)]
    report = TaskReport()
    x = keras.Input((3,))
    h = layers.Dense(2)(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in tasks})
    model.compile("sgd", "mse")
    report.set_model(model)
    report.on_train_begin()
    logs = {f"{t}_loss": 10.0**-i for i, t in enumerate(tasks)}
    logs.update({f"val_{t}_mae": 1.0 for t in tasks})
    logs.update({f"weight/{t}": 1.0 for t in tasks})
    report.on_epoch_end(0, logs)
    _, header, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 60 and max(map(len, rows)) <= 80
    # The numbers of a column end where its title does.
    end = header.index("loss") + len("loss")
    assert all(row[end : end + 1] == " " != row[end - 1] for row in rows)


@pytest.mark.once
def test_with_a_task_sampler():
    texts = []
    sampler = TaskSampler({t: (X, Y[t]) for t in Y}, batch_size=4)
    make_model("equal").fit(
        sampler, callbacks=[TaskReport(print_fn=texts.append)], verbose=0
    )
    header = texts[0].splitlines()[1].split()
    assert header == ["task", "loss", "share", "metrics"]


@pytest.mark.any_backend
def test_bad_arguments():
    with pytest.raises(ValueError, match="`every` to be a positive.*every=0"):
        TaskReport(every=0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`TaskReport` to watch.*MultiTaskMod"):
        model.fit(X, Y["seg"], callbacks=[TaskReport()], verbose=0)
