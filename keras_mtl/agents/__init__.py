"""Agents that weight the tasks: soft actor-critic for `IGBv2`."""

import importlib

import keras

from keras_mtl.agents.agent import Agent
from keras_mtl.agents.replay_buffer import ReplayBuffer
from keras_mtl.agents.sac import KerasAgent

NAMES = ("auto", "keras", "tf_agents")


def check_name(name):
    """Raises a `ValueError` if no agent has that name."""
    if name not in NAMES:
        raise ValueError(
            f"Expected `agent` to be one of {NAMES}. Received: agent={name!r}"
        )


def get(name):
    """Returns the class of an agent.

    Args:
        name: `"keras"`; `"tf_agents"`, on the TensorFlow backend with the
            extra `keras-mtl[tf-agents]`; or `"auto"`, `"tf_agents"` where it
            can be imported, on one device, and else `"keras"`.

    Raises:
        ImportError: If TF-Agents cannot be imported.
        ValueError: If no agent has that name.
    """
    check_name(name)
    if name == "keras":
        return KerasAgent
    if name == "auto":
        if keras.backend.backend() != "tensorflow" or _on_several_devices():
            return KerasAgent
        try:
            return get("tf_agents")
        except ImportError:
            return KerasAgent
    # Not imported with `keras_mtl`: it takes seconds and sets up legacy Keras.
    return importlib.import_module("keras_mtl.agents.tf_agents").TFAgentsAgent


def _on_several_devices():
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync > 1
