"""TorchJD's directions, wherever both state the same mathematics.

They differ by design, which the tests with tolerances say, too:

- MGDA: TorchJD ends Frank-Wolfe's steps when one is shorter than 0.001, or
  after 100 of them.
- UPGrad, DualProj: TorchJD adds 0.0001 of the sum of the squared norms to the
  Gramian's diagonal, which leaves conflicts, and returns the plain weights for
  gradients with a squared norm below 0.0001.
- CAGrad: TorchJD takes gradients with a squared norm below 0.0001 for zero.
- AlignedMTL: its default preference is 1 / T, ours is 1, as in the official
  code.
- FairGrad: TorchJD minimizes the residual, in units of the gradients, and may
  end far from the solution where these differ.
- A zero gradient is a task without a label here, and left out; TorchJD's MGDA
  gives it all the weight.
"""

import keras
import numpy as np
import pytest

from keras_mtl import weightings
from tests.weightings.gradients import cosines
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch

if keras.backend.backend() != "torch":
    pytest.skip("TorchJD is on PyTorch", allow_module_level=True)
torch = pytest.importorskip("torch")
aggregation = pytest.importorskip("torchjd.aggregation")


def create(name, **arguments):
    try:
        return getattr(aggregation, name)(**arguments)
    except ImportError as error:  # A solver that is not installed.
        pytest.skip(str(error))


def theirs(aggregator, jacobian):
    # In float64: what they would give without rounding.
    return aggregator(torch.tensor(jacobian)).numpy()


def check(weighting, aggregator, tolerance=2e-5, count=20):
    for jacobian in steps(count=count):
        expected = theirs(aggregator, jacobian)
        error = np.linalg.norm(direction_of(weighting, jacobian) - expected)
        assert error <= tolerance * np.linalg.norm(expected)


PREFERENCE = [0.1, 0.4, 0.2, 1.0, 2.0]


def pref_vector(preference):
    return None if preference is None else torch.tensor(preference).double()


@pytest.mark.every_backend
def test_mean():
    check(weightings.Mean(), create("Mean"))


def test_imtl_g():
    check(weightings.IMTLG(), create("IMTLG"), 1e-3)


@pytest.mark.parametrize("preference", [None, PREFERENCE])
def test_config(preference):
    check(
        weightings.ConFIG(preference),
        create("ConFIG", pref_vector=pref_vector(preference)),
    )


@pytest.mark.parametrize("scale", ["min", "median", "mean"])
def test_aligned_mtl(scale):
    check(
        weightings.AlignedMTL(PREFERENCE, scale),
        create(
            "AlignedMTL",
            pref_vector=pref_vector(PREFERENCE),
            scale_mode="rmse" if scale == "mean" else scale,
        ),
        # Float32 rounds the least eigenvalue relative to the largest.
        3e-4,
    )


def test_fairgrad():
    check(weightings.FairGrad(2.0), create("FairGrad", alpha=2.0), 1e-3)


@pytest.mark.slow
def test_mgda_is_near_but_longer_there():
    mgda = create("MGDA", epsilon=1e-5, max_iters=5000)
    for jacobian in steps():
        direction = direction_of(weightings.MGDA(), jacobian)
        expected = theirs(mgda, jacobian)
        norms = np.linalg.norm(jacobian, axis=1)
        assert np.linalg.norm(direction - expected) <= 0.02 * norms.max()
        shortest = np.linalg.norm(direction)
        assert shortest <= np.linalg.norm(expected) + 1e-6 * norms.min()


@pytest.mark.parametrize("name", ["UPGrad", "DualProj"])
@pytest.mark.parametrize("preference", [None, PREFERENCE])
def test_projections(name, preference):
    try:
        from torchjd.linalg import QuadprogProjector

        projector = QuadprogProjector(norm_eps=0.0, reg_eps=1e-12)
    except ImportError as error:
        pytest.skip(str(error))
    theirs_ = create(
        name, pref_vector=pref_vector(preference), projector=projector
    )
    check(getattr(weightings, name)(preference), theirs_)


def test_their_default_projections_conflict():
    dualproj = create("DualProj")
    worst = {"ours": 0.0, "theirs": 0.0}
    for jacobian in steps(size=6):
        direction = direction_of(weightings.DualProj(), jacobian)
        ours = cosines(jacobian, direction).min()
        conflict = cosines(jacobian, theirs(dualproj, jacobian)).min()
        worst["ours"] = min(worst["ours"], ours)
        worst["theirs"] = min(worst["theirs"], conflict)
    assert worst["ours"] >= -1e-5
    assert worst["theirs"] < -1e-2


@pytest.mark.parametrize("c", [0.4, 1.0])
def test_cagrad(c):
    # Its interior-point method ends at eight digits of the objective.
    check(weightings.CAGrad(c), create("CAGrad", c=c, norm_eps=0.0), 1e-3)
