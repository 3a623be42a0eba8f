import keras
import numpy as np
import pytest

from keras_mtl.weightings.db_mtl import DBMTL
from tests.stepping import weights_of_steps

pytestmark = pytest.mark.quick_on_torch


def random_losses(steps=30, num_tasks=3, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 3.0, (steps, num_tasks))


def random_jacobians(steps=30, num_tasks=3, size=40, seed=1):
    jacobians = np.random.default_rng(seed).normal(
        size=(steps, num_tasks, size)
    )
    return jacobians * np.logspace(-2, 2, num_tasks)[:, None]


def fixed_directions(steps=30, num_tasks=3, size=40):
    """Jacobians in which only the lengths of the gradients change."""
    directions = random_jacobians(1, num_tasks, size)
    lengths = random_losses(steps, num_tasks, seed=2)
    return directions * lengths[:, :, None]


def gramians_of(jacobians):
    return jacobians @ jacobians.transpose(0, 2, 1)


def directions_of_algorithm_1(losses, jacobians, beta, beta_sigma):
    """The paper's direction in float64, with averages of the gradients.

    Returns:
        The directions, shape `(steps, P)`, and the factors of the averages,
        shape `(steps, T)`.
    """
    average = np.zeros_like(jacobians[0])
    directions, factors = [], []
    for k, (step, jacobian) in enumerate(zip(losses, jacobians), start=1):
        rate = beta / k**beta_sigma
        average = rate * average + (1 - rate) * jacobian / step[:, None]
        norms = np.linalg.norm(average, axis=1)
        factors.append(norms.max() / norms)
        directions.append(factors[-1] @ average)
    return np.stack(directions), np.stack(factors)


@pytest.mark.every_backend
def test_without_averages_the_direction_is_equation_2():
    losses, jacobians = random_losses(), random_jacobians()
    expected, _ = directions_of_algorithm_1(losses, jacobians, 0.0, 0.5)
    weights = weights_of_steps(
        DBMTL(beta=0.0), losses, gramians_of(jacobians)
    ).astype("float64")
    np.testing.assert_allclose(
        np.einsum("st,stp->sp", weights, jacobians),
        expected,
        rtol=1e-4,
        atol=1e-4 * np.abs(expected).max(),
    )


@pytest.mark.parametrize("beta, beta_sigma", [(0.5, 0.5), (0.9, 0.0)])
def test_gradients_of_fixed_directions_are_weighted_as_in_algorithm_1(
    beta, beta_sigma
):
    losses, jacobians = random_losses(), fixed_directions()
    _, factors = directions_of_algorithm_1(losses, jacobians, beta, beta_sigma)
    weights = weights_of_steps(
        DBMTL(beta, beta_sigma), losses, gramians_of(jacobians)
    )
    # The average of ones: averages begin at 0, as those of the gradients do.
    mass = 1 - np.cumprod(beta / np.arange(1, 31) ** beta_sigma)
    expected = mass[:, None] * factors / losses
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_the_first_step_has_the_length_of_algorithm_1():
    losses, jacobians = random_losses(1), fixed_directions(1)
    for beta in (0.5, 0.9):
        directions, _ = directions_of_algorithm_1(losses, jacobians, beta, 0.0)
        weights = weights_of_steps(
            DBMTL(beta, 0.0), losses, gramians_of(jacobians)
        )
        direction = weights[0].astype("float64") @ jacobians[0]
        np.testing.assert_allclose(direction, directions[0], rtol=1e-4)


def test_norms_are_averaged():
    losses, jacobians = random_losses(), random_jacobians()
    norms = np.linalg.norm(jacobians, axis=2) / losses
    rates = 0.5 / np.sqrt(np.arange(1, 31))
    # The average as one sum: the k-th batch counts (1 - b_k) b_(k+1) b_(k+2)...
    averages = []
    for step in range(30):
        shares = [
            (1 - rates[k]) * np.prod(rates[k + 1 : step + 1])
            for k in range(step + 1)
        ]
        averages.append(np.array(shares) @ norms[: step + 1])
    averages = np.stack(averages)
    mass = 1 - np.cumprod(rates)[:, None]
    expected = mass * averages.max(axis=1, keepdims=True) / averages / losses
    weights = weights_of_steps(DBMTL(), losses, gramians_of(jacobians))
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_heads_follow_the_logarithms():
    losses, gramian = random_losses()[0], gramians_of(random_jacobians())[0]
    weighting = DBMTL(update_every=2)
    weighting(losses.astype("float32"), gramian.astype("float32"))
    heads = keras.ops.convert_to_numpy(weighting.head_weights())
    np.testing.assert_allclose(heads, 1 / losses, rtol=1e-6)
    # Also in a step that reuses the weights of the shared parameters.
    weighting(2 * losses.astype("float32"), gramian.astype("float32"))
    heads = keras.ops.convert_to_numpy(weighting.head_weights())
    np.testing.assert_allclose(heads, 0.5 / losses, rtol=1e-6)
    weighting = DBMTL(weigh_heads=True)
    weights = weighting(losses.astype("float32"), gramian.astype("float32"))
    heads = keras.ops.convert_to_numpy(weighting.head_weights())
    np.testing.assert_array_equal(heads, keras.ops.convert_to_numpy(weights))


def test_reused_weights_leave_the_averages():
    losses, jacobians = random_losses(), random_jacobians()
    gramians = gramians_of(jacobians)
    # What the model passes where no gradients are computed.
    sparse = np.where(
        np.arange(30)[:, None, None] % 3 == 0, gramians, np.eye(3)
    )
    weights = weights_of_steps(DBMTL(update_every=3), losses, sparse)
    expected = weights_of_steps(DBMTL(), losses[::3], gramians[::3])
    np.testing.assert_allclose(weights, expected.repeat(3, axis=0), rtol=1e-5)


def test_a_task_without_labels_keeps_its_average():
    losses, jacobians = random_losses(), random_jacobians()
    losses[10:20, 1] = 0.0
    jacobians[10:20, 1] = 0.0
    weighting = DBMTL(beta=0.9, beta_sigma=0.0)
    gramians = gramians_of(jacobians)
    weights = weights_of_steps(weighting, losses[:20], gramians[:20])
    np.testing.assert_array_equal(weights[10:, 1], 0.0)
    assert np.all(weights[:, [0, 2]] > 0)
    norms = np.linalg.norm(jacobians[:10, 1], axis=1) / losses[:10, 1]
    expected = np.average(norms, weights=0.9 ** np.arange(9, -1, -1))
    average = np.array(weighting.norm) / np.array(weighting.mass)
    assert average[1] == pytest.approx(expected, rel=1e-5)


def test_a_zero_gradient_has_no_weight():
    gramian = np.diag([0.0, 1.0, 4.0])[None]
    weights = weights_of_steps(DBMTL(), np.ones((1, 3)), gramian)
    np.testing.assert_allclose(weights[0], [0.0, 1.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"beta": 1.0}, "Received: beta=1.0"),
        ({"beta": -0.1}, "Received: beta=-0.1"),
        ({"beta_sigma": -1.0}, "Received: beta_sigma=-1.0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DBMTL(**arguments)
