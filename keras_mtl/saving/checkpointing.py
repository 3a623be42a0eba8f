import contextlib
import functools
import os
from typing import Any

from keras_mtl.backend.files import BrokenFileError
from keras_mtl.backend.files import is_local
from keras_mtl.backend.files import received
from keras_mtl.backend.files import replacing
from keras_mtl.backend.keras_internals import ask_to_overwrite


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
        """
        write = functools.partial(super().save, zipped=zipped, **kwargs)
        if zipped is False or not is_local(filepath, ".keras"):
            write(filepath, overwrite=overwrite)
        elif overwrite or _may_replace(filepath):
            with replacing(filepath) as temporary:
                write(temporary)

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
