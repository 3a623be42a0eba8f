import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings.graddrop import GradDrop

pytestmark = pytest.mark.quick_on_torch

COLUMNS = np.array(
    [
        [1.0, -2.0, 3.0, 0.5, 0.0],
        [2.0, -1.0, -1.0, -2.0, 0.0],
        [0.5, 0.0, -0.5, 0.25, 0.0],
    ]
)
REPEATS = 20_000


def many(columns=COLUMNS):
    """Each column many times: frequencies show the probabilities."""
    return np.repeat(columns, REPEATS, axis=1).astype("float32")


def directions(weighting, columns=COLUMNS):
    direction = np.array(weighting.aggregate(many(columns)))
    return direction.reshape(columns.shape[1], REPEATS)


def both_signs(columns, leak):
    """The two possible entries of each column, by the mask of Algorithm 1."""
    leak = np.broadcast_to(leak, 3)[:, None]
    keep = leak + (1 - leak) * (columns > 0)
    drop = leak + (1 - leak) * (columns < 0)
    return (keep * columns).sum(axis=0), (drop * columns).sum(axis=0)


def purity(columns):
    total = np.abs(columns).sum(axis=0)
    ratio = columns.sum(axis=0) / np.where(total > 0, total, 1.0)
    return (1 + ratio) / 2


@pytest.mark.parametrize("leak", [0.0, 0.3, [0.0, 0.5, 1.0]])
def test_keeps_a_sign_with_the_probability_of_its_purity(leak):
    values = directions(GradDrop(leak=leak, seed=1))
    positive, negative = both_signs(COLUMNS, leak)
    for column, entries in enumerate(values):
        is_positive = np.abs(entries - positive[column]) < 1e-6
        is_negative = np.abs(entries - negative[column]) < 1e-6
        assert np.all(is_positive | is_negative)
        if positive[column] != negative[column]:
            share = purity(COLUMNS)[column]
            error = np.sqrt(share * (1 - share) / REPEATS)
            assert abs(is_positive.mean() - share) <= 4 * error


def test_coordinates_draw_independently():
    entries = directions(GradDrop(seed=0))[2]
    kept = entries > 0
    agreement = (kept[1:] == kept[:-1]).mean()
    share = purity(COLUMNS)[2]
    expected = share**2 + (1 - share) ** 2
    assert agreement == pytest.approx(expected, abs=0.02)


def test_draws_anew_in_each_step():
    weighting = GradDrop(seed=0)
    first, second = directions(weighting)[2], directions(weighting)[2]
    assert 0.2 < (first != second).mean() < 0.8


@pytest.mark.every_backend
def test_full_leak_is_the_sum():
    np.testing.assert_allclose(
        np.array(GradDrop(leak=1.0).aggregate(COLUMNS)),
        COLUMNS.sum(axis=0),
        rtol=1e-6,
    )


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_is_finite_at_any_scale(scale):
    direction = GradDrop().combine(
        keras.ops.convert_to_tensor(many() * np.float32(scale)),
        keras.ops.ones(3),
    )
    assert np.all(np.isfinite(np.array(direction)))


def test_weighs_the_rows():
    """As a chain does, which passes its λ."""
    weights = np.array([0.5, 2.0, 3.0])
    direction = GradDrop().combine(
        keras.ops.convert_to_tensor(many()),
        keras.ops.convert_to_tensor(weights, "float32"),
    )
    positive, negative = both_signs(weights[:, None] * COLUMNS, 0.0)
    entries = np.array(direction).reshape(5, REPEATS)
    for column in (0, 2, 3):
        assert entries[column].max() == pytest.approx(positive[column])
    for column in (1, 2, 3):
        assert entries[column].min() == pytest.approx(negative[column])


def test_a_model_follows_one_sign():
    """The gradients of the two tasks are opposite in each coordinate."""
    inputs = keras.Input((4,))
    trunk = keras.layers.Dense(50, use_bias=False, name="trunk")
    features = trunk(inputs)
    head = {"kernel_initializer": "ones", "use_bias": False, "trainable": False}
    outputs = {name: keras.layers.Dense(1, **head)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mae", weighting=GradDrop(seed=0))
    x = np.ones((8, 4), "float32")
    y = {"a": np.full((8, 1), 1e3), "b": np.full((8, 1), -1e3)}
    kernels = [np.array(trunk.kernel)]
    for _ in range(2):
        model.fit(x, y, batch_size=8, verbose=0)
        kernels.append(np.array(trunk.kernel))
    # The mean absolute error's gradients are 1 and -1, of which one is kept.
    first, second = np.diff(kernels, axis=0) / 0.01
    for change in (first, second):
        np.testing.assert_allclose(np.abs(change), 1.0, rtol=1e-3)
        assert 60 < (change > 0).sum() < 140
    assert 60 < (first != second).sum() < 140


@pytest.mark.parametrize("leak", [-0.1, 1.5, [0.0, 2.0]])
def test_names_a_bad_leak(leak):
    with pytest.raises(ValueError, match="Received: leak="):
        GradDrop(leak=leak)


def test_names_the_length_of_a_wrong_leak():
    with pytest.raises(ValueError, match=r"Received: leak=\[0.5, 0.5\]"):
        GradDrop(leak=[0.5, 0.5]).aggregate(COLUMNS)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
@pytest.mark.parametrize("leak", [[0.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
def test_agrees_with_torchjd(leak):
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    theirs = aggregation.GradDrop(leak=torch.tensor(leak))
    # Theirs divides by zero where all entries are 0.
    columns = COLUMNS[:, :4]
    theirs = theirs(torch.tensor(many(columns))).numpy().reshape(4, REPEATS)
    ours = directions(GradDrop(leak=leak), columns)
    np.testing.assert_allclose(ours.max(axis=1), theirs.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(ours.min(axis=1), theirs.min(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        ours.mean(axis=1), theirs.mean(axis=1), atol=0.06
    )
