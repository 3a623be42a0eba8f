"""What the papers prove of the directions, for float32 weights."""

import numpy as np
import pytest

from keras_mtl import weightings
from tests.solvers.problems import KINDS
from tests.solvers.problems import as_float32
from tests.weightings.gradients import cosines
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch

NON_CONFLICTING = {
    "upgrad": weightings.UPGrad(),
    "dualproj": weightings.DualProj(),
    "mgda": weightings.MGDA(),
    "nash_mtl": weightings.NashMTL(),
    "cagrad, c = 1": weightings.CAGrad(c=1.0),
    "cagrad, c = 2": weightings.CAGrad(c=2.0),
    "fairgrad": weightings.FairGrad(),
}


def fresh(weighting):
    return type(weighting).from_config(weighting.get_config())


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("name", NON_CONFLICTING)
@pytest.mark.parametrize("num_tasks", [2, 5, 11])
def test_directions_do_not_conflict(num_tasks, name):
    weighting = fresh(NON_CONFLICTING[name])
    for kind in KINDS:
        jacobian = as_float32(KINDS[kind](num_tasks))
        direction = direction_of(weighting, jacobian)
        assert cosines(jacobian, direction).min() >= -1e-5, kind
    for jacobian in steps(num_tasks, num_tasks + 1):
        direction = direction_of(weighting, jacobian)
        assert cosines(jacobian, direction).min() >= -1e-5


SCALE_FREE = {
    "nash_mtl": weightings.NashMTL(),
    "fairgrad, alpha = 1": weightings.FairGrad(alpha=1.0),
    "config": weightings.ConFIG(),
    "imtl_g": weightings.IMTLG(),
}


@pytest.mark.parametrize("name", SCALE_FREE)
def test_two_tasks_take_the_bisector(name):
    """The direction of the sum of the unit gradients, at any scales."""
    weighting = fresh(SCALE_FREE[name])
    for jacobian in steps(2):
        for scales in ([1.0, 1.0], [1e-3, 10.0], [1e4, 1e-4]):
            scaled = np.array(scales)[:, None] * jacobian
            direction = direction_of(weighting, scaled)
            units = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
            bisector = units.sum(axis=0)
            assert cosines(bisector[None], direction) >= 1 - 1e-6


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize(
    "name, degree",
    [
        ("mean", 1),
        ("mgda", 1),
        ("imtl_g", 1),
        ("cagrad", 1),
        ("upgrad", 1),
        ("dualproj", 1),
        ("aligned_mtl", 1),
        ("config", 1),
        # From G w = w^(-1 / alpha), with alpha = 2.
        ("fairgrad", -1 / 3),
    ],
)
def test_degree_of_homogeneity(name, degree, scale):
    for jacobian in steps()[:3]:
        direction = direction_of(weightings.get(name), jacobian)
        scaled = direction_of(weightings.get(name), scale * jacobian)
        np.testing.assert_allclose(
            scaled,
            scale**degree * direction,
            atol=2e-4 * scale**degree * np.linalg.norm(direction),
        )
