"""Keras 2 for TF-Agents, beside Keras 3."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

import keras


@contextlib.contextmanager
def legacy_keras() -> Iterator[ModuleType]:
    """Makes `tf.keras` the Keras 2 that TF-Agents is written for.

    TF-Agents must be imported, and its networks made, inside of this context.
    What is called later has its classes already. Outside of it, `tf.keras` is
    what it was: `TF_USE_LEGACY_KERAS=1` alone would turn it into Keras 2 for
    everybody, or, after its first use, do nothing.

    Raises:
        ImportError: If TensorFlow or tf-keras is not installed.
    """
    import tensorflow as tf
    import tf_keras

    variable = "TF_USE_LEGACY_KERAS"
    environment = os.environ.get(variable)
    namespaces = [tf, tf.compat.v1, tf.compat.v2]
    # They are read from the modules' dicts, since `getattr` would import the
    # Keras that the variable asks for, and keep it.
    attributes = [vars(namespace)["keras"] for namespace in namespaces]
    modules = _pop_modules()
    try:
        os.environ[variable] = "1"
        for namespace in namespaces:
            namespace.keras = tf_keras
        # Without this, `from tensorflow.keras import layers` would find Keras 3
        # and make it `tf.keras`.
        sys.modules["tensorflow.keras"] = tf_keras
        yield tf
    finally:
        _pop_modules()
        sys.modules.update(modules)
        for namespace, attribute in zip(namespaces, attributes):
            namespace.keras = attribute
        if environment is None:
            del os.environ[variable]
        else:
            os.environ[variable] = environment


def _pop_modules():
    names = [
        name
        for name in sys.modules
        if f"{name}.".startswith("tensorflow.keras.")
    ]
    return {name: sys.modules.pop(name) for name in names}


def import_tf_agents() -> tuple[ModuleType, ModuleType]:
    """Imports TF-Agents, and returns the modules TensorFlow and TF-Agents.

    Raises:
        ImportError: If the backend is not TensorFlow, if TF-Agents is not
            installed, or if it was imported with Keras 3.
    """
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "The TF-Agents agent needs the TensorFlow backend of Keras. "
            f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
        )
    try:
        # Gym, which TF-Agents imports, prints that nobody maintains it.
        with (
            legacy_keras() as tf,
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            import tf_agents
    except ImportError as error:
        raise ImportError(
            "The TF-Agents agent needs tf-agents and tf-keras, and Python "
            "before 3.12. Type: pip install tf-agents tf-keras tensorboard. "
            f'The agent "keras" needs none of these. Received: {error}'
        ) from error
    network = tf_agents.networks.Network
    if network.__mro__[1].__module__.split(".")[0] != "tf_keras":
        raise ImportError(
            "TF-Agents was imported with Keras 3 before. Import it after "
            "`keras_mtl.agents.get`, or set TF_USE_LEGACY_KERAS=1 before "
            "TensorFlow is imported. Received: "
            f"tf_agents.networks.Network with the base {network.__mro__[1]}"
        )
    return tf, tf_agents
