"""The arguments of `fit`: what is wrong with them, and those of some data."""

import types

import keras
import numpy as np

from keras_mtl.backend.keras_internals import can_convert_arrays
from keras_mtl.backend.keras_internals import get_data_adapter
from keras_mtl.backend.keras_internals import is_tf_dataset
from keras_mtl.backend.numerics import MAX_SEED
from keras_mtl.datasets.shuffled_batches import ShuffledBatches
from keras_mtl.training.paired_batches import PairedBatches
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.weighting import Weighting

# The arguments of `fit` in whose place a weighting may be given by position.
BEFORE_WEIGHTING = ("y", "batch_size", "epochs", "verbose", "callbacks")

# The argument of `fit` with the data whose batches are paired with those of
# the training.
PAIRED = "validation_for_weighting"

# A model that overrides one of them knows itself which labels it takes.
VALIDATING = ("test_step", "compute_loss", "evaluate")


def of_keras(names):
    """Returns the arguments of `fit` that go on to Keras.

    Args:
        names: What `locals()` has at the beginning of `fit`.
    """
    own = ("self", "weighting", PAIRED, "__class__")
    return {name: value for name, value in names.items() if name not in own}


def check_no_weighting(arguments):
    """Raises an error if a weighting is given as another argument.

    Args:
        arguments: Dict of the arguments of `fit`.

    Raises:
        ValueError: If one of them is a weighting, or a name.
    """
    for name in BEFORE_WEIGHTING:
        value = arguments[name]
        if name == "verbose" and value == "auto" or not is_weighting(value):
            continue
        raise ValueError(
            f"Expected a weighting by its keyword: `model.fit(x, y, "
            f"weighting={value!r})`. Received: {name}={value!r}"
        )


def check_no_weighting_in_compile(optimizer, loss, loss_weights, metrics):
    """Raises an error if a weighting is given as another argument.

    Raises:
        ValueError: If one of these arguments of `compile` is a weighting.
    """
    found = {}
    if _names_weighting(optimizer):
        found["optimizer"] = optimizer
    if _names_weighting(loss):
        found["loss"] = loss
    if is_weighting(loss_weights):
        found["loss_weights"] = loss_weights
    # A list may have the names of metrics.
    if is_weighting(metrics) and not isinstance(metrics, (list, tuple)):
        found["metrics"] = metrics
    for name, value in found.items():
        raise ValueError(
            "Expected a weighting by its keyword: `model.compile(optimizer, "
            f"loss, weighting={value!r})`. Received: {name}={value!r}"
        )


def _names_weighting(value):
    if isinstance(value, str):
        return WEIGHTINGS.knows(value)
    return isinstance(value, Weighting)


