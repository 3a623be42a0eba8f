import numpy as np
import pytest

from keras_mtl import selection


def built(policy, sizes):
    policy.build(sizes)
    return policy


def test_uniform():
    policy = built(selection.Uniform(), [10, None, 3])
    np.testing.assert_array_equal(policy.probabilities, np.full(3, 1 / 3))
    assert policy.probabilities.dtype == "float64"


def test_size_proportional_is_equation_4():
    sizes = [8551, 392702, 3668, 104743, 363846, 2490, 67349, 5749]
    policy = built(selection.SizeProportional(), sizes)
    np.testing.assert_allclose(
        policy.probabilities, np.array(sizes) / sum(sizes), rtol=1e-14
    )


@pytest.mark.parametrize("temperature", [0.5, 2.0, 5.0])
def test_temperature(temperature):
    policy = built(selection.SizeProportional(temperature), [10**9, 10, 1000])
    powers = np.array([1e9, 10.0, 1000.0]) ** (1 / temperature)
    np.testing.assert_allclose(
        policy.probabilities, powers / powers.sum(), rtol=1e-12
    )


@pytest.mark.parametrize("temperature", [1e-3, np.inf])
def test_extreme_temperatures(temperature):
    policy = built(selection.SizeProportional(temperature), [10**12, 1, 50])
    expected = [1, 0, 0] if temperature < 1 else np.full(3, 1 / 3)
    np.testing.assert_array_equal(policy.probabilities, expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="`temperature` to be positive"):
        selection.SizeProportional(temperature)


@pytest.mark.parametrize("sizes", [[10, None], [10, np.inf], [10, 0]])
def test_size_proportional_needs_sizes(sizes):
    with pytest.raises(ValueError, match="number of examples of every task"):
        selection.SizeProportional().build(sizes)


def test_fixed():
    # Table 3 of the paper, rounded there.
    table = [0.089, 0.255, 0.086, 0.134, 0.154, 0.086, 0.094, 0.102]
    policy = selection.Fixed(table)
    np.testing.assert_allclose(policy.probabilities, table, rtol=1e-12)
    thirds = selection.Fixed([0.333, 0.333, 0.333]).probabilities
    np.testing.assert_allclose(thirds, np.full(3, 1 / 3), rtol=1e-14)
    policy.probabilities[:] = 0
    np.testing.assert_allclose(policy.probabilities.sum(), 1)


@pytest.mark.parametrize(
    "probabilities",
    [[], [0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [[0.5, 0.5]], 1.0, [0.2, 0.3]],
)
def test_fixed_rejects_what_are_no_probabilities(probabilities):
    with pytest.raises(ValueError, match="sum to 1"):
        selection.Fixed(probabilities)


@pytest.mark.parametrize("sizes", [[], [-1], [np.nan], ["10"]])
@pytest.mark.parametrize("policy", [selection.Uniform, selection.Exp3S])
def test_bad_sizes(policy, sizes):
    with pytest.raises(ValueError, match="one positive number of examples"):
        policy().build(sizes)


@pytest.mark.parametrize(
    "policy",
    [selection.Uniform(), selection.Exp3S(), selection.SizeProportional()],
)
def test_not_built(policy):
    with pytest.raises(ValueError, match="call `build"):
        policy.sample(np.random.default_rng(0))


def test_other_number_of_tasks():
    with pytest.raises(ValueError, match="Expected 2 tasks"):
        selection.Fixed([0.5, 0.5]).build([1, 2, 3])
    policy = built(selection.Exp3S(), [1, 2])
    with pytest.raises(ValueError, match="Expected 2 tasks"):
        policy.build([1, 2, 3])


def test_samples_have_the_probabilities():
    policy = selection.Fixed([0.5, 0.0, 0.2, 0.3])
    rng = np.random.default_rng(0)
    draws = [policy.sample(rng) for _ in range(20_000)]
    tasks, propensities = map(np.array, zip(*draws))
    np.testing.assert_array_equal(propensities, policy.probabilities[tasks])
    shares = np.bincount(tasks, minlength=4) / len(tasks)
    errors = np.sqrt(policy.probabilities * (1 - policy.probabilities) / 2e4)
    assert np.all(np.abs(shares - policy.probabilities) <= 3.5 * errors)


def test_tasks_without_probability_are_never_chosen():
    class Edges:
        def __init__(self):
            self.values = iter([0.0, np.nextafter(1, 0), 0.5])

        def random(self):
            return next(self.values)

    policy, edges = selection.Fixed([0.0, 0.5, 0.5, 0.0]), Edges()
    assert [policy.sample(edges)[0] for _ in range(3)] == [1, 2, 2]


@pytest.mark.parametrize(
    "values", [[0.5, 0.6], [1.5, -0.5], [np.nan, 0.5], [0.0, 0.0]]
)
def test_own_policy_with_bad_probabilities(values):
    class Wrong(selection.Policy):
        @property
        def probabilities(self):
            return np.array(values)

    policy = built(Wrong(), [1, 1])
    with pytest.raises(ValueError, match=r"probabilities of Wrong\(\)"):
        policy.sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    "identifier, expected",
    [
        ("uniform", selection.Uniform),
        ("SizeProportional", selection.SizeProportional),
        ("exp3s", selection.Exp3S),
        ("Exp3-S", selection.Exp3S),
        (selection.Exp3S, selection.Exp3S),
        ([0.5, 0.5], selection.Fixed),
        (np.array([0.5, 0.5]), selection.Fixed),
    ],
)
def test_get(identifier, expected):
    assert type(selection.get(identifier)) is expected


def test_get_returns_an_instance_as_it_is():
    policy = selection.Uniform()
    assert selection.get(policy) is policy


@pytest.mark.parametrize(
    "identifier, match",
    [
        ("unifrom", "Unknown policy: 'unifrom'. Did you mean 'uniform'"),
        (3, r"`Policy`, a config dict or probabilities .* Received: 3"),
        (None, "Received: None"),
        (dict, "Received: <class 'dict'>"),
    ],
)
def test_get_unknown(identifier, match):
    with pytest.raises(ValueError, match=match):
        selection.get(identifier)
