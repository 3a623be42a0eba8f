"""What `MultiTaskModel.export` adds to that of Keras."""

import contextlib
import importlib.util

import keras

from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.backend.keras_internals import Functional
from keras_mtl.backend.keras_internals import make_tf_tensor_spec


def export(model, filepath, format, preprocessor, **kwargs):
    """Exports the network of a model, see `MultiTaskModel.export`."""
    network = network_of(model)
    # Keras refuses to write ONNX of a model that was never called.
    network._called = True
    if preprocessor is not None:
        check_serves_preprocessor(format)
        export_with_preprocessor(network, filepath, preprocessor, **kwargs)
        return
    if format != "onnx":
        with explained(format):
            network.export(filepath, format, **kwargs)
        return
    check_onnx_packages()
    check_onnx_names(model.inputs, model.output_keys)
    network.export(filepath, format, **kwargs)
    name_onnx_outputs(filepath, model.output_keys)


def network_of(model):
    """Returns a Functional model of the network alone, without a weighting.

    Where a subclass overrides `call`, the network calls it.
    """
    if not model._overrides("call"):
        return Functional(model.input, model.output, name=model.name)
    return Network(model)


class Network(Functional):
    """The network of a model whose class overrides `call`.

    Args:
        model: `MultiTaskModel`.
    """

    def __init__(self, model):
        super().__init__(model.input, model.output, name=model.name)
        with DotNotTrackScope():
            self._of_model = [model]
        # What `call` uses around the graph is a part of the network, too. As
        # attributes, layers are modules of PyTorch.
        known = set(map(id, [*self._flatten_layers(), model.weighting]))
        around = [layer for layer in model._layers if id(layer) not in known]
        for i, layer in enumerate(around):
            setattr(self, f"around_{i}", layer)
        own = model._trainable_variables + model._non_trainable_variables
        for variable in own:
            self._track_variable(variable)

    def call(self, inputs, training=None, mask=None):
        (model,) = self._of_model
        given = {"training": training, "mask": mask}
        known = model.call_signature_parameters
        return model.call(inputs, **{k: given[k] for k in given if k in known})


@contextlib.contextmanager
def explained(format):
    """A block whose error says what to do where there is no SavedModel."""
    try:
        yield
    except Exception as error:
        if format != "tf_saved_model" or keras.backend.backend() != "torch":
            raise
        raise ValueError(
            "Expected the TensorFlow or JAX backend for a SavedModel. "
            "Received: format='tf_saved_model' on PyTorch. Export "
            '`format="onnx"` or `format="torch"` instead, or `model.save("m.'
            'keras")` and, in a process with KERAS_BACKEND=tensorflow, '
            '`keras.models.load_model("m.keras").export(...)`.'
        ) from error


def check_onnx_packages():
    """Raises an error that says what to install for ONNX."""
    by_backend = {
        "tensorflow": ["onnx", "tf2onnx"],
        "jax": ["onnx", "jax2onnx"],
        "torch": ["onnx"],
    }
    needed = by_backend[keras.backend.backend()]
    missing = [x for x in needed if importlib.util.find_spec(x) is None]
    if missing:
        raise ImportError(
            f'Expected the packages {needed} for format="onnx" on '
            f"{keras.backend.backend()}. Received: an environment without "
            f"{missing}. Type `pip install {' '.join(missing)}`."
        )


def check_serves_preprocessor(format):
    """Raises an error where there is no SavedModel for a preprocessor."""
    backend = keras.backend.backend()
    if format != "tf_saved_model" or backend not in ("tensorflow", "jax"):
        raise ValueError(
            "A `preprocessor` is exported in a SavedModel, on the TensorFlow "
            f"and JAX backends. Received: format={format!r} on {backend}"
        )


def check_onnx_names(inputs, outputs):
    """Raises an error where inputs and outputs share a name."""
    shared = sorted({x.name for x in inputs} & set(outputs))
    if shared:
        raise ValueError(
            "Expected the inputs and outputs of an ONNX file to have different "
            f"names. Received: {shared} for both"
        )


def name_onnx_outputs(filepath, names):
    """Names the outputs of an ONNX file, which Keras names on TensorFlow only.

    Args:
        filepath: Path of the file.
        names: List with one name for each output.
    """
    import onnx

    # Large weights stay in the files that lie beside it.
    model = onnx.load(filepath, load_external_data=False)
    for output, name in zip(model.graph.output, names):
        if output.name != name:
            model.graph.node.append(
                onnx.helper.make_node("Identity", [output.name], [name])
            )
            output.name = name
    onnx.save(model, filepath)


def export_with_preprocessor(
    network, filepath, preprocessor, verbose=None, input_signature=None
):
    """Writes a SavedModel of a preprocessor and a network.

    Its endpoint `serve`, which is also the default signature, takes what the
    preprocessor takes; `network` takes what the preprocessor returns.

    Args:
        network: Functional model.
        filepath: Path of the folder.
        preprocessor: Function of tensors of TensorFlow that returns the inputs
            of the network, such as a preprocessor of KerasHub.
        verbose: Whether to print the endpoints.
        input_signature: List of the specifications of its arguments, as of
            `keras.Model.export`. By default a batch of strings.
    """
    import tensorflow as tf

    if input_signature is None:
        input_signature = [tf.TensorSpec((None,), tf.string, name="inputs")]
    input_signature = keras.tree.map_structure(
        make_tf_tensor_spec, input_signature
    )
    structure = network._inputs_struct

    def preprocess(*args):
        return _as_inputs(preprocessor(*args), structure)

    # Lengths that the network leaves open are those of the preprocessor.
    returned = tf.function(
        preprocess, input_signature, autograph=False
    ).get_concrete_function()
    archive = keras.export.ExportArchive()
    call_network = archive.track_and_add_endpoint(
        "network",
        network,
        [
            keras.tree.map_structure(
                _spec, structure, returned.structured_outputs
            )
        ],
    )

    def serve(*args):
        return call_network(preprocess(*args))

    serve = tf.function(serve, input_signature, autograph=False)
    serve.get_concrete_function()
    for resource in _resources(preprocessor):
        archive.track(resource)
    for name in ("serve", "serving_default"):
        archive.add_endpoint(name, serve)
    archive.write_out(filepath, verbose=verbose is not False)


def _as_inputs(values, structure):
    """Returns the preprocessor's outputs in structure and types of inputs."""
    import tensorflow as tf

    if isinstance(structure, dict):
        # KerasHub takes a pair for a batch and its labels, and returns both.
        if not isinstance(values, dict) or not set(structure) <= set(values):
            raise ValueError(
                "Expected the `preprocessor` to return a dict of all inputs of "
                f"the network, {list(structure)}. Received: {values}"
            )
        values = {name: values[name] for name in structure}
    return keras.tree.map_structure(
        lambda spec, value: tf.cast(value, spec.dtype), structure, values
    )


def _spec(spec, value):
    return keras.InputSpec(
        shape=tuple(value.shape), dtype=spec.dtype, name=spec.name
    )


def _resources(preprocessor):
    """Lists the tables and other resources of TensorFlow that layers hold."""
    import tensorflow as tf

    if not isinstance(preprocessor, keras.Layer):
        return []
    return [
        value
        for layer in preprocessor._flatten_layers()
        for value in vars(layer).values()
        if isinstance(value, tf.__internal__.tracking.Trackable)
        and not isinstance(value, keras.Layer)
    ]