def is_weighting(value):
    """Whether a value is a name, a `Weighting` or a list of these."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_weighting, value))
    is_class = isinstance(value, type) and issubclass(value, Weighting)
    return is_class or isinstance(value, (str, Weighting))


def check_validation_data(model, data, argument="validation_data"):
    """Raises an error if labels of the validation data are missing.

    Arrays are looked at, the specification of a data set of TensorFlow, and
    the first batch of a `PyDataset`. Other data would have to be begun, which
    may change them.

    Args:
        model: `MultiTaskModel`.
        data: `validation_data` of `fit`.
        argument: Name of the argument of `fit`, for errors.

    Raises:
        ValueError: If a task has no labels in them, or some are of no output.
    """
    if data is None or any(map(model._overrides, VALIDATING)):
        return
    losses = model._task_losses
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(_spec_of(data))
    if not can_convert_arrays((x,)) and not is_tf_dataset(data):
        return
    try:
        losses.labels(y, "validation labels")
        losses.sample_weights(sample_weight)
    except ValueError as error:
        what = str(error).rstrip(".")
        labels = ", ".join(f'"{task}": ...' for task in losses.labelled_tasks)
        raise ValueError(
            f"{what}. Type `{argument}=(x, {{{labels}}})`."
        ) from None


def check_validation_data_of_task(task, data):
    """Raises an error if the validation data of one task have no labels.

    Args:
        task: Name of the task.
        data: Its data; arrays are looked at.

    Raises:
        ValueError: If they are arrays, and there are no labels.
    """
    x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
    if y is None and can_convert_arrays((x,)):
        raise ValueError(
            f"Expected validation labels for the task {task!r}: "
            f'`validation_data={{"{task}": (x, y), ...}}`. Received: {type(x)} '
            "alone"
        )


def _spec_of(data):
    """Returns what a batch looks like, arrays as they are."""
    if is_tf_dataset(data):
        return data.element_spec
    if isinstance(data, keras.utils.PyDataset) and data.num_batches != 0:
        return data[0]
    return data


def with_pairs(model, arguments, data):
    """Returns the arguments of `fit` whose data have batches of two kinds.

    Args:
        model: The model, whose weighting is set.
        arguments: Dict of the arguments of `fit`.
        data: `validation_for_weighting` of `fit`, or `None`.

    Raises:
        ValueError: If the weighting learns from no validation data, or there is
            a `validation_split`.
    """
    if data is None:
        return arguments
    if not model._needs_validation():
        raise ValueError(
            "Expected a weighting that learns from validation data, such as "
            '"auto_lambda", for `validation_for_weighting`. Received: '
            f"weighting={model.weighting}"
        )
    _check_is_labelled(data)
    if arguments["validation_split"]:
        raise ValueError(
            "Expected `validation_data` beside `validation_for_weighting`. "
            f"Received: validation_split={arguments['validation_split']}"
        )
    names = ["x", "y", "sample_weight", "batch_size", "steps_per_epoch"]
    names += ["shuffle", "class_weight"]
    adapter = get_data_adapter(**{name: arguments[name] for name in names})
    pairs = PairedBatches(
        adapter,
        data,
        arguments["batch_size"] or adapter.batch_size or 32,
        _seed_of_order(arguments["x"]),
        arguments["steps_per_epoch"] or adapter.num_batches,
        getattr(arguments["x"], "set_epoch", None),
    )
    none = dict.fromkeys(["y", "sample_weight", "class_weight"])
    return {**arguments, **none, "x": pairs}


def _check_is_labelled(data):
    """Raises a `ValueError` for what has no batches `(x, y)`."""
    if isinstance(data, (tuple, list)):
        is_known = len(data) in (2, 3) and can_convert_arrays(tuple(data))
        found = [type(part).__name__ for part in data]
    else:
        is_known = is_tf_dataset(data) or isinstance(
            data, (keras.utils.PyDataset, types.GeneratorType)
        )
        # A `DataLoader` has no shape, as arrays do.
        is_known |= hasattr(data, "__len__") and not (
            hasattr(data, "shape") or isinstance(data, (str, dict))
        )
        found = data if isinstance(data, (str, int, float)) else ""
    if not is_known:
        raise ValueError(
            "Expected data with labels: `validation_for_weighting=(x, y)` or "
            "`(x, y, sample_weight)` of arrays, or a data set of such batches. "
            f"Received: a {type(data).__name__} {found}"
        )


def _seed_of_order(data):
    """Returns a seed that is the same in a training that is resumed.

    Args:
        data: Training data, whose order may have a seed of its own.
    """
    if isinstance(data, ShuffledBatches):
        return data.seed
    return int(np.random.randint(MAX_SEED))


def in_own_order(arguments):
    """Returns the arguments of `fit` for `ShuffledBatches`.

    Args:
        arguments: Dict of the arguments of `fit`.

    Raises:
        ValueError: If `steps_per_epoch` cuts an epoch short.
    """
    if arguments.get("steps_per_epoch") is not None:
        raise ValueError(
            "Expected no `steps_per_epoch` with `ShuffledBatches`, each epoch "
            "of which goes through all examples. Received: steps_per_epoch="
            f"{arguments['steps_per_epoch']}"
        )
    return {**arguments, "shuffle": False}


def check_with_sampler(arguments):
    """Raises a `ValueError` for what a `TaskSampler` has itself.

    Args:
        arguments: Dict of the arguments of `fit`.
    """
    for name in ("y", "batch_size", "sample_weight", "class_weight"):
        if arguments.get(name) is not None:
            raise ValueError(
                "Expected a `TaskSampler` to have all training data, and "
                f"no `{name}`. Received: {name}={arguments[name]}"
            )
    if arguments.get("validation_split"):
        raise ValueError(
            "Expected `validation_data` with a `TaskSampler`. Received: "
            f"validation_split={arguments['validation_split']}"
        )
    if arguments.get(PAIRED) is not None:
        raise ValueError(
            f"Expected no `{PAIRED}` with a `TaskSampler`, each step of which "
            f"trains one task. Received: {PAIRED} of type "
            f"{type(arguments[PAIRED])}"
        )
