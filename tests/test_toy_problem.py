import numpy as np
import pytest

from experiments import toy_two_objectives as toy

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def front():
    return toy.pareto_front()


def test_jacobian_matches_finite_differences():
    points = np.random.default_rng(0).uniform(-9, 9, size=(500, 2))
    # Away from the kinks: the axis, and the floors of the valleys.
    points = points[np.abs(points[:, 1]) > 0.01]
    step = 1e-6 * np.eye(2)
    differences = [
        (toy.losses(points + h) - toy.losses(points - h)) / 2e-6 for h in step
    ]
    np.testing.assert_allclose(
        toy.jacobian(points), np.stack(differences, axis=-1), rtol=1e-5
    )


def test_no_point_of_the_plane_dominates_the_front(front):
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-12, 12, 601)]), axis=-1)
    losses = toy.losses(grid.reshape(-1, 2))
    for corner in toy.losses(front[::100]):
        # The grid of y at which the front is found leaves an error of 1e-7.
        assert not np.any(np.all(losses < corner - 1e-6, axis=1))


def test_the_front_reaches_the_minimum_of_each_loss(front):
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-12, 12, 601)]), axis=-1)
    np.testing.assert_allclose(
        toy.losses(front).min(axis=0),
        toy.losses(grid).min(axis=(0, 1)),
        atol=1e-3,
    )


def test_distance_to_the_front(front):
    np.testing.assert_allclose(toy.distance_to_front(front, front), 0)
    points = np.random.default_rng(0).uniform(-9, 9, size=(20, 2))
    samples = toy.losses(toy.pareto_front(4001))
    expected = [
        np.linalg.norm(value - samples, axis=1).min()
        for value in toy.losses(points)
    ]
    # The samples are 0.01 apart, and no point is that close to the front.
    np.testing.assert_allclose(
        toy.distance_to_front(points, front), expected, atol=1e-3
    )


@pytest.mark.slow
def test_nash_mtl_reaches_the_front_from_every_start(front):
    # In 500 large steps instead of the 35,000 small ones of the experiment.
    ends = toy.train("Nash-MTL", [1.0, 10.0], steps=500, learning_rate=5e-2)
    for ends_of_scale in ends[-1]:
        distances = toy.distance_to_front(ends_of_scale, front)
        assert np.all(distances < toy.REACHED), distances


@pytest.mark.slow
def test_equal_weighting_does_not_reach_the_front_from_every_start(front):
    # The set-up of the papers. It is stuck in the valley of the loss that is
    # nearer: from (-8.5, 7.5) at both scales, from (9, 9) at the original one.
    ends = toy.train("Equal", [1.0, 10.0], steps=35_000)[-1]
    original, unequal = (toy.distance_to_front(e, front) for e in ends)
    assert original[0] > 20 and original[2] > 20
    assert np.all(original[[1, 3, 4]] < toy.REACHED)
    assert unequal[0] > 20
    assert np.all(unequal[[1, 3, 4]] < toy.REACHED)


def test_shares_of_the_picture(front):
    trajectory = np.zeros((36, 3, 5, 2))
    # The losses of the start (0, 0), with the factor 10.
    trajectory[-1] = 100.0
    trajectory[10:20, 1, 1] = front[-1]
    shares, steps = toy.shares_of_best(trajectory, steps=35_000)
    np.testing.assert_allclose(steps, np.arange(0, 12_001, 1000))
    np.testing.assert_allclose(shares[:10], 0.0, atol=1e-9)
    # An end of the front is the minimum of one loss.
    np.testing.assert_allclose(shares[10:, 0], 100.0, atol=0.1)
    assert np.all(shares[10:, 1] < 10.0)


def test_script_writes_its_distances_and_figures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(toy, "LOSS_SCALES", (1.0, 10.0))
    monkeypatch.setattr(
        "sys.argv",
        ["toy", "--steps", "3", "--output-dir", str(tmp_path / "results")]
        + ["--images-dir", str(tmp_path / "images")],
    )
    toy.main()
    (picture,) = (tmp_path / "images").iterdir()
    assert picture.name == "largest_gradient.png"
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "toy_two_objectives.json",
        "toy_two_objectives_losses.png",
        "toy_two_objectives_variables.png",
    ]
