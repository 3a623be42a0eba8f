"""Every argument of every method is checked, or does no harm."""

import inspect
import math

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import GradNorm
from keras_mtl.weightings import IGBv2
from keras_mtl.weightings import SDMGrad
from keras_mtl.weightings import Tchebycheff
from keras_mtl.weightings import Weighting

pytestmark = pytest.mark.once

VALUES = [
    *(math.nan, math.inf, -1, 0, 2.5, True, "x", None),
    *([], [math.nan], {}, 10**400),
]
LOSSES = np.array([0.3, 2.0, 1.1], "float32")
ROWS = np.random.default_rng(0).normal(size=(3, 9)).astype("float32")


def arguments_of(cls):
    """The arguments of the constructor, with those of its base classes."""
    return sorted(
        {
            name
            for base in cls.__mro__
            if issubclass(base, Weighting)
            for name, p in inspect.signature(base.__init__).parameters.items()
            if p.kind is not p.VAR_KEYWORD
        }
        - {"self"}
    )


def weights_of(weighting):
    gramian = [ROWS @ ROWS.T] if weighting.needs_gradients else []
    return keras.ops.convert_to_numpy(weighting(LOSSES, *gramian))


def harm(cls, name, value):
    """Returns what is wrong, `None` if the value is refused or harmless."""
    try:
        weighting = cls(**{name: value})
        # Nothing here knows a backend: one that compiles no loops is enough.
        if keras.backend.backend() == "torch":
            if not np.all(np.isfinite(weights_of(weighting))):
                return f"{name}={value!r} gives weights that are not finite"
    except (ValueError, TypeError) as error:
        if name not in str(error) or "Received" not in str(error):
            return f"{name}={value!r} raises {error!r}"
    except Exception as error:
        return f"{name}={value!r} raises {error!r}"


@pytest.mark.parametrize("method", keras_mtl.weightings.names())
def test_arguments_are_checked(method):
    cls = type(keras_mtl.weightings.get(method))
    found = [
        harm(cls, name, value) for name in arguments_of(cls) for value in VALUES
    ]
    assert [line for line in found if line] == []


@pytest.mark.parametrize(
    "cls, arguments, message",
    [
        (SDMGrad, {"preference": [math.inf, 1]}, "`preference` to be a list"),
        (SDMGrad, {"preference": [1e308, 1e308]}, "`preference` to be a list"),
        (Tchebycheff, {"ideal": math.nan}, "Received: ideal=nan"),
        (Tchebycheff, {"ideal": [0.0, math.inf]}, "Received: ideal="),
        (IGBv2, {"update_every": 2.5}, "Received: update_every=2.5"),
        (IGBv2, {"hidden_units": ()}, r"Received: hidden_units=\(\)"),
        (IGBv2, {"hidden_units": (4, 0)}, r"Received: hidden_units=\(4, 0\)"),
        (
            GradNorm,
            {"gradients": "features", "shared": "last"},
            "Received: shared=last",
        ),
    ],
)
def test_arguments_that_once_slipped_through(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_numbers_of_numpy_are_kept_as_those_of_python():
    weighting = keras_mtl.weightings.NashMTL(
        max_norm=np.float32(2), update_every=np.int64(3), gramian_batch=1
    )
    config = weighting.get_config()
    assert type(config["max_norm"]) is float and config["max_norm"] == 2.0
    assert type(config["update_every"]) is int and config["update_every"] == 3
    values = keras_mtl.weightings.Constant(np.array([1, 2])).get_config()
    assert values["values"] == [1.0, 2.0]


def test_gradnorm_of_features_has_no_layer():
    features = GradNorm(gradients="features")
    assert features.measurement.shared == "auto"
    assert GradNorm().measurement.shared == "last"
    again = GradNorm.from_config(features.get_config())
    assert again.get_config() == features.get_config()


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["uncertainty", "imtl_l", "ldc_mtl", "gradnorm", "famo", "igb_v2"]
)
def test_a_learning_rate_may_be_a_whole_number(name):
    cls = type(keras_mtl.weightings.get(name))
    options = {"agent": "keras"} if name == "igb_v2" else {}
    weighting = cls(learning_rate=1, **options)
    gramian = [np.eye(2)] * weighting.needs_gradients
    assert np.all(np.isfinite(np.array(weighting(np.ones(2), *gramian))))
