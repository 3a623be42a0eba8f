"""The registry of the agents."""

from collections.abc import Callable

import keras

from keras_mtl.agents.agent import Agent
from keras_mtl.backend.registry import Registry

AGENTS = Registry("agent", Agent)
# The package imports this class itself.
AGENTS.register_lazily("keras", "keras_mtl.agents.sac")
# Importing TF-Agents takes seconds and sets up legacy Keras: only on demand.
AGENTS.register_lazily("tf_agents", "keras_mtl.agents.tf_agents")

AUTO = "auto"


def register(
    name: str | None = None, package: str = "Custom"
) -> Callable[[type], type]:
    """Returns a decorator that gives a class of agents a name.

    Args:
        name: Name of the agent, for `get` and the `agent` of `IGBv2`. By
            default that of the class in snake case.
        package: As of `keras.saving.register_keras_serializable`.

    Returns:
        Decorator of a class that inherits from `Agent`.

    Raises:
        ValueError: If the class is no `Agent`, or another one has the name.
    """
    return AGENTS.register(name, package)


def names() -> list[str]:
    """Returns the names that `get` takes."""
    return [AUTO, *AGENTS.names()]


def check_name(name: str) -> None:
    """Raises a `ValueError` if no agent has that name."""
    # An agent is not imported to be checked.
    if not isinstance(name, str) or not (name == AUTO or AGENTS.knows(name)):
        raise AGENTS.unknown(name, "agent", [AUTO])


def get(name: str | type[Agent]) -> type[Agent]:
    """Returns the class of an agent.

    Args:
        name: `"keras"`; `"tf_agents"`, on the TensorFlow backend with the
            extra `tf-agents`; `"auto"`, `"tf_agents"` where it
            can be imported, on one device, and else `"keras"`; the name of
            another registered class; or a class, which is returned as it is.

    Raises:
        ImportError: If TF-Agents cannot be imported.
        ValueError: If no agent has that name.
    """
    if isinstance(name, type) and issubclass(name, Agent):
        return name
    check_name(name)
    if name != AUTO:
        return AGENTS.get_class(name)
    if keras.backend.backend() != "tensorflow" or _on_several_devices():
        return AGENTS.get_class("keras")
    try:
        return AGENTS.get_class("tf_agents")
    except ImportError:
        return AGENTS.get_class("keras")


def _on_several_devices():
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync > 1
