"""A class of the user's own is known by its name."""

import json
import sys
import types

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import agents
from keras_mtl import selection
from keras_mtl import weightings
from keras_mtl.agents.registry import AGENTS
from keras_mtl.backend.registry import Registry
from keras_mtl.backend.registry import snake_case
from keras_mtl.cli import methods
from keras_mtl.selection.registry import POLICIES
from keras_mtl.selection.registry import REWARDS
from keras_mtl.weightings.registry import WEIGHTINGS


class Shape:
    pass


@pytest.fixture
def shapes():
    return Registry("shape", Shape)


@pytest.fixture(autouse=True)
def forget():
    """What a test registers is gone after it."""
    registries = [WEIGHTINGS, POLICIES, REWARDS, AGENTS]
    known = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, known):
        registry._entries.clear()
        registry._entries.update(entries)


def squared_inverse():
    @weightings.register(paper="Doe et al., Squares", year=2026)
    class SquaredInverse(weightings.Weighting):
        def compute_weights(self, losses):
            return 1 / losses**2

    return SquaredInverse


def test_a_weighting_of_ones_own_is_known_by_name(tmp_path):
    cls = squared_inverse()
    assert type(weightings.get("SquaredInverse")) is cls
    assert weightings.names()[-1] == "squared_inverse"
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting="squared_inverse")
    x = np.ones((4, 3), "float32")
    model.fit(x, {name: x[:, :1] for name in "ab"}, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.weighting) is cls


def test_a_weighting_of_ones_own_is_in_the_table():
    squared_inverse()
    row = methods.methods()[-1]
    assert row == {
        "name": "squared_inverse",
        "when": "–",
        "class": "SquaredInverse",
        "paper": "Doe et al., Squares",
        "year": "2026",
        "kind": "loss",
        "cost": "1 backward pass",
        "needs": "–",
    }
    assert methods.markdown_table([row]).count("squared_inverse") == 1


def test_the_names_of_saved_files_stay():
    for name in weightings.names():
        cls = type(weightings.get(name))
        registered = keras.saving.get_registered_name(cls)
        assert registered == f"keras_mtl>{cls.__name__}"
    chain = keras.saving.get_registered_name(weightings.Chain)
    assert chain == "keras_mtl>Chain"


def test_policies_and_rewards_of_ones_own_are_known_by_name():
    @selection.register("latest")
    class Newest(selection.Policy):
        pass

    @selection.register()
    class Unit(selection.Reward):
        def __call__(self, task, loss, loss_after=None):
            return 1.0

    assert type(selection.get("Latest")) is Newest
    assert selection.names()[-1] == "latest"
    assert type(selection.get_reward("unit")) is Unit
    assert selection.reward_names()[-1] == "unit"
    data = {"a": (np.zeros((4, 1)), np.zeros(4))}
    sampler = selection.TaskSampler(data, "latest", reward="unit")
    assert type(sampler.policy) is Newest and type(sampler.reward) is Unit


def test_an_agent_of_ones_own_is_known_by_name():
    @agents.register("calm")
    class Calm(agents.KerasAgent):
        pass

    assert agents.get("calm") is Calm and agents.get(Calm) is Calm
    weighting = weightings.IGBv2(agent="calm")
    weighting.build((2,))
    assert type(weighting.learner) is Calm


@pytest.mark.parametrize(
    "policy",
    [
        selection.Uniform(),
        selection.SizeProportional(temperature=2.0),
        selection.Exp3S(eta=0.1, seed=3, reservoir_size=7),
        selection.Fixed([0.25, 0.75]),
    ],
)
def test_policies_have_configs(policy):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(policy)))
    again = selection.get(config)
    assert type(again) is type(policy)
    for name, value in policy.get_config().items():
        np.testing.assert_array_equal(getattr(again, name), value)
    reward = selection.PredictionGain()
    config = keras.saving.serialize_keras_object(reward)
    assert type(selection.get_reward(config)) is selection.PredictionGain


@pytest.mark.parametrize(
    "get, text",
    [
        (lambda: weightings.get("mgdaa"), "Did you mean 'mgda'"),
        (lambda: selection.get("exps3"), "Did you mean 'exp3s'"),
        (lambda: selection.get_reward("fallingloss_"), None),
        (lambda: selection.get_reward("falling"), "Did you mean 'falling_loss"),
        (lambda: agents.get("kera"), "Did you mean 'keras'"),
        (lambda: weightings.CRMOGM("mgdaa"), "Did you mean 'mgda'"),
        (lambda: weightings.get({"class_name": "Exp3S"}), "Exp3S"),
    ],
)
def test_near_names_are_suggested(get, text):
    if text is None:
        assert type(get()) is selection.FallingLoss
        return
    with pytest.raises((ValueError, TypeError), match=text):
        get()


def test_a_config_of_another_kind_is_refused():
    config = keras.saving.serialize_keras_object(selection.Uniform())
    with pytest.raises(ValueError, match="Expected a weighting to be a name"):
        weightings.get(config)


def test_names_are_taken_once(shapes):
    def make(qualname):
        cls = type("Box", (Shape,), {})
        cls.__qualname__ = qualname
        return cls

    shapes.register("box")(make("Box"))
    again = shapes.register("box")(make("Box"))  # A cell that runs again.
    assert shapes.get_class("box") is again
    for name in ("box", "BOX"):
        with pytest.raises(ValueError, match="that no other shape has"):
            shapes.register(name)(make("OtherBox"))
    assert shapes.names() == ["box"]


def test_only_classes_of_the_kind_are_registered(shapes):
    for wrong in (int, Shape(), "box"):
        with pytest.raises(ValueError, match="inherits from `Shape`"):
            shapes.register("box")(wrong)
    with pytest.raises(ValueError, match="Expected a shape to be a name"):
        shapes.get(int)


def test_a_class_may_wait_in_its_module(shapes, monkeypatch):
    module = types.ModuleType("waiting_shapes")
    monkeypatch.setitem(sys.modules, "waiting_shapes", module)
    shapes.register_lazily("box", "waiting_shapes")
    assert shapes.names() == ["box"] and shapes.knows("Box")
    box = shapes.register("box")(type("Box", (Shape,), {}))
    assert shapes.get_class("box") is box
    assert shapes.name_of(box) == "box" and shapes.name_of(Shape) is None


def test_a_class_that_keras_knows_keeps_its_name():
    @weightings.register("halved")
    @keras.saving.register_keras_serializable(package="theirs")
    class Halved(weightings.Equal):
        pass

    assert keras.saving.get_registered_name(Halved) == "theirs>Halved"


@pytest.mark.parametrize(
    "name, expected",
    [("NashMTL", "nash_mtl"), ("Exp3S", "exp3_s"), ("ABCDef", "abc_def")],
)
def test_snake_case(name, expected):
    assert snake_case(name) == expected


@pytest.mark.parametrize("package", [weightings, agents, selection])
def test_nothing_leaks(package):
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(package.__all__)
    assert not hasattr(package, "inspect")
    assert all(hasattr(package, name) for name in package.__all__)
