"""Weightings: the methods that balance the tasks, one class a file."""

import difflib
import inspect

import keras

from keras_mtl.weightings.aligned_mtl import AlignedMTL
from keras_mtl.weightings.bandit_mtl import BanditMTL
from keras_mtl.weightings.cagrad import CAGrad
from keras_mtl.weightings.chain import Chain
from keras_mtl.weightings.config import ConFIG
from keras_mtl.weightings.constant import Constant
from keras_mtl.weightings.cr_mogm import CRMOGM
from keras_mtl.weightings.db_mtl import DBMTL
from keras_mtl.weightings.dualproj import DualProj
from keras_mtl.weightings.dwa import DWA
from keras_mtl.weightings.equal import Equal
from keras_mtl.weightings.excess_mtl import ExcessMTL
from keras_mtl.weightings.fairgrad import FairGrad
from keras_mtl.weightings.famo import FAMO
from keras_mtl.weightings.geometric_mean import GeometricMean
from keras_mtl.weightings.go4align import GO4Align
from keras_mtl.weightings.graddrop import GradDrop
from keras_mtl.weightings.gradnorm import GradNorm
from keras_mtl.weightings.gradvac import GradVac
from keras_mtl.weightings.igb_v1 import IGBv1
from keras_mtl.weightings.igb_v2 import IGBv2
from keras_mtl.weightings.imtl_g import IMTLG
from keras_mtl.weightings.imtl_l import IMTLL
from keras_mtl.weightings.krum import Krum
from keras_mtl.weightings.mean import Mean
from keras_mtl.weightings.mgda import MGDA
from keras_mtl.weightings.moco import MoCo
from keras_mtl.weightings.modo import MoDo
from keras_mtl.weightings.nash_mtl import NashMTL
from keras_mtl.weightings.pcd import PCD
from keras_mtl.weightings.pcgrad import PCGrad
from keras_mtl.weightings.random import Random
from keras_mtl.weightings.scale_invariant import ScaleInvariant
from keras_mtl.weightings.sdmgrad import SDMGrad
from keras_mtl.weightings.smooth_tchebycheff import SmoothTchebycheff
from keras_mtl.weightings.sum import Sum
from keras_mtl.weightings.tchebycheff import Tchebycheff
from keras_mtl.weightings.trimmed_mean import TrimmedMean
from keras_mtl.weightings.uncertainty import Uncertainty
from keras_mtl.weightings.upgrad import UPGrad
from keras_mtl.weightings.weighting import GradientWeighting
from keras_mtl.weightings.weighting import Weighting

ALL_WEIGHTINGS = {
    "equal": Equal,
    "scale_invariant": ScaleInvariant,
    "random": Random,
    "uncertainty": Uncertainty,
    "dwa": DWA,
    "geometric_mean": GeometricMean,
    "imtl_l": IMTLL,
    "tchebycheff": Tchebycheff,
    "smooth_tchebycheff": SmoothTchebycheff,
    "constant": Constant,
    "igb_v1": IGBv1,
    "igb_v2": IGBv2,
    "bandit_mtl": BanditMTL,
    "go4align": GO4Align,
    "famo": FAMO,
    "sum": Sum,
    "gradnorm": GradNorm,
    "nash_mtl": NashMTL,
    "mean": Mean,
    "mgda": MGDA,
    "imtl_g": IMTLG,
    "cagrad": CAGrad,
    "upgrad": UPGrad,
    "dualproj": DualProj,
    "fairgrad": FairGrad,
    "aligned_mtl": AlignedMTL,
    "config": ConFIG,
    "db_mtl": DBMTL,
    "excess_mtl": ExcessMTL,
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "graddrop": GradDrop,
    "trimmed_mean": TrimmedMean,
    "krum": Krum,
    "sdmgrad": SDMGrad,
    "moco": MoCo,
    "modo": MoDo,
    "cr_mogm": CRMOGM,
    "pcd": PCD,
}


def names():
    """Returns the names of all methods, loss balancing first."""
    return list(ALL_WEIGHTINGS)


def get(identifier):
    """Retrieves a weighting.

    Args:
        identifier: Name of a method (case and underscores do not matter), class
            or instance of `Weighting`, config dict of
            `keras.saving.serialize_keras_object`, or a list of these, which
            makes a `Chain`.

    Returns:
        A `Weighting`; an instance is returned as it is.

    Raises:
        ValueError: If no method has that name, or the value is none of these.

    Example:

    >>> keras_mtl.weightings.get("nash_mtl")
    <NashMTL name=nash_mtl, built=False>
    """
    if isinstance(identifier, Weighting):
        return identifier
    if inspect.isclass(identifier) and issubclass(identifier, Weighting):
        return identifier()
    if isinstance(identifier, (list, tuple)):
        return Chain(identifier) if len(identifier) > 1 else get(*identifier)
    if isinstance(identifier, dict):
        return get(keras.saving.deserialize_keras_object(identifier))
    if isinstance(identifier, str):
        return _find(identifier)()
    raise ValueError(
        "Expected a weighting to be a name, a `Weighting`, a config dict or a "
        f"list of these. Received: {identifier} of type {type(identifier)}"
    )


def _find(name):
    def plain(text):
        return text.lower().replace("_", "").replace("-", "")

    by_plain_name = {plain(known): known for known in ALL_WEIGHTINGS}
    known = by_plain_name.get(plain(name))
    if known is None:
        nearest = difflib.get_close_matches(plain(name), by_plain_name)
        hint = ", ".join(repr(by_plain_name[match]) for match in nearest)
        hint = f" Did you mean {hint}?" if hint else ""
        raise ValueError(
            f"Unknown weighting: {name!r}.{hint} Known weightings: {names()}"
        )
    return ALL_WEIGHTINGS[known]
