"""What is no architecture is refused, with what to type."""

import keras
import pytest
from keras import layers

from keras_mtl import architectures
from tests.architectures.networks import expert
from tests.architectures.networks import square

pytestmark = pytest.mark.any_backend

TASKS = ["a", "b"]
BUILDERS = [
    architectures.hard_parameter_sharing,
    architectures.mmoe,
    architectures.cgc,
    architectures.ple,
    architectures.cross_stitch,
    architectures.dselect_k,
    architectures.film,
    architectures.learning_to_branch,
]
every_builder = pytest.mark.parametrize(
    "build", BUILDERS, ids=lambda build: build.__name__
)


def vector():
    return keras.Input((4,))


@every_builder
@pytest.mark.parametrize("tasks", [[], "ab", ["a", "a"], ["a", 1], None, 2])
def test_tasks(build, tasks):
    with pytest.raises(ValueError, match="to be different names.*Received:"):
        build(vector(), tasks, expert)


@every_builder
def test_expert_that_is_a_layer(build):
    message = "Expected `expert` to be a function.*Type `expert=lambda name: "
    with pytest.raises(ValueError, match=message):
        build(vector(), TASKS, layers.Dense(3))


@every_builder
def test_expert_that_makes_no_layer(build):
    with pytest.raises(ValueError, match="return a layer. Received: None"):
        build(vector(), TASKS, lambda name: None)


def sharing_a_layer(dense):
    return lambda name: keras.Sequential([dense])


@pytest.mark.parametrize(
    "build", BUILDERS[1:], ids=lambda build: build.__name__
)
@pytest.mark.parametrize("wrap", ["layer", "inside", "function"])
def test_one_layer_twice(build, wrap):
    dense = layers.Dense(4, name="of_all")
    make = {
        "layer": lambda name: dense,
        "inside": sharing_a_layer(dense),
        "function": lambda name: lambda x: layers.ReLU()(dense(x)),
    }[wrap]
    kwargs = {"levels": 2} if build is architectures.film else {}
    message = "make a new layer each time. Received: .* of the one for '"
    with pytest.raises(ValueError, match=message):
        build(vector(), TASKS, make, **kwargs)


def test_the_same_layer_on_another_level_is_found():
    dense = layers.Dense(4)
    makers = [lambda name: dense, lambda name: dense]
    with pytest.raises(ValueError, match="make a new layer each time"):
        architectures.film(vector(), TASKS, makers, levels=2)


@pytest.mark.parametrize(
    "build", [architectures.mmoe, architectures.cgc, architectures.dselect_k]
)
@pytest.mark.parametrize("shape", [(5, 4), (None, 4), (None,)])
def test_gates_that_see_no_vector(build, shape):
    message = r"Expected gates to see a vector.*Received: x=.*GlobalAverage"
    with pytest.raises(ValueError, match=message):
        build(keras.Input(shape), TASKS, lambda name: layers.Flatten())


def test_gate_input():
    x = keras.Input((5, 4))
    pool = layers.GlobalAveragePooling1D()
    features = architectures.ple(x, TASKS, expert, gate_input=pool)
    assert features["a"].shape == (None, 5, 3)
    with pytest.raises(ValueError, match=r"Received: gate_input\(x\)=.*5, 4"):
        architectures.mmoe(x, TASKS, expert, gate_input=lambda x: x)


@pytest.mark.parametrize(
    "build",
    [
        architectures.mmoe,
        architectures.cgc,
        architectures.ple,
        architectures.cross_stitch,
        architectures.dselect_k,
        architectures.learning_to_branch,
    ],
)
def test_experts_of_different_shapes(build):
    units = iter(range(3, 99))
    message = r"Expected tensors of one shape.*_expert.*\(None, 3\).*Give the"
    with pytest.raises(ValueError, match=message):
        build(vector(), TASKS, lambda name: layers.Dense(next(units)))


def test_gates_of_another_number():
    mixture = architectures.GatedMixture()
    with pytest.raises(ValueError, match=r"one for each of 2.*\(6, 3\)"):
        mixture([keras.Input((3,), 6)] * 2, keras.Input((3,), 6))
    with pytest.raises(ValueError, match="tensors of one shape. Received"):
        mixture([vector(), keras.Input((3,))], keras.Input((2,)))


def test_levels():
    with pytest.raises(ValueError, match="each of 3 levels. Received.* 2"):
        architectures.ple(vector(), TASKS, [expert, expert], levels=3)
    with pytest.raises(ValueError, match="levels=0"):
        architectures.film(vector(), TASKS, expert, levels=0)


@every_builder
def test_x_that_is_no_tensor_of_a_graph(build):
    with pytest.raises(ValueError, match="Expected `x` to be a tensor of a Fu"):
        build(3, TASKS, expert)


def test_numbers():
    with pytest.raises(ValueError, match="num_experts=0"):
        architectures.mmoe(vector(), TASKS, expert, num_experts=0)
    with pytest.raises(ValueError, match="k=4"):
        architectures.DSelectGate(3, k=4)
    with pytest.raises(ValueError, match="num_shared=0"):
        architectures.cgc(vector(), TASKS, expert, num_shared=0)
    with pytest.raises(ValueError, match="index=2 is one"):
        architectures.CrossStitchUnit(2)([vector(), vector()])


def test_no_function_and_no_seed():
    with pytest.raises(ValueError, match="gate_input=3"):
        architectures.mmoe(vector(), TASKS, expert, gate_input=3)
    with pytest.raises(ValueError, match="seed='x'"):
        architectures.learning_to_branch(vector(), TASKS, expert, seed="x")
    with pytest.raises(ValueError, match="to be different names"):
        architectures.mmoe(TASKS, vector(), expert)


def test_functions_of_a_tensor_with_layers_of_their_own():
    x = layers.Dense(4)(vector())

    def make(name):
        return lambda y: layers.ReLU()(layers.Dense(4, name=name)(y))

    assert list(architectures.ple(x, TASKS, make)) == TASKS


def test_two_blocks_in_one_graph():
    x = vector()
    one = architectures.mmoe(x, TASKS, expert, name="one")
    two = {
        t: architectures.mmoe(h, TASKS, expert, name=f"two_{t}")[t]
        for t, h in one.items()
    }
    assert keras.Model(x, two).count_params() > 0


@pytest.mark.parametrize("build", [architectures.cgc, architectures.ple])
def test_task_called_as_the_shared_experts_are(build):
    with pytest.raises(ValueError, match="shared_expert_0', as another expert"):
        build(vector(), ["shared", "a"], lambda name: layers.Dense(4))


@every_builder
def test_names_of_tasks_that_no_layer_may_have(build):
    x = vector()
    features = build(x, ["a/b", "a.c"], square)
    assert sorted(keras.Model(x, features).output) == ["a.c", "a/b"]
