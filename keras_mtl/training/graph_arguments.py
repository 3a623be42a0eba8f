"""What a `MultiTaskModel` is made from: inputs and outputs of a graph."""

import keras


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
            "`x = keras.Input(...)` and layers called on it. "
        )
    if isinstance(outputs, dict):
        return "Type `keras_mtl.MultiTaskModel(model.input, model.output)`. "
    names = ", ".join(
        f'"{name}": model.outputs[{i}]'
        for i, name in enumerate(model.output_names)
    )
    return f"Type `keras_mtl.MultiTaskModel(model.input, {{{names}}})`. "
