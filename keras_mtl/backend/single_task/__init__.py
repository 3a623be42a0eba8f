"""The training step of one task, on each backend."""

import keras

if keras.backend.backend() == "jax":
    from keras_mtl.backend.single_task.jax import make_step_functions
    from keras_mtl.backend.single_task.jax import make_test_function
    from keras_mtl.backend.single_task.jax import make_train_function
elif keras.backend.backend() == "torch":
    from keras_mtl.backend.single_task.torch import make_step_functions
    from keras_mtl.backend.single_task.torch import make_test_function
    from keras_mtl.backend.single_task.torch import make_train_function
else:
    from keras_mtl.backend.single_task.tensorflow import make_step_functions
    from keras_mtl.backend.single_task.tensorflow import make_test_function
    from keras_mtl.backend.single_task.tensorflow import make_train_function
