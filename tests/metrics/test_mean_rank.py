import numpy as np
import pytest
from scipy import stats

from keras_mtl.metrics import mean_rank

pytestmark = pytest.mark.any_backend


def test_against_scipy():
    rng = np.random.default_rng(0)
    # Few distinct values, so that there are many ties.
    values = rng.integers(0, 4, size=(7, 9)).astype("float64")
    higher = np.arange(9) % 2 == 0
    expected = stats.rankdata(np.where(higher, -values, values), axis=0)
    ranks = mean_rank(dict(enumerate(values)), higher)
    np.testing.assert_allclose(
        list(ranks.values()), expected.mean(axis=1), rtol=1e-12
    )


def test_nested_results():
    ranks = mean_rank(
        {
            "a": {"seg": {"miou": 0.4}, "depth": {"abs": 1.0, "rel": 1.0}},
            "b": {"seg": {"miou": 0.5}, "depth": {"abs": 2.0, "rel": 2.0}},
        },
        higher_is_better=["seg"],
    )
    assert ranks == {"a": pytest.approx(4 / 3), "b": pytest.approx(5 / 3)}


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_is_last(value, higher_is_better):
    results = {"a": [value], "b": [1.0], "c": [1e30], "d": [np.nan]}
    ranks = mean_rank(results, higher_is_better)
    assert ranks["a"] == ranks["d"] == 3.5
    assert {ranks["b"], ranks["c"]} == {1.0, 2.0}


@pytest.mark.parametrize("results", [{}, {"a": {}}, {"a": {"x": 1.0}, "b": {}}])
def test_no_results(results):
    with pytest.raises(ValueError, match="at least one"):
        mean_rank(results)


def test_different_metrics():
    with pytest.raises(ValueError, match=r"method 'b'.*missing \['y'\]"):
        mean_rank({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0}})
