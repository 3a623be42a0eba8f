"""Balanced gradients in training loops of your own.

There is one function for each backend, beside the idiom of the framework. A
weighting is made once, before the loop, and is the same object as in `compile`.
"""

from keras_mtl.loops.backward import backward
from keras_mtl.loops.tape_gradient import tape_gradient
from keras_mtl.loops.value_and_grad import ValueAndGrad
from keras_mtl.loops.value_and_grad import value_and_grad

__all__ = [
    "ValueAndGrad",
    "backward",
    "tape_gradient",
    "value_and_grad",
]
