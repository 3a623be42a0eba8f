"""The training steps of the three backends; nothing else knows a backend."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_mtl.backend.tensorflow import BackendTrainer
elif keras.backend.backend() == "jax":
    from keras_mtl.backend.jax import BackendTrainer
elif keras.backend.backend() == "torch":
    from keras_mtl.backend.torch import BackendTrainer
else:
    raise ImportError(
        "keras_mtl trains on the Keras backends tensorflow, jax and torch "
        "(the environment variable KERAS_BACKEND). "
        f"Received: {keras.backend.backend()!r}"
    )
