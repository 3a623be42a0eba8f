"""The same seed gives the same run bit for bit, and another seed another.

That is on a CPU. On a GPU, the operations of TensorFlow and PyTorch need to be
told (`tf.config.experimental.enable_op_determinism()`,
`torch.use_deterministic_algorithms(True)`).
"""

import numpy as np
import pytest

from tests import killed
from tests import utils

pytestmark = pytest.mark.quick_on_torch(1)


def by_name(name, seed):
    """A model and its data, all of whose random numbers come from a seed."""
    model = killed.make_model(
        "equal" if name in killed.POLICIES else name, seed, **utils.EAGER
    )
    if name in killed.POLICIES:
        # Without a seed of its own, as a user leaves it.
        return model, killed.sampler(name, seed=None)
    return model, killed.X


def train(name, seed, **kwargs):
    """Returns all on which the next step depends, and the history."""
    model, data = by_name(name, seed)
    y = None if name in killed.POLICIES else killed.Y
    options = {"epochs": 4, "verbose": 0, "batch_size": 4 if y else None}
    history = model.fit(data, y, **options, **kwargs).history
    return killed.state(model, data), history


def is_same(run, other):
    state, history = run
    others, other_history = other
    assert set(history) == set(other_history)
    arrays = [array for part in state.values() for array in part]
    other_arrays = [array for part in others.values() for array in part]
    arrays += list(history.values())
    other_arrays += [other_history[key] for key in history]
    assert len(arrays) == len(other_arrays)
    return all(map(is_equal, arrays, other_arrays))


def is_equal(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


NAMES = [
    *["pcgrad", "igb_v2", "exp3s"],
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("random", "graddrop")),
]


# With dropout, and Keras' own shuffling of arrays.
@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_the_run(name):
    run = train(name, seed=5)
    assert is_same(run, train(name, seed=5))
    assert not is_same(run, train(name, seed=6))
    for array in run[0]["network"]:
        assert np.all(np.isfinite(array))


def drawn_weights(seed):
    _, history = train("random", seed)
    return history["weight/a"]


@pytest.mark.quick_on_torch
def test_each_kind_of_random_number_depends_on_the_seed(monkeypatch):
    """Else one of them could be what makes the runs above differ."""
    weights = drawn_weights(5)
    assert weights == drawn_weights(5) and weights != drawn_weights(6)
    choices = [train("uniform", seed)[0]["sampler"] for seed in (5, 5, 6)]
    same, other = (
        all(map(is_equal, choices[0], again)) for again in choices[1:]
    )
    assert same and not other
