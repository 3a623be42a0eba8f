"""The layers against their formulas, molecule by molecule in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.models.atom_sum import AtomSum
from keras_mtl.models.distance_expansion import DistanceExpansion
from keras_mtl.models.interaction import Interaction

ATOMS = np.array([[6, 1, 8, 0], [1, 9, 0, 0], [7, 0, 0, 0]], "int32")


@pytest.fixture
def positions(rng):
    return rng.normal(scale=2.0, size=(3, 4, 3)).astype("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_weights(layer, rng):
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])


def as_float64(tensor):
    return np.float64(ops.convert_to_numpy(tensor))


def expanded(atoms, positions, gaussians, nearest, furthest):
    """Gaussians of exp(-d / 2), their width 0.6 of the spacing."""
    centers = np.linspace(
        np.exp(-furthest / 2), np.exp(-nearest / 2), gaussians
    )
    width = 0.6 * (centers[1] - centers[0])
    size = len(atoms)
    result = np.zeros((size, gaussians, size))
    for i in range(size):
        for j in range(size):
            if i != j and atoms[i] and atoms[j]:
                distance = np.linalg.norm(positions[i] - positions[j])
                z = (np.exp(-distance / 2) - centers) / width
                result[i, :, j] = np.exp(-(z**2) / 2)
    return result


@pytest.mark.parametrize("nearest, furthest", [(0.8, 12.0), (0.0, 5.0)])
def test_distance_expansion(positions, nearest, furthest):
    layer = DistanceExpansion(5, nearest, furthest)
    result = as_float64(layer(ATOMS, positions))
    assert result.shape == (3, 4, 5, 4)
    for b in range(3):
        np.testing.assert_allclose(
            result[b],
            expanded(ATOMS[b], np.float64(positions[b]), 5, nearest, furthest),
            atol=2e-6,
        )


def test_distance_expansion_of_padding_is_exactly_zero(positions):
    result = as_float64(DistanceExpansion()(ATOMS, positions * 1e3))
    padding = ATOMS == 0
    assert not result[padding].any()
    assert not result.swapaxes(2, 3).swapaxes(1, 2)[padding].any()


def test_every_bond_length_is_seen():
    """A change of 0.01 angstrom is visible between 0.9 and 4 angstrom."""
    distances = np.arange(0.9, 4.0, 0.01)
    positions = np.zeros((len(distances), 2, 3), "float32")
    positions[:, 1, 0] = distances
    result = DistanceExpansion()(np.ones((len(distances), 2)), positions)
    seen = as_float64(result)[:, 0, :, 1]
    assert np.abs(np.diff(seen, axis=0)).max(axis=1).min() > 0.005


def test_gradients_of_positions_are_finite(positions):
    layer = DistanceExpansion()
    positions[0, 3] = positions[0, 0]  # padding in the place of an atom

    def total(x):
        return ops.sum(layer(ATOMS, x))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(positions)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = total(x)
        gradient = tape.gradient(y, x)
    elif keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(total)(positions)
    else:
        x = ops.convert_to_tensor(positions).requires_grad_()
        total(x).backward()
        gradient = x.grad
    gradient = as_float64(gradient)
    assert np.isfinite(gradient).all()
    assert gradient[ATOMS > 0][:5].any(axis=1).all()
    assert not gradient[ATOMS == 0].any()


def test_interaction(rng):
    states = rng.normal(size=(2, 4, 6)).astype("float32")
    distances = rng.normal(size=(2, 4, 3, 4)).astype("float32")
    layer = Interaction(6, channels=2, activation="tanh")
    layer.build(states.shape, distances.shape)
    random_weights(layer, rng)
    send, receive, bias, update, update_bias = map(
        np.float64, layer.get_weights()
    )
    expected = np.float64(states)
    for b in range(2):
        for i in range(4):
            # A(d_ij), linear in the expanded distance, on the sent state.
            message = sum(
                np.kron(distances[b, i, :, j], send.T @ states[b, j])
                for j in range(4)
            )
            hidden = np.tanh(receive.T @ message + bias)
            expected[b, i] += update.T @ hidden + update_bias
    result = as_float64(layer(states, distances))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_on_torch
def test_interaction_starts_with_messages_of_unit_scale(rng):
    """The sum over 17 neighbors is no larger than the states themselves."""
    states = rng.normal(size=(8, 18, 48)).astype("float32")
    positions = rng.normal(scale=2.0, size=(8, 18, 3))
    distances = DistanceExpansion()(np.ones((8, 18)), positions)
    change = as_float64(Interaction(48)(states, distances)) - states
    assert 0.05 < change.std() < 1.0


def test_atom_sum(rng):
    states = rng.normal(size=(3, 4, 5)).astype("float32")
    result = as_float64(AtomSum(typical_atoms=10)(states, ATOMS))
    expected = [
        np.float64(s)[a > 0].sum(axis=0) / 10 for s, a in zip(states, ATOMS)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "cls, arguments",
    [
        (
            DistanceExpansion,
            {"gaussians": 7, "min_distance": 0.5, "max_distance": 9.0},
        ),
        (
            Interaction,
            {
                "units": 8,
                "channels": 3,
                "activation": "tanh",
                "typical_atoms": 12,
            },
        ),
        (AtomSum, {"typical_atoms": 11}),
    ],
)
def test_config_round_trip(cls, arguments):
    config = keras.saving.serialize_keras_object(cls(**arguments))
    assert config["registered_name"] == f"keras_mtl>{cls.__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy, cls)
    assert arguments.items() <= copy.get_config().items()


def test_too_few_gaussians():
    with pytest.raises(ValueError, match="at least 2. Received: gaussians=1"):
        DistanceExpansion(gaussians=1)


@pytest.mark.parametrize("ends", [(-1.0, 2.0), (3.0, 3.0)])
def test_wrong_distances(ends):
    with pytest.raises(ValueError, match=f"Received: min_distance={ends[0]}"):
        DistanceExpansion(16, *ends)
