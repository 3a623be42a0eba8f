import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import MetaBalance
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = {"a": X[:, :1], "b": 30 * X[:, 1:2] ** 2, "c": 0.01 * X[:, 2:]}


class Reference:
    """The averages and the sum of the official code, in float64."""

    def __init__(self, relax_factor=0.7, beta=0.9, main=0):
        self.relax_factor, self.beta, self.main = relax_factor, beta, main
        self.norms = None

    def direction(self, jacobian):
        norms = np.linalg.norm(jacobian, axis=1)
        past = np.zeros(len(norms)) if self.norms is None else self.norms
        self.norms = self.beta * past + (1 - self.beta) * norms
        ratios = self.norms[self.main] / self.norms
        r = self.relax_factor
        return (r * ratios[:, None] * jacobian + (1 - r) * jacobian).sum(0)


@pytest.mark.parametrize("arguments", [{}, {"relax_factor": 0.2, "beta": 0.5}])
def test_is_algorithm_1(arguments):
    weighting, reference = MetaBalance(**arguments), Reference(**arguments)
    for jacobian in steps(count=60):
        gramian = (jacobian @ jacobian.T).astype("float32")
        weights = np.array(weighting(np.ones(5, "float32"), gramian))
        expected = reference.direction(jacobian)
        norm = np.linalg.norm(expected)
        np.testing.assert_allclose(
            weights @ jacobian, expected, rtol=1e-4, atol=1e-5 * norm
        )


def model_of(weighting):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation="tanh", name="first")(inputs)
    features = keras.layers.Dense(5, activation="tanh", name="second")(hidden)
    outputs = {task: keras.layers.Dense(1)(features) for task in Y}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), "mse", weighting=weighting)
    return model


def gradients_of(model):
    """The gradients of each task by shared variable, in float64."""
    first, second = (model.get_layer(name) for name in ("first", "second"))
    variables = [*first.variables, *second.variables]
    before = [np.array(v, "float64") for v in variables]
    kernel, bias, next_kernel, next_bias = before
    hidden = np.tanh(X @ kernel + bias)
    features = np.tanh(hidden @ next_kernel + next_bias)
    rows = []
    for head, task in zip(model.layers[-3:], Y):
        weights, offset = (np.array(v, "float64") for v in head.variables)
        error = 2 * (features @ weights + offset - Y[task]) / len(X)
        late = error @ weights.T * (1 - features**2)
        early = late @ next_kernel.T * (1 - hidden**2)
        rows.append(
            [X.T @ early, early.sum(axis=0), hidden.T @ late, late.sum(axis=0)]
        )
    return variables, before, rows


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "groups, slices",
    [
        ("layer", [slice(0, 2), slice(2, 4)]),
        ("variable", [slice(i, i + 1) for i in range(4)]),
        ("model", [slice(0, 4)]),
    ],
)
def test_fit_draws_the_norms_of_each_group(groups, slices):
    model = model_of(MetaBalance(1.0, groups=groups, main="b"))
    variables, before, rows = gradients_of(model)
    expected = []
    for group in slices:
        flat = np.stack(
            [np.concatenate([g.ravel() for g in row[group]]) for row in rows]
        )
        expected.append(Reference(1.0, main=1).direction(flat))
    model.fit(X, Y, batch_size=16, verbose=0)
    steps_made = [
        (old - np.array(v, "float64")).ravel() / 0.01
        for old, v in zip(before, variables)
    ]
    step, expected = map(np.concatenate, (steps_made, expected))
    # Differences of float32 weights.
    np.testing.assert_allclose(
        step, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


def test_a_file_has_the_averages_of_the_groups(tmp_path):
    model = model_of(MetaBalance(main="b"))
    model.fit(X, Y, batch_size=8, verbose=0)
    assert model.weighting.average.shape == (2, 3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        np.array(again.weighting.average), np.array(model.weighting.average)
    )
    expected, history = (
        m.fit(X, Y, shuffle=False, verbose=0).history for m in (model, again)
    )
    for key, values in history.items():
        assert values == pytest.approx(expected[key], rel=1e-5)


def test_a_main_task_without_labels_changes_no_average():
    weighting = MetaBalance(groups="model")
    gramian = np.diag([4.0, 16.0]).astype("float32")
    losses = np.ones(2, "float32")
    first = np.array(weighting(losses, gramian))
    absent = np.array(weighting(losses, np.diag([0.0, 16.0]).astype("float32")))
    np.testing.assert_allclose(absent, first, rtol=1e-6)
    np.testing.assert_allclose(first, [1.0, 0.65], rtol=1e-6)


def test_what_the_main_task_does_not_use_stays_as_it_is():
    weighting = MetaBalance(groups="model", main=None)
    gramian = np.diag([0.0, 16.0, 1.0]).astype("float32")
    weights = np.array(weighting(np.ones(3, "float32"), gramian))
    np.testing.assert_array_equal(weights, 1.0)


def test_features_have_one_group():
    assert MetaBalance().groups == "layer"
    assert MetaBalance(gradients="features").groups == "model"
    assert MetaBalance(update_every=2).groups == "model"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"relax_factor": 1.5}, "Received: relax_factor=1.5"),
        ({"beta": 1.0}, "Received: beta=1.0"),
        ({"groups": "tensor"}, '"model", "layer" or "variable". Received: gro'),
        ({"groups": "layer", "gradients": "features"}, "takes no gradients="),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MetaBalance(**arguments)
