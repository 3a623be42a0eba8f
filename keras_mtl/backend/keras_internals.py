"""All that this package takes from Keras without its promise to stay.

No other module imports from `keras.src`, and versions of Keras are told apart
here alone. Each name says what it is needed for, and since which version of
Keras it is where it is taken from. What a new release asks for is on the page
"A new release of Keras" in CONTRIBUTING.md.

Classes of this package override private methods of Keras, whose names they have
to keep: the model `_flatten_metrics_in_order` and `_get_metrics_result_or_logs`
(since 3.0), TensorFlow's trainer `_maybe_symbolic_build` and `_make_function`
(since 3.4), PyTorch's `_initialize_ddp` (since 3.16), and `SavedState`
`_obj_type` (since 3.0).
"""

import keras
from keras.src.backend.common import global_state as _global_state
from keras.src.backend.common import stateless_scope as _stateless_scope
from keras.src.losses import loss as _loss
from keras.src.models import functional as _functional
from keras.src.ops import function as _function
from keras.src.saving import keras_saveable as _keras_saveable
from keras.src.saving import serialization_lib as _serialization_lib
from keras.src.trainers import compile_utils as _compile_utils
from keras.src.trainers import data_adapters as _data_adapters
from keras.src.trainers.data_adapters import array_data_adapter as _arrays
from keras.src.trainers.data_adapters import array_slicing as _array_slicing
from keras.src.trainers.data_adapters import data_adapter as _data_adapter
from keras.src.trainers.data_adapters import data_adapter_utils as _data_utils
from keras.src.utils import file_utils as _file_utils
from keras.src.utils import io_utils as _io_utils
from keras.src.utils import tracking as _tracking

# The class of a model that is made of inputs and outputs. `MultiTaskModel`
# derives from it, and a nested model is recognised by it. Since 3.0.
Functional = _functional.Functional

# What a Functional or Sequential model has its graph in. Since 3.0.
Function = _function.Function

# The adapter of data that come from elsewhere, step by step. Since 3.0.
DataAdapter = _data_adapter.DataAdapter

# The adapter that `fit` would take, for the batches of one task. Since 3.0.
get_data_adapter = _data_adapters.get_data_adapter
is_tf_dataset = _data_adapters.is_tf_dataset

# Arrays of every kind that `fit` takes, in slices. Since 3.4.
can_convert_arrays = _arrays.can_convert_arrays
convert_to_sliceable = _array_slicing.convert_to_sliceable
check_data_cardinality = _data_utils.check_data_cardinality

# What TensorFlow is told of the batches of a generator. Since 3.0.
get_tensor_spec = _data_utils.get_tensor_spec

# The metrics of `compile`, whose updates leave out missing labels. Since 3.0.
CompileMetrics = _compile_utils.CompileMetrics

# A loss, as `compile` resolves a name or a function. Since 3.0.
get_loss = _compile_utils.get_loss

# How a `Loss` and a `Metric` reduce values under masks and weights. Since 3.9.
apply_mask = _loss.apply_mask
reduce_weighted_values = _loss.reduce_weighted_values

# The factor 1 / replicas, which Keras gives losses under a strategy of
# TensorFlow. Since 3.4.
scale_loss_for_distribution = _loss.scale_loss_for_distribution
unscale_loss_for_distribution = _loss.unscale_loss_for_distribution

# The config of `compile`, to which `weighting` is added. Since 3.0.
SerializableDict = _serialization_lib.SerializableDict

# What is written into a model's file beside its layers. Since 3.0.
KerasSaveable = _keras_saveable.KerasSaveable

# A scope in which attributes are neither tracked nor wrapped. Since 3.0.
DotNotTrackScope = _tracking.DotNotTrackScope

# Whether a path is in the cloud, where no file can be replaced. Since 3.0.
is_remote_path = _file_utils.is_remote_path

# The prefix of the module of an optimizer's class on PyTorch, where Keras makes
# objects of classes of its own. Since 3.0.
TORCH_MODULES = "keras.src.backend.torch."

# The mask of a tensor, which a copy of it must have, too. Until 3.15 in
# `keras.src.backend`, since 3.16 in `keras.src.backend.common`.
_masking = keras.src.backend.common
if not hasattr(_masking, "get_keras_mask"):
    _masking = keras.src.backend
get_keras_mask = _masking.get_keras_mask
set_keras_mask = _masking.set_keras_mask

# Whether a step on PyTorch may take several batches, and a distributed model is
# wrapped. Since 3.16.
HAS_TORCH_DISTRIBUTION = hasattr(keras.Model, "_use_torch_compile")


