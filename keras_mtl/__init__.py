"""Multi-task learning for Keras 3."""

from keras_mtl import backend
from keras_mtl import weightings
from keras_mtl.model import MultiTaskModel
