"""Files of a model are whole at any moment, and broken ones are named."""

import os
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.backend import files
from tests import killed

SUFFIXES = [".keras", ".weights.h5"]


def save(model, path):
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)


def shifted(model):
    """Sets other weights, and returns those that there were."""
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    return before


def assert_file_has(path, weights):
    model = killed.make_model(seed=3)
    model.load_weights(path)
    for new, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(new, old)
    if path.suffix == ".keras":
        loaded = keras.models.load_model(path)
        for new, old in zip(loaded.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(new, old)


def fail_at(call, function):
    """Returns `function`, which raises in its call with this number."""
    count = iter(range(10**6))

    def failing(*args, **kwargs):
        if next(count) == call:
            raise killed.Killed
        return function(*args, **kwargs)

    return failing


MOMENTS = {
    "first array": (h5py.Group, "__setitem__", 0),
    "later array": (h5py.Group, "__setitem__", 6),
    "close": (h5py.File, "close", 0),
    "sync": (os, "fsync", 0),
    "replacement": (os, "replace", 0),
}


@pytest.mark.once
@pytest.mark.diagonal
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_in_mid_write(suffix, moment, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    model = killed.make_model()
    save(model, path)
    before = shifted(model)
    with monkeypatch.context() as patch, pytest.raises(killed.Killed):
        owner, name, call = MOMENTS[moment]
        patch.setattr(owner, name, fail_at(call, getattr(owner, name)))
        save(model, path)
    assert_file_has(path, before)
    assert os.listdir(tmp_path) == [path.name]
    save(model, path)
    assert_file_has(path, model.get_weights())


DIE = """
import os, pathlib, signal
import h5py
from tests import killed, test_checkpointing
folder = pathlib.Path({folder!r})
model = killed.make_model()
setter = h5py.Group.__setitem__
for suffix in test_checkpointing.SUFFIXES:
    test_checkpointing.save(model, folder / ("model" + suffix))
def dies(group, name, value):
    if count.pop():
        setter(group, name, value)
    else:
        group.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
before = test_checkpointing.shifted(model)
count = [False, True, True, True]
h5py.Group.__setitem__ = dies
test_checkpointing.save(model, folder / "model.weights.h5")
"""


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX"
)
def test_a_kill_in_mid_write(tmp_path):
    code = DIE.format(folder=str(tmp_path))
    killed.run_until_killed(code)
    expected = killed.make_model().get_weights()
    for suffix in SUFFIXES:
        assert_file_has(tmp_path / f"model{suffix}", expected)
    # What was being written, which no one takes for a checkpoint.
    (rest,) = set(os.listdir(tmp_path)) - {f"model{s}" for s in SUFFIXES}
    assert rest.startswith(".")
    with pytest.raises(ValueError, match="Expected .*Received"):
        killed.make_model().load_weights(tmp_path / rest)


def test_links_and_modes_of_saving(tmp_path, monkeypatch):
    model = killed.make_model()
    target, link = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    model.save_weights(target)
    link.symlink_to(target)
    before = shifted(model)
    answers = [False, True]
    monkeypatch.setattr(
        "keras.src.utils.io_utils.ask_to_proceed_with_overwrite",
        lambda path: answers.pop(0),
    )
    model.save_weights(link, overwrite=False)
    assert_file_has(target, before)
    model.save_weights(link, overwrite=False)
    assert_file_has(target, model.get_weights())
    assert link.is_symlink() and not answers
    with pytest.raises(ValueError, match="must end in `.weights.h5`.*a.h5"):
        model.save_weights(tmp_path / "a.h5")
    model.save_weights(tmp_path / "c.weights.json", max_shard_size=1)
    killed.make_model(seed=1).load_weights(tmp_path / "c.weights.json")
    model.save(tmp_path / "folder", zipped=False)
    loaded = keras.models.load_model(tmp_path / "folder")
    np.testing.assert_array_equal(loaded.weights[0], model.weights[0])


def other_model(path):
    x = keras.Input((3,))
    h = layers.Dense(7)(layers.Dense(6)(x))
    save(keras.Model(x, [layers.Dense(1)(h), layers.Dense(2)(h)]), path)


def cut(path):
    save(killed.make_model(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_early(path):
    save(killed.make_model(), path)
    path.write_bytes(path.read_bytes()[:300])


def overwritten(path):
    """The right length, and zeros in the middle."""
    save(killed.make_model(), path)
    content = bytearray(path.read_bytes())
    content[50 : len(content) - 50] = bytes(len(content) - 100)
    path.write_bytes(content)


def other_data(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)


BREAK = {
    "cut": cut,
    "cut early": cut_early,
    "zeros": overwritten,
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(
        np.random.default_rng(0).bytes(4000)
    ),
    "text": lambda path: path.write_text('{"epoch": 3}'),
    "another model": other_model,
    "other data": other_data,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.once
@pytest.mark.diagonal
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", BREAK)
def test_a_broken_file_is_named(kind, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    BREAK[kind](path)
    with pytest.raises(ValueError) as caught:
        killed.make_model().load_weights(path)
    assert f"Expected {path} to be a whole file" in str(caught.value)
    assert "Received: " in str(caught.value)
    assert isinstance(caught.value, files.BrokenFileError)


@pytest.mark.parametrize("kind", ["cut", "empty", "random", "text"])
def test_what_keras_says_of_a_broken_file(kind, tmp_path):
    path = tmp_path / "model.keras"
    BREAK[kind](path)
    with pytest.raises(ValueError, match=f"File not found: filepath={path}"):
        keras.models.load_model(path)


def test_a_missing_file(tmp_path):
    model = killed.make_model()
    for suffix in SUFFIXES:
        path = tmp_path / f"model{suffix}"
        with pytest.raises(FileNotFoundError, match="No such file|unable"):
            model.load_weights(path)
    with pytest.raises(ValueError, match="File format not supported"):
        model.load_weights(tmp_path / "model.txt")


def seeds(model):
    return killed.state(model)["seeds"]


def draw(model):
    """Random numbers of the model's dropout layer."""
    (layer,) = (x for x in model.layers if isinstance(x, layers.Dropout))
    return keras.ops.convert_to_numpy(layer(np.ones((1, 64)), training=True))


class Draws(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.drawn = draw(self.model)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_a_training_that_goes_on_goes_on_with_random_numbers(
    suffix, tmp_path
):
    path = tmp_path / f"model{suffix}"
    model = killed.make_model()
    killed.fit(model, killed.batches(), epochs=1)
    save(model, path)
    draws = Draws()
    killed.fit(model, killed.batches(), [draws], initial_epoch=1, epochs=2)
    for first_epoch in (0, 1):
        again = killed.make_model(seed=1)
        own = seeds(again)
        again.load_weights(path)
        np.testing.assert_array_equal(seeds(again), own)
        others = Draws()
        killed.fit(
            again,
            killed.batches(),
            [others],
            initial_epoch=first_epoch,
            epochs=first_epoch + 1,
        )
        assert np.array_equal(others.drawn, draws.drawn) == bool(first_epoch)
        # Once: the next training goes on from here.
        killed.fit(again, killed.batches(), [others], initial_epoch=1, epochs=2)
        assert not np.array_equal(others.drawn, draws.drawn)


def test_other_numbers_of_seeds_and_files_without(tmp_path):
    def model_with(dropouts):
        x = keras.Input((3,))
        h = layers.Dense(4)(x)
        for _ in range(dropouts):
            h = layers.Dropout(0.5)(h)
        outputs = {task: layers.Dense(1)(h) for task in killed.TASKS}
        model = keras_mtl.MultiTaskModel(x, outputs)
        model.compile("sgd", {task: "mse" for task in killed.TASKS})
        return model

    models = [model_with(n) for n in (0, 1, 2)]
    plain = keras.Model(models[1].input, models[1].output)
    plain.save_weights(tmp_path / "plain.weights.h5")
    for i, model in enumerate(models):
        model.save_weights(tmp_path / f"{i}.weights.h5")
    expected = models[2].get_weights()
    for model in models:
        own = seeds(model)
        for name in ("plain", "0", "1", "2"):
            if name == str(models.index(model)):
                continue
            model.load_weights(tmp_path / f"{name}.weights.h5")
            model._saved_state.begin_epoch(goes_on=True)
            np.testing.assert_array_equal(seeds(model), own)
    # The network is loaded by plain Keras, too.
    plain.load_weights(tmp_path / "2.weights.h5")
    np.testing.assert_array_equal(plain.weights[0], expected[0])


def test_hdf5_is_refused_before_a_training(tmp_path):
    model = killed.make_model()
    path = tmp_path / "best.h5"
    path.write_text("here before")
    config = model.get_compile_config()
    message = f"Expected a file `.keras`: .*Received: {path}"
    with pytest.raises(ValueError, match=message):
        model.save(path)
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    for callbacks in (checkpoint, [[checkpoint]]):
        with pytest.raises(ValueError, match=message):
            model.fit(killed.X, killed.Y, callbacks=callbacks, verbose=0)
    assert path.read_text() == "here before"
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 0
    with pytest.raises(ValueError, match="Expected a file `.keras`"):
        keras.saving.save_model(model, tmp_path / "other.h5")
    # Keras takes the optimizer out of what it writes to such a file.
    assert model.get_compile_config() == config
    weights = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", save_weights_only=True
    )
    killed.fit(model, killed.batches(), [weights], epochs=1)


@pytest.mark.once
@pytest.mark.skipif(os.name != "posix", reason="processes are those of POSIX")
def test_what_killed_processes_left_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    host = files._host()
    parent, own = os.getppid(), os.getpid()
    left = [
        f".{ended.pid}.{host}.tmp.3.keras",
        # Of a container before, with the same number.
        f".{own}.{host}.tmp.3.keras",
        f".{10**30}.{host}.tmp.log.npz",
    ]
    kept = [
        f".{parent}.{host}.tmp.3.keras",
        f".{ended.pid}.elsewhere.tmp.3.keras",
        f".{ended.pid}.tmp.3.keras",
        ".hidden.tmp.keras",
        "3.keras",
    ]
    for name in left + kept:
        (tmp_path / name).write_text("")
    model = killed.make_model()
    model.save_weights(tmp_path / "new.weights.h5")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "new.weights.h5"])
    for name in kept:
        os.utime(tmp_path / name, (0, 0))
    model.save_weights(tmp_path / "new.weights.h5")
    kept = [kept[0], *kept[3:], "new.weights.h5"]
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
