"""Task selection: which task's batch comes next."""

# The order in which policies and rewards are registered is that of `names()`.
# isort: off
from keras_mtl.selection.uniform import Uniform
from keras_mtl.selection.size_proportional import SizeProportional
from keras_mtl.selection.exp3s import Exp3S
from keras_mtl.selection.prediction_gain import PredictionGain
from keras_mtl.selection.falling_loss import FallingLoss
# isort: on

from keras_mtl.selection.bandit import BanditEnvironment
from keras_mtl.selection.counterfactual import counterfactual_policy
from keras_mtl.selection.estimate import Estimate
from keras_mtl.selection.estimators import importance_sampling
from keras_mtl.selection.estimators import weighted_importance_sampling
from keras_mtl.selection.fixed import Fixed
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import get
from keras_mtl.selection.registry import get_reward
from keras_mtl.selection.registry import names
from keras_mtl.selection.registry import register
from keras_mtl.selection.registry import reward_names
from keras_mtl.selection.reward import Reward
from keras_mtl.selection.selection_log import SelectionLog
from keras_mtl.selection.task_sampler import TaskSampler

__all__ = [
    "BanditEnvironment",
    "Estimate",
    "Exp3S",
    "FallingLoss",
    "Fixed",
    "Policy",
    "PredictionGain",
    "Reward",
    "SelectionLog",
    "SizeProportional",
    "TaskSampler",
    "Uniform",
    "counterfactual_policy",
    "get",
    "get_reward",
    "importance_sampling",
    "names",
    "register",
    "reward_names",
    "weighted_importance_sampling",
]