def operation_call(operation, training):
    """Returns how a step of a Functional graph is called.

    Until 3.15, `Functional.call` hands on `training`. Since 3.16, a layer takes
    it from the call of the model around it, unless the graph says otherwise.
    """
    if hasattr(_functional, "operation_fn"):
        return _functional.operation_fn(operation, training=training)
    return operation


def call_in_step(model, x, training):
    """Calls a model as Keras's own training step does.

    Until 3.15, that of JAX calls `call` itself: then a layer which is called
    twice keeps only the last of the losses that it adds.
    """
    kwargs = {"training": training} if model._call_has_training_arg else {}
    is_jax = keras.backend.backend() == "jax"
    if is_jax and hasattr(_functional, "operation_fn"):
        return model.call(x, **kwargs)
    return model(x, **kwargs)


def raw_value(variable):
    """Returns what holds a variable's value, in any scope. Since 3.0."""
    return variable._value


class UndoneScope(keras.StatelessScope):
    """A scope that forgets what is assigned in it, and knows all variables.

    In Keras's own, regularizers find only the variables that it was given, on
    the backends that need no scope. Since 3.0.
    """

    def get_current_value(self, variable):
        value = super().get_current_value(variable)
        return raw_value(variable) if value is None else value


def made_as_weights(model):
    """Lists the variables that layers made as trainable ones.

    They are weights also where they are frozen. Since 3.0.
    """
    layers = model._flatten_layers()
    return [v for layer in layers for v in layer._trainable_variables]


def compute_output_spec(function, *args):
    """Traces a function of `KerasTensor`s, in which no state changes.

    On PyTorch it runs with gradients, which it may take itself. Since 3.0.
    """
    if keras.backend.backend() == "torch":
        import torch

        function = torch.enable_grad()(function)
    return keras.src.backend.compute_output_spec(function, *args)


def first_batch_of_epoch(iterator):
    """Returns the first batch of what `fit` goes through, or what it is like.

    Keras itself looks at it in this way, and begins anew. On TensorFlow, where
    a batch that was taken would be lost, the data tell. Since 3.0.
    """
    data = getattr(iterator, "_distributed_dataset", None)
    if data is not None:
        return data.element_spec
    _, _, data = next(iter(iterator))
    return data[0] if isinstance(data, (list, tuple)) else next(data)


def in_super_batches(iterator, size):
    """Stacks the batches that one call of a step on JAX takes. Since 3.16."""
    import jax

    return _data_utils.super_batch_iterator(
        iterator, size, stack_fn=jax.numpy.stack
    )


def stateless_scope():
    """Returns the `keras.StatelessScope` of this moment. Since 3.0."""
    return _stateless_scope.get_stateless_scope()


def print_message(text):
    """Prints a text where Keras prints its progress. Since 3.0."""
    _io_utils.print_msg(text, line_break=False)


def ask_to_overwrite(path):
    """Asks the user whether a file may be replaced. Since 3.0."""
    return _io_utils.ask_to_proceed_with_overwrite(path)


def make_tf_tensor_spec(spec):
    """Makes a `tf.TensorSpec` of what `export` takes. Since 3.9."""
    from keras.src.export import export_utils

    return export_utils.make_tf_tensor_spec(spec)


def has_several_workers(strategy):
    """Whether the logs of a step are means over several workers. Since 3.4."""
    from keras.src.backend.tensorflow import trainer

    return trainer._collective_all_reduce_multi_worker(strategy)


def torch_data_group():
    """Returns the processes of PyTorch that share a batch, `None` for all.

    They are those of a `keras.distribution.DataParallel`, if one is set, which
    Keras has on PyTorch since 3.16.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    mesh = distribution.device_mesh.backend_mesh
    return mesh.get_group(distribution.batch_dim_name)


def uses_torch_compile(model):
    """Whether `torch.compile` compiles a model's steps.

    The name of Keras's method is another one since 3.16.
    """
    if HAS_TORCH_DISTRIBUTION:
        return model._use_torch_compile()
    return model._should_torch_compile()


def sync_state(model):
    """Writes the values to a model's variables where `fit` has them on JAX.

    The name of Keras's method is another one since 3.16.
    """
    for name in ("state_sync", "jax_state_sync"):
        if hasattr(model, name):
            getattr(model, name)()
            return


def writes_hdf5_model() -> bool:
    """Whether a model is being written to, or read from, a file `.h5`.

    Since 3.0.
    """
    return bool(_global_state.get_global_attribute("use_legacy_config", False))
