"""What a `MultiTaskModel` is made from: inputs and outputs of a graph."""

import keras

from keras_mtl.backend.keras_internals import Functional

# What a class of the user's own does with the graph, or in place of it.
BEHAVIOUR = (
    "call",
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
)


def check_is_graph(inputs, outputs):
    """Raises an error if a model cannot be made of `inputs` and `outputs`.

    Raises:
        ValueError: If they are not the tensors of a Functional graph. It says
            what to type where they are models, layers, or tensors of Keras 2.
    """
    leaves = keras.tree.flatten((inputs, outputs))
    if leaves and all(isinstance(x, keras.KerasTensor) for x in leaves):
        return
    raise ValueError(
        "MultiTaskModel is made from the inputs and outputs of a Functional "
        "graph: expected `MultiTaskModel(inputs, outputs)` with "
        f"`keras.Input`s and what layers made of them. "
        f"{_advice(inputs, outputs, leaves)}"
        f"Received: inputs={inputs}, outputs={outputs}"
    )


def _advice(inputs, outputs, leaves):
    for x in leaves:
        if _is_of_keras_2(x):
            return (
                f"A {type(x).__name__} of {type(x).__module__} is of Keras 2, "
                "which does not go with Keras 3: make the inputs and all "
                "layers with `import keras`, or with `tf.keras` where "
                "TF_USE_LEGACY_KERAS is not set. "
            )
    for x in (inputs, outputs):
        if isinstance(x, keras.Model):
            return _advice_on_model(x)
    for x in leaves:
        if isinstance(x, keras.Layer):
            return (
                f"The layer {x.name!r} was not called: an output is "
                "`layer(features)`. "
            )
    return ""


def _is_of_keras_2(x):
    """Whether it comes from Keras 2, which need not be imported for that."""
    module = type(x).__module__
    if module.split(".")[0] == "tf_keras":
        return True
    # Keras 2 itself, and the classes that TensorFlow had until 2.5.
    name = type(x).__name__
    is_own = isinstance(x, (keras.KerasTensor, keras.Layer))
    return name == "KerasTensor" and "keras" in module and not is_own


def _advice_on_model(model):
    try:
        inputs, outputs = model.input, model.output
    except (AttributeError, ValueError):
        inputs = None
    if inputs is None:
        return (
            f"The model {model.name!r} is not Functional: write it with "
            "`x = keras.Input(...)` and layers called on it, or derive its "
            "class from `keras_mtl.MultiLossModel`. "
        )
    if isinstance(outputs, dict):
        return "Type `keras_mtl.MultiTaskModel.from_model(model)`. "
    names = ", ".join(
        f'"{name}": model.outputs[{i}]'
        for i, name in enumerate(model.output_names)
    )
    return f"Type `keras_mtl.MultiTaskModel(model.input, {{{names}}})`. "


def graph_of(model, kind):
    """Returns the inputs and the outputs of an existing model.

    Args:
        model: Functional model.
        kind: Class that is made of the graph; what it does itself is no loss.

    Raises:
        ValueError: If the model has no graph with several outputs, or its class
            does what the graph does not show.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a Functional `keras.Model`. Type `keras_mtl."
            "MultiTaskModel.from_model(model)`. Received: "
            f"{model!r} of type {type(model)}"
        )
    if not isinstance(model, Functional):
        raise ValueError(
            "Expected a Functional model, whose graph has an output for each "
            f"task. Received: the {_kind_of(model)} {model.name!r}. "
            f"{_advice_without_graph(model)}"
        )
    own = [name for name in BEHAVIOUR if _is_own(model, name, kind)]
    if own:
        raise ValueError(
            "Expected a model that is no more than its graph, of which the "
            "new model is made. Received: a "
            f"{type(model).__name__}, whose class overrides {own}. Derive that "
            "class from `keras_mtl.MultiTaskModel` instead of `keras.Model`."
        )
    if len(model.outputs) < 2:
        raise ValueError(
            "Expected a model with two or more outputs, one for each task. "
            f"Received: {model.name!r} with the output "
            f"{list(model.output_names)}. Put a head for each task on it: "
            "`keras_mtl.MultiTaskModel(model.input, "
            '{"first": Dense(1)(model.output), "second": ...})`.'
        )
    return model.input, model.output


def _kind_of(model):
    if isinstance(model, keras.Sequential):
        return "Sequential model"
    return f"subclassed model {type(model).__name__}"


def _advice_without_graph(model):
    if isinstance(model, keras.Sequential):
        return (
            "It has one output: call it as a layer, `features = model(inputs)`,"
            " and put a head for each task on the features."
        )
    return (
        "Derive its class from `keras_mtl.MultiLossModel`, or write it with "
        "`x = keras.Input(...)` and layers called on it."
    )


def _is_own(model, name, kind):
    """Whether the class of a model has another method than Keras's or ours."""
    method = getattr(type(model), name)
    known = [getattr(cls, name) for cls in (Functional, kind)]
    return all(method is not other for other in known)
