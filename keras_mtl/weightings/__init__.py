"""Weightings: the methods that balance the tasks, one class a file."""

from keras_mtl.weightings.chain import Chain
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.measurement import Measurement
from keras_mtl.weightings.registry import get
from keras_mtl.weightings.registry import names
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# Each module registers its method: the order is that of `names()` and of the
# table of methods, loss balancing first.
# isort: off
from keras_mtl.weightings.equal import Equal
from keras_mtl.weightings.scale_invariant import ScaleInvariant
from keras_mtl.weightings.random import Random
from keras_mtl.weightings.uncertainty import Uncertainty
from keras_mtl.weightings.uw_so import UWSO
from keras_mtl.weightings.dwa import DWA
from keras_mtl.weightings.softadapt import SoftAdapt
from keras_mtl.weightings.relobralo import ReLoBRaLo
from keras_mtl.weightings.geometric_mean import GeometricMean
from keras_mtl.weightings.imtl_l import IMTLL
from keras_mtl.weightings.tchebycheff import Tchebycheff
from keras_mtl.weightings.smooth_tchebycheff import SmoothTchebycheff
from keras_mtl.weightings.cosmos import COSMOS
from keras_mtl.weightings.pbi import PBI
from keras_mtl.weightings.ldc_mtl import LDCMTL
from keras_mtl.weightings.constant import Constant
from keras_mtl.weightings.igb_v1 import IGBv1
from keras_mtl.weightings.igb_v2 import IGBv2
from keras_mtl.weightings.bandit_mtl import BanditMTL
from keras_mtl.weightings.go4align import GO4Align
from keras_mtl.weightings.famo import FAMO
from keras_mtl.weightings.auto_lambda import AutoLambda
from keras_mtl.weightings.moml import MOML
from keras_mtl.weightings.sum import Sum
from keras_mtl.weightings.gradnorm import GradNorm
from keras_mtl.weightings.nash_mtl import NashMTL
from keras_mtl.weightings.mean import Mean
from keras_mtl.weightings.mgda import MGDA
from keras_mtl.weightings.imtl_g import IMTLG
from keras_mtl.weightings.cagrad import CAGrad
from keras_mtl.weightings.imgrad import IMGrad
from keras_mtl.weightings.upgrad import UPGrad
from keras_mtl.weightings.dualproj import DualProj
from keras_mtl.weightings.fairgrad import FairGrad
from keras_mtl.weightings.pivrg import PIVRG
from keras_mtl.weightings.aligned_mtl import AlignedMTL
from keras_mtl.weightings.config import ConFIG
from keras_mtl.weightings.ntkmtl import NTKMTL
from keras_mtl.weightings.lr_annealing import LRAnnealing
from keras_mtl.weightings.db_mtl import DBMTL
from keras_mtl.weightings.excess_mtl import ExcessMTL
from keras_mtl.weightings.pcgrad import PCGrad
from keras_mtl.weightings.gradvac import GradVac
from keras_mtl.weightings.graddrop import GradDrop
from keras_mtl.weightings.trimmed_mean import TrimmedMean
from keras_mtl.weightings.krum import Krum
from keras_mtl.weightings.sdmgrad import SDMGrad
from keras_mtl.weightings.moco import MoCo
from keras_mtl.weightings.modo import MoDo
from keras_mtl.weightings.cr_mogm import CRMOGM
from keras_mtl.weightings.samo import SAMO
from keras_mtl.weightings.pcd import PCD
from keras_mtl.weightings.gcs import GCS
from keras_mtl.weightings.metabalance import MetaBalance
# isort: on

__all__ = [
    "AlignedMTL",
    "AutoLambda",
    "BanditMTL",
    "CAGrad",
    "COSMOS",
    "CRMOGM",
    "Chain",
    "ConFIG",
    "Constant",
    "DBMTL",
    "DWA",
    "DualProj",
    "Equal",
    "ExcessMTL",
    "FAMO",
    "FairGrad",
    "GCS",
    "GO4Align",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientWeighting",
    "IGBv1",
    "IGBv2",
    "IMGrad",
    "IMTLG",
    "IMTLL",
    "Krum",
    "LDCMTL",
    "LRAnnealing",
    "MGDA",
    "MOML",
    "Mean",
    "Measurement",
    "MetaBalance",
    "MoCo",
    "MoDo",
    "NTKMTL",
    "NashMTL",
    "PBI",
    "PCD",
    "PCGrad",
    "PIVRG",
    "Random",
    "ReLoBRaLo",
    "SAMO",
    "SDMGrad",
    "ScaleInvariant",
    "SmoothTchebycheff",
    "SoftAdapt",
    "Sum",
    "Tchebycheff",
    "TrimmedMean",
    "UPGrad",
    "UWSO",
    "Uncertainty",
    "Weighting",
    "get",
    "names",
    "register",
]
