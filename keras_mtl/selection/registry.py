"""The registries of the policies and of the rewards."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_mtl.backend.registry import Registry
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.reward import Reward

POLICIES = Registry("policy", Policy, also=["probabilities of shape (T,)"])
REWARDS = Registry("reward", Reward)


def register(
    name: str | None = None, package: str = "Custom"
) -> Callable[[type], type]:
    """Returns a decorator that gives a class of policies or rewards a name.

    The class is then known by that name to `TaskSampler` and `get`, or
    `get_reward`.

    Args:
        name: Name of the class. By default that of the class in snake case.
        package: As of `keras.saving.register_keras_serializable`.

    Returns:
        Decorator of a class that inherits from `Policy` or `Reward`.

    Raises:
        ValueError: If the class is neither, or another one has the name.

    Example:

    >>> @keras_mtl.selection.register()
    ... class Unit(keras_mtl.selection.Reward):
    ...     def __call__(self, task, loss, loss_after=None):
    ...         return 1.0
    >>> keras_mtl.selection.get_reward("unit")(task=0, loss=2.0)
    1.0
    """

    def decorate(cls):
        is_reward = isinstance(cls, type) and issubclass(cls, Reward)
        registry = REWARDS if is_reward else POLICIES
        return registry.register(name, package)(cls)

    return decorate


def names() -> list[str]:
    """Returns the names of the policies."""
    return POLICIES.names()


def reward_names() -> list[str]:
    """Returns the names of the rewards."""
    return REWARDS.names()


def get(identifier: Any) -> Policy:
    """Retrieves a policy.

    Args:
        identifier: Name (`"uniform"`, `"size_proportional"`, `"exp3s"` or one
            that was registered; case and underscores do not matter), class or
            instance of `Policy`, config dict of
            `keras.saving.serialize_keras_object`, or probabilities of shape
            `(T,)`, which make a `Fixed`.

    Returns:
        A `Policy`; an instance is returned as it is.

    Raises:
        ValueError: If no policy has that name, or the value is none of these.

    Example:

    >>> keras_mtl.selection.get([0.25, 0.75])
    Fixed([0.25, 0.75])
    """
    return POLICIES.get(identifier)


def get_reward(identifier: Any, argument: str = "reward") -> Reward:
    """Retrieves a reward.

    Args:
        identifier: Name (`"prediction_gain"`, `"falling_loss"` or one that was
            registered; case and underscores do not matter), class or instance
            of `Reward`, or config dict of
            `keras.saving.serialize_keras_object`.
        argument: Name of the argument that it was given for, for errors.

    Returns:
        A `Reward`; an instance is returned as it is.

    Raises:
        ValueError: If no reward has that name, or the value is none of these.

    Example:

    >>> reward = keras_mtl.selection.get_reward("falling_loss")
    >>> reward.needs_loss_after
    False
    """
    return REWARDS.get(identifier, argument)


def is_vector(identifier: Any) -> bool:
    """Returns whether a value is a list or an array of shape `(T,)`."""
    return not isinstance(identifier, (str, dict)) and np.ndim(identifier) == 1
