"""Networks of several tasks, made on the tensors of a Functional graph.

Each function returns a dict of task to tensor, on which the user puts heads.
They are graphs, in which the shared trunk and the heads are found as in a graph
of the user's own.
"""

from keras_mtl.architectures.adv_mtl import adv_mtl
from keras_mtl.architectures.branch_choice import BranchChoice
from keras_mtl.architectures.cgc import cgc
from keras_mtl.architectures.cross_stitch import cross_stitch
from keras_mtl.architectures.cross_stitch_unit import CrossStitchUnit
from keras_mtl.architectures.d_select_gate import DSelectGate
from keras_mtl.architectures.dselect_k import dselect_k
from keras_mtl.architectures.feature_modulation import FeatureModulation
from keras_mtl.architectures.film import film
from keras_mtl.architectures.gated_mixture import GatedMixture
from keras_mtl.architectures.gradient_reversal import GradientReversal
from keras_mtl.architectures.hard_parameter_sharing import (
    hard_parameter_sharing,
)
from keras_mtl.architectures.learning_to_branch import learning_to_branch
from keras_mtl.architectures.lora import lora
from keras_mtl.architectures.low_rank_adapters import LowRankAdapters
from keras_mtl.architectures.mmoe import mmoe
from keras_mtl.architectures.mtan import mtan
from keras_mtl.architectures.orthogonality import Orthogonality
from keras_mtl.architectures.ple import ple
from keras_mtl.architectures.task_adversary import TaskAdversary

__all__ = [
    "BranchChoice",
    "CrossStitchUnit",
    "DSelectGate",
    "FeatureModulation",
    "GatedMixture",
    "GradientReversal",
    "LowRankAdapters",
    "Orthogonality",
    "TaskAdversary",
    "adv_mtl",
    "cgc",
    "cross_stitch",
    "dselect_k",
    "film",
    "hard_parameter_sharing",
    "learning_to_branch",
    "lora",
    "mmoe",
    "mtan",
    "ple",
]
