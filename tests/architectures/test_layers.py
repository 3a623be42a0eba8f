"""The layers that the architectures are made of, each alone."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl import architectures
from keras_mtl.architectures.d_select_gate import smooth_step
from tests.architectures import networks
from tests.models.numpy_layers import gradient_of
from tests.models.numpy_layers import randomize

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_gradient_is_reversed():
    layer = architectures.GradientReversal(0.5)
    factors = np.array([[1.0, 2.0]], "float32")
    x = normal(1, 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)
    gradient = gradient_of(
        lambda x: ops.sum(ops.multiply(layer(x), factors)), x
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(gradient), -0.5 * factors
    )


def test_mixture_of_images():
    experts = [normal(2, 3, 4, 5) for _ in range(3)]
    gates = normal(2, 3)
    expected = np.einsum("bi,ibhwc->bhwc", gates, np.stack(experts))
    actual = ops.convert_to_numpy(architectures.GatedMixture()(experts, gates))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
def test_cross_stitch_unit(per_channel):
    features = [normal(2, 3, 4) for _ in range(3)]
    unit = architectures.CrossStitchUnit(1, 0.8, per_channel)
    actual = ops.convert_to_numpy(unit(features))
    expected = 0.1 * features[0] + 0.8 * features[1] + 0.1 * features[2]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert tuple(unit.factors.shape) == (3, 4 if per_channel else 1)
    # An optimizer writes in place on PyTorch.
    unit.factors.assign_sub(np.ones(unit.factors.shape, "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(unit.factors)[:, 0], [-0.9, -0.2, -0.9], rtol=1e-6
    )


@pytest.mark.quick_on_torch
def test_entropy_and_codes_without_an_expert_are_losses():
    model = networks.model_of("dselect_k")
    randomize(model)
    gate = model.get_layer("dselect_k_a_gate")
    gate(networks.X)
    passes = networks.Forward(model)
    _, entropy, excess = passes.selected(
        "dselect_k_a_gate", np.float64(networks.X)
    )
    found = [float(ops.convert_to_numpy(loss)) for loss in gate.losses]
    np.testing.assert_allclose(found, [1e-3 * entropy, excess], rtol=1e-4)
    # All codes of two experts are those of an expert.
    gate = architectures.DSelectGate(2, k=2)
    gate(networks.X)
    assert len(gate.losses) == 1


@pytest.mark.quick_on_torch
def test_a_single_selector():
    gate = architectures.DSelectGate(4, k=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        gates = ops.convert_to_numpy(gate(networks.X))
    np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.quick_on_torch
def test_gates_end_at_exactly_zero():
    gate = architectures.DSelectGate(8, k=3, per_example=False)
    gate.build((None, 4))
    gate.bit_bias.assign([1, -1, 1, -1, 1, 1, 1, 1, 1])
    gates = ops.convert_to_numpy(gate(networks.X))
    assert gates.shape == (6, 8)
    assert set(np.flatnonzero(gates[0])) == {0b101, 0b011, 0b111}
    np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(gates[0], gates[5])


def test_gradient_of_the_smooth_step():
    x = np.array([-3.0, -0.9, 0.0, 0.5, 1.1], "float32")
    gradient = gradient_of(lambda x: ops.sum(smooth_step(x, 2.0)), x)
    inside = np.abs(x) < 1
    expected = np.where(inside, -0.75 * x**2 + 0.75, 0)
    actual = ops.convert_to_numpy(gradient)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.quick_on_torch
def test_a_branch_is_drawn_and_the_probable_one_taken():
    branches = [np.full((1, 2), i, "float32") for i in range(3)]
    layer = architectures.BranchChoice(seed=0)
    layer.build([(1, 2)] * 3)
    layer.logits.assign([0.0, 1.0, 2.0])
    drawn = [
        ops.convert_to_numpy(layer(branches, training=True))[0, 0]
        for _ in range(300)
    ]
    shares = np.bincount(np.round(drawn).astype(int), minlength=3) / 300
    expected = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    # Three standard deviations of a share are at most 0.09.
    np.testing.assert_allclose(shares, expected, atol=0.09)
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-6)
    assert layer.chosen == 2
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(branches)), [[2, 2]]
    )


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("better", [0, 1])
def test_the_better_branch_is_learned(better):
    keras.utils.set_random_seed(0)
    branches = [keras.Input((1,)) for _ in range(2)]
    choice = architectures.BranchChoice(seed=0, name="choice")
    model = keras.Model(branches, choice(branches))
    model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=True)
    x = [np.ones((4, 1)), np.zeros((4, 1))]
    model.fit(x, x[better], epochs=10, verbose=0)
    assert choice.chosen == better


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "layer",
    [
        architectures.GatedMixture(),
        architectures.CrossStitchUnit(1, 0.8, True),
        architectures.DSelectGate(5, 3, 0.5, 0.1, False),
        architectures.FeatureModulation(),
        architectures.GradientReversal(0.5),
        architectures.BranchChoice(0.5, 1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer):
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"keras_mtl>{type(layer).__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


@pytest.mark.quick_on_torch
def test_losses_in_float16():
    """They are finite at a row of zeros, and at a code without an expert."""
    zeros, task = np.zeros((2, 3), "float16"), np.zeros((2, 1), "int32")
    penalty = architectures.Orthogonality(0, dtype="float16")
    penalty(zeros, zeros, task)
    gate = architectures.DSelectGate(3, k=1, per_example=False, dtype="float16")
    gate.build((None, 3))
    gate.bit_bias.assign([1.0, 1.0])
    gate(zeros)
    for loss in [*penalty.losses, *gate.losses]:
        assert np.isfinite(ops.convert_to_numpy(loss))
