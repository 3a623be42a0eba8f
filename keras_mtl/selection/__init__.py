"""Task selection: which task's batch comes next."""

import inspect

import numpy as np

from keras_mtl.selection.bandit import BanditEnvironment
from keras_mtl.selection.counterfactual import counterfactual_policy
from keras_mtl.selection.estimate import Estimate
from keras_mtl.selection.estimators import importance_sampling
from keras_mtl.selection.estimators import weighted_importance_sampling
from keras_mtl.selection.exp3s import Exp3S
from keras_mtl.selection.falling_loss import FallingLoss
from keras_mtl.selection.fixed import Fixed
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.prediction_gain import PredictionGain
from keras_mtl.selection.reward import Reward
from keras_mtl.selection.selection_log import SelectionLog
from keras_mtl.selection.size_proportional import SizeProportional
from keras_mtl.selection.task_sampler import TaskSampler
from keras_mtl.selection.uniform import Uniform

ALL_POLICIES = {
    "uniform": Uniform,
    "size_proportional": SizeProportional,
    "exp3s": Exp3S,
}


def get(identifier):
    """Retrieves a policy.

    Args:
        identifier: Name (`"uniform"`, `"size_proportional"` or `"exp3s"`; case
            and underscores do not matter), class or instance of `Policy`, or
            probabilities of shape `(T,)`, which make a `Fixed`.

    Returns:
        A `Policy`; an instance is returned as it is.

    Raises:
        ValueError: If no policy has that name, or the value is none of these.

    Example:

    >>> keras_mtl.selection.get([0.25, 0.75])
    Fixed([0.25, 0.75])
    """
    if isinstance(identifier, Policy):
        return identifier
    if inspect.isclass(identifier) and issubclass(identifier, Policy):
        return identifier()
    if isinstance(identifier, str):
        plain = identifier.lower().replace("_", "").replace("-", "")
        for name, policy in ALL_POLICIES.items():
            if name.replace("_", "") == plain:
                return policy()
    elif np.ndim(identifier) == 1:
        return Fixed(identifier)
    raise ValueError(
        f"Expected a policy to be one of {list(ALL_POLICIES)}, a `Policy`, or "
        f"probabilities of shape (T,). Received: {identifier!r}"
    )
