"""The layer of `examples/pinns.py` against differences in float64."""

import pathlib

import keras
import numpy as np
import pytest

import keras_mtl
from tests import utils

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "pinns.py"
RATE = 1e-3


@pytest.fixture(scope="module")
def example():
    """What the cells with the tag `model` define."""
    names = {
        "keras": keras,
        "keras_mtl": keras_mtl,
        "layers": keras.layers,
        "np": np,
        "ops": keras.ops,
    }
    tag = ' tags=["model"]'
    cells = SCRIPT.read_text(encoding="utf-8").split("\n# %%")
    chosen = [cell.removeprefix(tag) for cell in cells if cell.startswith(tag)]
    exec("\n".join(chosen), names)
    return names


def forward(arrays, x):
    """The network in NumPy: the last layer is linear."""
    *hidden, last = zip(arrays[::2], arrays[1::2])
    for kernel, bias in hidden:
        x = np.tanh(x @ kernel + bias)
    return x @ last[0] + last[1]


def derivative(function, x, coordinate, h=1e-3):
    """Central differences, with an error of h to the fourth."""
    step = h * np.eye(x.shape[-1])[coordinate]
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * h)


def second_derivative(function, x):
    return derivative(lambda x: derivative(function, x, 0), x, 0)


def poisson(u, x):
    f = np.sin(np.pi * x) + 1.8 * np.sin(3 * np.pi * x)
    return second_derivative(u, x) + np.pi**2 * f


def heat(u, x):
    return derivative(u, x, 1) - 0.1 * second_derivative(u, x)


@pytest.mark.parametrize(
    "name, residual", [("poisson", poisson), ("heat", heat)]
)
def test_losses_and_gradients(example, name, residual):
    """A step of gradient descent with the sum of all losses."""
    problem = example["problems"][name]
    keras.utils.set_random_seed(2)
    model, network = example["build_model"](problem)
    loss = {"equation": keras_mtl.losses.OutputIsLoss()}
    loss |= dict.fromkeys(problem["conditions"], "mse")
    model.compile(keras.optimizers.SGD(RATE), loss, **utils.QUICKEST)

    rng = np.random.default_rng(3)
    x = {"inside": rng.uniform(size=(8, problem["dimensions"]))}
    for condition, move in problem["conditions"].items():
        x[condition] = move(rng.uniform(size=x["inside"].shape))
    y = {c: problem["solution"](x[c]) for c in problem["conditions"]}

    def losses(arrays):
        u = lambda points: forward(arrays, points)  # noqa: E731
        found = {c: np.mean((u(x[c]) - y[c]) ** 2) for c in y}
        found["equation"] = np.mean(residual(u, x["inside"]) ** 2)
        return found

    before = [w.astype("float64") for w in network.get_weights()]
    logs = model.train_on_batch(x, y, return_dict=True)
    for task, value in losses(before).items():
        np.testing.assert_allclose(logs[f"{task}_loss"], value, 1e-4)
    change = [w - b for w, b in zip(network.get_weights(), before)]
    slope = derivative(
        lambda t: sum(
            losses([b + t[0] * c for b, c in zip(before, change)]).values()
        ),
        np.zeros(1),
        0,
        h=1e-2,
    )
    squared_length = sum(np.sum(c**2) for c in change) / RATE
    np.testing.assert_allclose(-slope, squared_length, 1e-3)


@pytest.mark.parametrize("name", ["poisson", "heat"])
def test_the_known_solution_has_no_residual(example, name):
    problem = example["problems"][name]
    x = np.random.default_rng(4).uniform(size=(20, problem["dimensions"]))
    numeric = {"poisson": poisson, "heat": heat}[name]
    np.testing.assert_allclose(numeric(problem["solution"], x), 0, atol=1e-6)
