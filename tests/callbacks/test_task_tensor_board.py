import struct
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.callbacks import TaskTensorBoard
from keras_mtl.selection import TaskSampler
from tests import utils

event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = {"seg": X[:, :1], "a/depth": X[:, 1:2]}


def make_model(weighting="dwa"):
    x = keras.Input((3,))
    h = layers.Dense(2)(x)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in Y})
    model.compile(
        "sgd",
        dict.fromkeys(Y, "mse"),
        metrics=dict.fromkeys(Y, "mae"),
        weighting=weighting,
        **utils.EAGER,
    )
    return model


def events(folder):
    """Yields the events of the one file in a folder."""
    (path,) = folder.glob("events.out.tfevents.*")
    data = path.read_bytes()
    while data:
        # A record: its length, a checksum of that, the event, its checksum.
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def scalars(folder):
    """Returns a dict of name to a dict of step to value."""
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_scalars_of_a_training(tmp_path):
    board = TaskTensorBoard(tmp_path, (X, Y), every=2)
    model = make_model()
    gramians = []
    other = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: gramians.append(model.gramian(X, Y))
    )
    options = {"validation_data": (X, Y), "epochs": 2, "verbose": 0}
    logs = model.fit(X, Y, callbacks=[board, other], **options).history
    total = scalars(tmp_path)
    tasks = {"seg": "seg", "a/depth": "a_depth"}
    for task, folder in tasks.items():
        found = scalars(tmp_path / folder)
        for name, key in [
            ("loss", f"{task}_loss"),
            ("val_loss", f"val_{task}_loss"),
            ("weight", f"weight/{task}"),
            ("val_mae", f"val_{task}_mae"),
        ]:
            assert list(found[name]) == [0, 1]
            np.testing.assert_allclose([*found[name].values()], logs[key])
        norm = gramians[1][list(tasks).index(task)][list(tasks).index(task)]
        np.testing.assert_allclose(
            found["gradient_norm"][1], np.sqrt(norm), 1e-5
        )
    for name in "loss", "val_loss", "task_variance":
        np.testing.assert_allclose([*total[name].values()], logs[name], 1e-6)
    # Measured after every second epoch.
    (((a, b), (_, c)),) = gramians[1:]
    assert list(total["gradients/cosine_min"]) == [1]
    cosine = b / np.sqrt(a * c)
    np.testing.assert_allclose(total["gradients/cosine_mean"][1], cosine, 1e-4)
    eigenvalues = np.linalg.eigvalsh(np.float64(gramians[1]))
    for name, value in zip(("min", "max"), eigenvalues, strict=True):
        found = total[f"gramian/eigenvalue_{name}"][1]
        np.testing.assert_allclose(found, value, 1e-3)
    found = total["gramian/condition_number"][1]
    np.testing.assert_allclose(found, eigenvalues[1] / eigenvalues[0], 1e-2)


@pytest.mark.once
def test_a_second_training_and_a_sampler(tmp_path):
    model, board = make_model("equal"), TaskTensorBoard(tmp_path / "first")
    sampler = TaskSampler({t: (X, Y[t]) for t in Y}, batch_size=4)
    model.fit(sampler, callbacks=[board], verbose=0)
    assert "share" in scalars(tmp_path / "first" / "seg")
    assert "gramian/eigenvalue_max" not in scalars(tmp_path / "first")
    board = TaskTensorBoard(tmp_path / "second")
    model.fit(X, Y, initial_epoch=3, epochs=4, callbacks=[board], verbose=0)
    assert list(scalars(tmp_path / "second" / "seg")["weight"]) == [3]


def test_tensorboard_reads_the_files(tmp_path):
    if utils.BACKEND != "tensorflow":
        pytest.skip("TensorBoard's reader imports TensorFlow, which takes long")
    from tensorboard.backend.event_processing import event_accumulator

    make_model().fit(X, Y, callbacks=[TaskTensorBoard(tmp_path)], verbose=0)
    reader = event_accumulator.EventAccumulator(str(tmp_path / "seg")).Reload()
    assert set(reader.Tags()["scalars"]) == {"loss", "mae", "weight"}


@pytest.mark.any_backend
def test_spectrum():
    spectrum = keras_mtl.callbacks.task_tensor_board.spectrum
    found = spectrum(np.zeros((3, 3)))
    assert found["gramian/condition_number"] == np.inf
    assert "gradients/cosine_min" not in found
    found = spectrum(np.full((2, 2), np.nan))
    assert found == {}
    g = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, 2.0]])
    found = spectrum(g @ g.T)
    cosines = np.array([-1, 0, 2]) / np.sqrt([2, 4, 8])
    assert found["gradients/cosine_min"] == pytest.approx(min(cosines))
    assert found["gradients/cosine_mean"] == pytest.approx(np.mean(cosines))


@pytest.mark.any_backend
def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer", None)
    with pytest.raises(ImportError, match="Type `pip install tensorboard`"):
        TaskTensorBoard(tmp_path)


@pytest.mark.any_backend
def test_it_needs_no_tensorflow(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = None\n"
        "from tensorboard.summary.writer import record_writer\n"
        f"record_writer.RecordWriter(open({str(tmp_path / 'f')!r}, 'wb'))"
        ".write(b'')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.any_backend
def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="`data` to be a batch.*ndarray"):
        TaskTensorBoard(tmp_path, X)
    with pytest.raises(ValueError, match="`every` to be a positive.*every=0"):
        TaskTensorBoard(tmp_path, every=0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`TaskTensorBoard` to watch"):
        model.fit(X, Y["seg"], callbacks=[TaskTensorBoard(tmp_path)], verbose=0)
