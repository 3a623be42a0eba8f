import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_mtl.agents import noise


def test_normal_is_normal():
    drawn = ops.convert_to_numpy(noise.normal((200, 500), 3, 1))
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    for axis in (0, 1):
        sums = drawn.sum(axis) / np.sqrt(drawn.shape[axis])
        assert stats.kstest(sums, "norm").pvalue > 1e-3
    lagged = np.corrcoef(drawn.ravel()[1:], drawn.ravel()[:-1])[0, 1]
    assert abs(lagged) < 4 / np.sqrt(drawn.size)


def test_every_seed_and_counter_has_its_own_numbers():
    digits = range(7)
    keys = [(s, a, b) for s in digits for a in digits for b in digits]
    keys += [(s, a) for s in digits for a in digits]
    drawn = np.stack(
        [ops.convert_to_numpy(noise.normal((64,), *key)) for key in keys]
    )
    # One number per key: as random as the numbers of one key.
    assert stats.kstest(drawn[:, 0], "norm").pvalue > 1e-3
    correlations = np.corrcoef(drawn)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(64)
    assert len(np.unique(drawn)) > 0.99 * drawn.size


@pytest.mark.parametrize("high", [1, 7, 10000])
def test_integers_are_uniform(high):
    drawn = noise.integers((70000,), ops.convert_to_tensor(high), 3)
    counts = np.bincount(ops.convert_to_numpy(drawn), minlength=high)
    assert len(counts) == high
    if high > 1:
        assert stats.chisquare(counts).pvalue > 1e-3


def test_is_the_same_on_every_backend():
    # The finalizer of MurmurHash3, computed with unsigned integers.
    def mix(x):
        x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
        x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
        return x ^ (x >> 16)

    seed, counter = -5, 9
    key = mix((mix((seed + 0x9E3779B9) % 2**32) + counter + 1) % 2**32)
    bits = np.array([mix(mix(i + 1) ^ key) for i in range(100)])
    drawn = noise.integers((100,), ops.convert_to_tensor(1000), seed, counter)
    expected = (bits >> 8) / 2**24 * 1000
    np.testing.assert_array_equal(drawn, expected.astype(int))
    signed = np.where(bits < 2**31, bits, bits - 2**32) >> 8
    expected = stats.norm.ppf(((signed + 0.5) / 2**23 + 1) / 2)
    drawn = noise.normal((100,), seed, counter)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4)
