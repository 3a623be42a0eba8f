import contextlib
import functools
import os
from typing import Any

import keras

from keras_mtl.backend.files import BrokenFileError
from keras_mtl.backend.files import is_local
from keras_mtl.backend.files import received
from keras_mtl.backend.files import replacing
from keras_mtl.backend.keras_internals import ask_to_overwrite
from keras_mtl.backend.keras_internals import writes_hdf5_model

HDF5 = (".h5", ".hdf5")


class Checkpointing:
    """Files of a model that are whole at any moment, as a part of the model.

    What saves a model, such as `keras.callbacks.ModelCheckpoint`, calls these
    methods.
    """

    def save(
        self,
        filepath: str | os.PathLike,
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Saves the model in a file, as `keras.Model.save`.

        A `.keras` file on this machine is written whole or not at all: a kill
        meanwhile leaves the file as it was.

        Raises:
            ValueError: If the file ends in `.h5` or `.hdf5`, the old format of
                Keras, which has no place for a weighting.
        """
        if zipped is not False:
            _check_is_not_hdf5(filepath)
        write = functools.partial(super().save, zipped=zipped, **kwargs)
        if zipped is False or not is_local(filepath, ".keras"):
            write(filepath, overwrite=overwrite)
        elif overwrite or _may_replace(filepath):
            with replacing(filepath) as temporary:
                write(temporary)

    def get_config(self) -> dict[str, Any]:
        # `keras.saving.save_model` does not call `save`.
        if writes_hdf5_model():
            raise ValueError(_NO_HDF5.format(received="a file `.h5`"))
        return super().get_config()

    def save_weights(
        self,
        filepath: str | os.PathLike,
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Saves all weights in a file, as `keras.Model.save_weights`.

        One file on this machine is written whole or not at all: a kill
        meanwhile leaves the file as it was. Several (`max_shard_size`) are
        written as Keras writes them.
        """
        write = super().save_weights
        if max_shard_size is not None or not is_local(filepath, ".weights.h5"):
            write(filepath, overwrite, max_shard_size)
        elif overwrite or _may_replace(filepath):
            with replacing(filepath) as temporary:
                write(temporary)

    def load_weights(
        self,
        filepath: str | os.PathLike,
        skip_mismatch: bool = False,
        **kwargs: Any,
    ) -> None:
        """Loads the weights of a file, as `keras.Model.load_weights`.

        Raises:
            ValueError: If the file is not whole, no file of weights, or that of
                another model. Some layers may have other weights then.
        """
        is_known = is_local(filepath, (".weights.h5", ".keras"))
        with _errors_that_name(filepath if is_known else None):
            super().load_weights(filepath, skip_mismatch, **kwargs)


_NO_HDF5 = (
    "Expected a file `.keras`: the format HDF5 (`.h5`, `.hdf5`) has no place "
    "for a weighting, and `load_model` would refuse the file. For the weights "
    "alone, `save_weights` takes a file `.weights.h5`. Received: {received}"
)


def check_files(callbacks: Any) -> None:
    """Raises an error if a callback is to write what could not be loaded.

    It would be raised at the end of the first epoch otherwise.

    Args:
        callbacks: As of `fit`.
    """
    callbacks = getattr(callbacks, "callbacks", callbacks)
    for callback in keras.tree.flatten(callbacks):
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            if not callback.save_weights_only:
                _check_is_not_hdf5(callback.filepath)


def _check_is_not_hdf5(path):
    if str(path).endswith(HDF5):
        raise ValueError(_NO_HDF5.format(received=path))


@contextlib.contextmanager
def _errors_that_name(path):
    try:
        yield
    except Exception as error:
        # HDF5 raises all kinds of errors where bytes are not as they were.
        if path is None or isinstance(error, FileNotFoundError):
            raise
        raise BrokenFileError(
            f"Expected {os.fspath(path)} to be a whole file with the weights "
            f"of a model with the same layers. Received: {received(error)}"
        ) from error


def _may_replace(path):
    return not os.path.exists(path) or ask_to_overwrite(path)
