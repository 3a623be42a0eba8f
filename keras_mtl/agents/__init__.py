"""Agents that weight the tasks: soft actor-critic for `IGBv2`."""

from keras_mtl.agents.agent import Agent
from keras_mtl.agents.registry import check_name
from keras_mtl.agents.registry import get
from keras_mtl.agents.registry import names
from keras_mtl.agents.registry import register
from keras_mtl.agents.replay_buffer import ReplayBuffer
from keras_mtl.agents.sac import KerasAgent

__all__ = [
    "Agent",
    "KerasAgent",
    "ReplayBuffer",
    "check_name",
    "get",
    "names",
    "register",
]
