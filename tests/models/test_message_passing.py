"""The network has the symmetries of a molecule, trains, saves and exports."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.models import message_passing

pytestmark = pytest.mark.quick_on_torch(1)

TASKS = ("energy", "dipole")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def model():
    return keras.Model(*message_passing(TASKS, max_atoms=None))


@pytest.fixture
def molecules(rng):
    atoms = np.zeros((6, 12), "int32")
    for i, size in enumerate([1, 2, 3, 5, 9, 12]):
        atoms[i, :size] = rng.choice([1, 6, 7, 8, 9], size=size)
    positions = 1.5 * rng.normal(size=(6, 12, 3)) * (atoms > 0)[..., None]
    return {"atoms": atoms, "positions": positions.astype("float32")}


def predict(model, molecules):
    outputs = model(molecules)
    return {t: ops.convert_to_numpy(y) for t, y in outputs.items()}


def assert_close(a, b, **tolerance):
    assert a.keys() == b.keys()
    for task in a:
        np.testing.assert_allclose(
            a[task], b[task], **{"rtol": 1e-4, "atol": 1e-5, **tolerance}
        )


def differ(a, b):
    return all(np.abs(a[t] - b[t])[4:].min() > 1e-4 for t in a)


def test_outputs(model, molecules):
    outputs = predict(model, molecules)
    assert outputs.keys() == {*TASKS}
    assert all(y.shape == (6, 1) for y in outputs.values())


def test_size_for_qm9():
    model = keras.Model(*message_passing(keras_mtl.datasets.qm9.TASKS))
    assert model.count_params() == 58011
    trunk = keras.Model(model.inputs, model.get_layer("features").output)
    assert trunk.count_params() == 49200


@pytest.mark.quick_on_torch
def test_padding_changes_nothing(model, molecules, rng):
    expected = predict(model, molecules)
    padded = {
        "atoms": np.pad(molecules["atoms"], ((0, 0), (0, 17))),
        "positions": np.pad(molecules["positions"], ((0, 0), (0, 17), (0, 0))),
    }
    assert_close(predict(model, padded), expected)
    padding = padded["atoms"] == 0
    padded["positions"][padding] = rng.normal(size=(padding.sum(), 3))
    assert_close(predict(model, padded), expected)


def test_order_of_the_atoms_changes_nothing(model, molecules, rng):
    order = rng.permutation(12)
    permuted = {name: x[:, order] for name, x in molecules.items()}
    assert_close(predict(model, permuted), predict(model, molecules))


@pytest.mark.parametrize("determinant", [1, -1])
def test_rotation_and_reflection_change_nothing(
    model, molecules, rng, determinant
):
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix[0] *= determinant * np.sign(np.linalg.det(matrix))
    turned = {**molecules, "positions": molecules["positions"] @ matrix}
    assert_close(predict(model, turned), predict(model, molecules))


def test_translation_changes_nothing(model, molecules):
    shift = np.array([10.0, -20.0, 30.0], "float32")
    moved = {**molecules, "positions": molecules["positions"] + shift}
    assert_close(predict(model, moved), predict(model, molecules))


def test_geometry_and_elements_matter(model, molecules):
    expected = predict(model, molecules)
    positions = molecules["positions"].copy()
    positions[:, 0] += 0.5
    assert differ(
        predict(model, {**molecules, "positions": positions}), expected
    )
    atoms = molecules["atoms"].copy()
    atoms[:, 0] = np.where(atoms[:, 0] == 9, 1, 9)
    assert differ(predict(model, {**molecules, "atoms": atoms}), expected)


@pytest.mark.quick_on_torch
def test_molecules_do_not_see_each_other(model, molecules):
    expected = predict(model, molecules)
    alone = predict(model, {name: x[3:4] for name, x in molecules.items()})
    assert_close(alone, {t: y[3:4] for t, y in expected.items()})


@pytest.mark.quick_on_torch
def test_training_reaches_every_variable_and_learns(model, molecules):
    before = [w.copy() for w in model.get_weights()]
    targets = {
        "energy": molecules["atoms"].sum(axis=1, keepdims=True) / 40.0,
        "dipole": np.linspace(-1, 1, 6)[:, None],
    }
    model.compile(keras.optimizers.Adam(5e-3), loss=dict.fromkeys(TASKS, "mse"))
    losses = model.fit(
        molecules, targets, batch_size=6, epochs=40, verbose=0
    ).history["loss"]
    for variable, old in zip(model.weights, before):
        assert not np.allclose(ops.convert_to_numpy(variable), old), (
            variable.path
        )
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.quick_on_torch
def test_trains_with_gradient_balancing(molecules):
    model = keras_mtl.MultiTaskModel(*message_passing(TASKS, max_atoms=12))
    model.compile(
        "adam",
        dict.fromkeys(TASKS, "mse"),
        weighting="nash_mtl",
        run_eagerly=True,
    )
    targets = {t: np.full((6, 1), i, "float32") for i, t in enumerate(TASKS)}
    history = model.fit(molecules, targets, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all(history[f"weight/{task}"][0] > 0 for task in TASKS)


def test_saved_file_predicts_the_same(model, molecules, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(predict(loaded, molecules), predict(model, molecules))


def exported_predict(model, molecules, path):
    import tensorflow as tf

    model.export(path, verbose=False)
    loaded = tf.saved_model.load(path)
    inputs = {name: tf.constant(x) for name, x in molecules.items()}
    return {task: y.numpy() for task, y in loaded.serve(inputs).items()}


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras exports no SavedModel from PyTorch",
)
def test_exported_model_predicts_the_same(molecules, tmp_path):
    pytest.importorskip("tensorflow")
    model = keras.Model(*message_passing(TASKS, max_atoms=12))
    outputs = exported_predict(model, molecules, tmp_path / "model")
    assert_close(outputs, predict(model, molecules))


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX cannot export a model for any number of atoms",
)
def test_exported_model_takes_any_number_of_atoms(model, molecules, tmp_path):
    small = {name: x[:4, :5] for name, x in molecules.items()}
    outputs = exported_predict(model, small, tmp_path / "model")
    assert_close(outputs, predict(model, small))


def test_half_precision_keeps_the_distances(model, molecules):
    expected = predict(model, molecules)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = keras.Model(*message_passing(TASKS, max_atoms=None))
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(model.get_weights())
    assert half.get_layer("distances").compute_dtype == "float32"
    far = {**molecules, "positions": molecules["positions"] + 100.0}
    outputs = half(far)
    half_outputs = {
        t: ops.convert_to_numpy(ops.cast(y, "float32"))
        for t, y in outputs.items()
    }
    # Eight bits of mantissa, through ten layers.
    assert_close(half_outputs, expected, rtol=0.05, atol=0.05)
