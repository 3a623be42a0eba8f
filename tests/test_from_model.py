"""`MultiTaskModel.from_model`: an existing Functional model, balanced."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from tests import utils

RNG = np.random.default_rng(3)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = {task: RNG.normal(size=(8, 1)).astype("float32") for task in "ab"}


def plain(outputs=dict, name="plain"):
    x = keras.Input((3,))
    h = layers.Dense(4, activation="tanh", name="trunk")(x)
    heads = {task: layers.Dense(1, name=task)(h) for task in "ba"}
    if outputs is list:
        heads = list(heads.values())
    return keras.Model(x, heads, name=name)


@pytest.mark.parametrize("outputs", [dict, list])
def test_it_has_the_layers_weights_and_outputs(outputs):
    model = plain(outputs)
    made = keras_mtl.MultiTaskModel.from_model(model)
    assert type(made) is keras_mtl.MultiTaskModel and made.name == "plain"
    assert made.layers == model.layers
    assert [*map(id, made.weights)] == [*map(id, model.weights)]
    keras.tree.map_structure(
        lambda *outputs: np.testing.assert_allclose(*outputs, 1e-5, 1e-6),
        made.predict(X, verbose=0),
        model.predict(X, verbose=0),
    )


@pytest.mark.any_backend
@pytest.mark.parametrize("weighting", ["cagrad", "uncertainty"])
def test_a_loaded_model_trains_as_one_that_was_made_so(tmp_path, weighting):
    model = plain()
    model.save(tmp_path / "plain.keras")
    made = keras_mtl.MultiTaskModel(model.input, model.output)
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    from_file = keras_mtl.MultiTaskModel.from_model(loaded)
    losses = []
    for one in (made, from_file):
        one.compile("sgd", loss="mse", weighting=weighting, **utils.QUICKEST)
        for _ in range(2):
            logs = one.train_on_batch(X, Y, return_dict=True)
        losses.append(logs["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)
    # The model that was loaded has the trained weights, too.
    keras.tree.map_structure(
        lambda *outputs: np.testing.assert_allclose(*outputs, 1e-5, 1e-6),
        loaded.predict(X, verbose=0),
        from_file.predict(X, verbose=0),
    )


def test_it_is_saved_and_loaded(tmp_path):
    made = keras_mtl.MultiTaskModel.from_model(plain())
    made.compile("sgd", loss="mse", weighting="uncertainty", **utils.QUICKEST)
    made.train_on_batch(X, Y)
    made.save(tmp_path / "made.keras")
    loaded = keras.models.load_model(tmp_path / "made.keras")
    assert type(loaded) is keras_mtl.MultiTaskModel
    np.testing.assert_array_equal(
        *[np.float32(m.weighting.log_variance) for m in (made, loaded)]
    )


@pytest.mark.slow
def test_heads_on_an_application():
    backbone = keras.applications.MobileNet(
        (32, 32, 3), 0.25, include_top=False, weights=None, pooling="avg"
    )
    heads = {task: layers.Dense(1)(backbone.output) for task in "ab"}
    model = keras.Model(backbone.input, heads)
    made = keras_mtl.MultiTaskModel.from_model(model)
    made.compile("sgd", loss="mse", weighting="nash_mtl")
    x = RNG.normal(size=(8, 32, 32, 3)).astype("float32")
    before = utils.arrays(backbone.trainable_variables)[0]
    logs = made.train_on_batch(x, Y, return_dict=True)
    after = utils.arrays(backbone.trainable_variables)[0]
    assert np.isfinite(logs["loss"]) and np.any(before != after)


class Subclassed(keras.Model):
    def call(self, x):
        return {"a": x, "b": x}


class WithStep(keras.Model):
    def train_step(self, *args):
        return super().train_step(*args)


def with_step():
    model = plain()
    return WithStep(model.input, model.output)


def with_one_output():
    x = keras.Input((3,))
    return keras.Model(x, layers.Dense(1, name="price")(x))


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "make, received",
    [
        (lambda: "scene.keras", r"'scene.keras' of type <class 'str'>"),
        (Subclassed, "the subclassed model Subclassed 'subclassed'"),
        (
            lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
            r"the Sequential model .*`features = model\(inputs\)`",
        ),
        (with_one_output, r"the output \['price'\].*Dense"),
        (with_step, r"WithStep, whose class overrides \['train_step'\]"),
    ],
)
def test_what_has_no_graph_of_tasks_is_refused(make, received):
    with pytest.raises(
        ValueError, match=f"Expected a .*Received: .*{received}"
    ):
        keras_mtl.MultiTaskModel.from_model(make())


@pytest.mark.any_backend
def test_overrides_of_a_subclass_of_this_package_are_not_dropped():
    class Own(keras_mtl.MultiTaskModel):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs)

    model = Own(*(lambda m: (m.input, m.output))(plain()))
    with pytest.raises(ValueError, match=r"overrides \['compute_loss'\]"):
        keras_mtl.MultiTaskModel.from_model(model)
    made = keras_mtl.MultiTaskModel.from_model(plain())
    assert keras_mtl.MultiTaskModel.from_model(made).layers == made.layers
