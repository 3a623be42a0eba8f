"""What a user sees of the trunk, the boundary and the heads."""

import os
import re
import shutil
import stat

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import plots

pytestmark = pytest.mark.any_backend


def model(compiled=True, **kwargs):
    x = keras.Input((4,), name="x")
    h = layers.Dense(3, name="trunk")(x)
    h = layers.BatchNormalization(name="norm")(h)
    outputs = {
        "price": layers.Dense(1, name="one")(h),
        'so "sold"': layers.Dense(2, name="two", trainable=False)(h),
        "unused": layers.Dense(5, name="three")(h),
    }
    made = keras_mtl.MultiTaskModel(x, outputs)
    if compiled:
        made.compile("sgd", dict.fromkeys(["price", 'so "sold"'], "mse"))
    return made


def test_table():
    texts = []
    model().summary_by_task(texts.append)
    assert texts[0].splitlines() == [
        "parameters  trained  not trained",
        "shared           21            6",
        "price             4            0",
        'so "sold"         0            8',
        "(no task)        20            0",
        "(total)          45           14",
    ]


def test_table_before_compile(capsys):
    model(compiled=False).summary_by_task()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["unused", "20", "0"]


def test_text_of_the_graph(tmp_path):
    path = tmp_path / "model.dot"
    text = plots.task_graph(model(), path)
    assert path.read_text(encoding="utf-8") == text
    frames = re.findall(r'label="(.*?)"; color', text)
    assert frames == [
        r"shared\n21 trained parameters",
        r"price\n4 trained parameters",
        r"so \"sold\"\n0 trained parameters",
    ]
    boundary = re.findall(r"-> (.*) \[penwidth.*label=\"(.*)\"\]", text)
    assert [shape for _, shape in boundary] == ["(None, 3)"] * 2
    assert r"norm\nBatchNormalization\n12 parameters" in text
    assert r'"output so \"sold\""' in text
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_draws_it(tmp_path):
    plots.task_graph(model(), tmp_path / "model.svg")
    assert "so &quot;sold&quot;" in (tmp_path / "model.svg").read_text()


def test_picture_without_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(RuntimeError, match="apt install graphviz.*model.dot"):
        plots.task_graph(model(), tmp_path / "model.png")
    with pytest.raises(ValueError, match='end in ".png".*Received: path='):
        plots.task_graph(model(), tmp_path / "model")


def test_a_model_without_tasks():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="MultiTaskModel`. Received: model=<S"):
        plots.task_graph(plain)


def test_picture(tmp_path, monkeypatch):
    """A program in the place of `dot` that writes what it was given."""
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n/bin/cat > "$3"\n/bin/echo "$1" >> "$3"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    text = plots.task_graph(model(), tmp_path / "model.svg")
    assert (tmp_path / "model.svg").read_text() == text + "-Tsvg\n"
    program.write_text("#!/bin/sh\n/bin/echo bad format >&2; exit 1\n")
    with pytest.raises(ValueError, match="it says: bad format"):
        plots.task_graph(model(), tmp_path / "model.xyz")


class OneLayer(layers.Layer):
    """The features of all tasks, made by one layer."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 2))

    def call(self, x):
        h = ops.matmul(x, self.kernel)
        return [h, 2 * h, 3 * h]


def opaque(num_tensors=3):
    x = keras.Input((4,))
    tensors = OneLayer()(x)[:num_tensors]
    outputs = {
        task: layers.Dense(1)(tensors[i % num_tensors])
        for i, task in enumerate("abc")
    }
    return keras_mtl.MultiTaskModel(x, outputs)


def on_features():
    return keras_mtl.weightings.CAGrad(gradients="features")


def test_conflicts_that_features_do_not_show(recwarn):
    made = opaque()
    message = r"is never seen: \[\('a', 'b'\).*\('b', 'c'\)\]. Use gradients="
    with pytest.warns(UserWarning, match=message):
        made.compile("sgd", "mse", weighting=on_features())
    x = np.ones((2, 4), "float32")
    y = {task: x[:, :1] for task in "abc"}
    with pytest.warns(UserWarning, match="is never seen"):
        gramian = made.gramian(x, y, gradients="features")
    assert np.count_nonzero(gramian) == 3  # That is what it warns of.
    made.compile("sgd", "mse", weighting="cagrad")
    assert np.count_nonzero(made.gramian(x, y)) == 9
    assert not [w for w in recwarn if "never seen" in str(w.message)]


def test_only_the_pairs_that_are_not_seen_are_named():
    with pytest.warns(
        UserWarning, match=r"seen: \[\('a', 'b'\), \('b', 'c'\)\]"
    ):
        opaque(2).compile("sgd", "mse", weighting=on_features())
