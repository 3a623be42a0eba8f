"""What a file says of how its model was compiled."""

from keras_mtl.backend.keras_internals import TORCH_MODULES
from keras_mtl.backend.keras_internals import SerializableDict


def serialized(config, weighting):
    """Returns the arguments of `compile` for a file.

    Args:
        config: Dict of the arguments as they were given.
        weighting: `Weighting` in use.
    """
    arguments = SerializableDict(**config, weighting=weighting)
    return _for_every_backend(arguments.serialize())


def _for_every_backend(config):
    """Names optimizers as Keras does; those of PyTorch have their own names.

    There, `keras.optimizers.Adam` makes an object of another class.
    """
    if isinstance(config, (list, tuple)):
        return type(config)(map(_for_every_backend, config))
    if not isinstance(config, dict):
        return config
    config = {key: _for_every_backend(value) for key, value in config.items()}
    if str(config.get("module")).startswith(TORCH_MODULES):
        config.update(module="keras.optimizers", registered_name=None)
    return config
