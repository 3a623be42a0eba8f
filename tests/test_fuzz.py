"""Random arguments, data and files: each case works or says what is wrong.

The cases are the same in each run, and `HYPOTHESIS_PROFILE=long` has more of
them. `HYPOTHESIS_PROFILE=new` draws others each time.
"""

import inspect
import math
import os
import warnings

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from keras import layers

import keras_mtl
from keras_mtl import weightings
from keras_mtl.selection import SelectionLog
from tests import utils
from tests.compiled import compiled_call

hypothesis.settings.register_profile(
    "short",
    # JAX compiles each case for seconds, and TensorFlow traces it.
    max_examples={"jax": 6, "tensorflow": 8}.get(utils.BACKEND, 20),
    deadline=None,
    derandomize=True,
    database=None,
    # A case that fails is long to make smaller, and small as it is.
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(HealthCheck),
)
hypothesis.settings.register_profile(
    "long",
    hypothesis.settings.get_profile("short"),
    max_examples=200,
)
hypothesis.settings.register_profile(
    "new",
    hypothesis.settings.get_profile("long"),
    max_examples=int(os.environ.get("FUZZ_CASES", 200)),
    derandomize=False,
    print_blob=True,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
def negative_loss(y_true, y_pred):
    error = keras.ops.square(y_true - y_pred)
    return -keras.ops.mean(keras.ops.exp(-error), axis=-1)


REGRESSION = ["mse", "mae", "huber", "log_cosh", negative_loss]
LOSSES = [*REGRESSION, "binary_crossentropy", "sparse_categorical_crossentropy"]


# Weightings


def arguments_of(cls):
    """A strategy for some of the constructor's arguments, good and bad."""
    defaults = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, weightings.Weighting):
            parameters = inspect.signature(base.__init__).parameters.values()
            defaults.update({p.name: p.default for p in parameters})
    options = {
        "gradients": st.sampled_from(["parameters", "features"]),
        "shared": st.sampled_from(["auto", "last", ["trunk"], ["nowhere"]]),
        "update_every": st.sampled_from([1, 2, 3, 0]),
        "gramian_batch": st.sampled_from([1.0, 0.5, 0.01, 0.0]),
        "max_norm": st.sampled_from([None, 1.0, 1e-3, -1.0]),
        "window": st.sampled_from(["epoch", 1, 0]),
        "agent": st.just("keras"),
        "normalization": st.sampled_from(["none", "l2", "loss", "loss+", "no"]),
        "weighting": st.sampled_from(["mgda", "nash_mtl", "equal"]),
        "preference": st.sampled_from([None, [1.0, 2.0], [0.0, 1.0]]),
        "values": st.sampled_from([None, [1.0, 2.0], [0.0, 1.0, -1.0]]),
        "learning_rate": st.sampled_from([1e-3, 0.1, -1.0]),
    }
    for name, default in defaults.items():
        if name in options or name == "seed":
            continue
        if isinstance(default, bool):
            options[name] = st.booleans()
        elif isinstance(default, int):
            options[name] = st.sampled_from([default, default + 1, 0])
        elif isinstance(default, float):
            scales = [default, default / 2, 0.0, -1.0, math.nan]
            options[name] = st.sampled_from(scales)
    own = {k: v for k, v in options.items() if k in defaults}
    # Without a seed, a weighting draws one, which differs from run to run.
    seed = {"seed": st.integers(0, 9)} if "seed" in defaults else {}
    return st.fixed_dictionaries(seed, optional=own).map(
        lambda chosen: dict(list(chosen.items())[:4])
    )


# As fast as the others, and its agent acts in the second epoch.
IGB_V2 = {
    "agent": "keras",
    "base_epoch": 1,
    "update_epoch": 2,
    "use_epoch": 2,
    "update_every": 1,
    "updates": 2,
    "batch_size": 4,
    "buffer_size": 5,
    "hidden_units": (4,),
}


@st.composite
def configured(draw):
    name = draw(st.sampled_from(weightings.names()))
    cls = type(weightings.get(name))
    arguments = draw(arguments_of(cls))
    return cls, {**IGB_V2, **arguments} if name == "igb_v2" else arguments


def made(configured):
    """Returns the weighting, `None` if it says what is wrong."""
    cls, arguments = configured
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        assert "Received: " in str(error)
        return None


def well_configured():
    return configured().filter(lambda case: made(case) is not None)


def arrays(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def are_finite(values):
    return all(np.all(np.isfinite(value)) for value in values)


@hypothesis.given(well_configured())
@hypothesis.settings(max_examples=4 * hypothesis.settings().max_examples)
def test_configs(configured):
    weighting = made(configured)
    config = keras.saving.serialize_keras_object(weighting)
    copy = weightings.get(config)
    assert type(copy) is type(weighting)
    assert keras.saving.serialize_keras_object(copy) == config


GRAMIANS = {
    "of independent gradients": lambda rng, n: rng.normal(size=(n, n + 3)),
    "of one gradient": lambda rng, n: rng.normal(size=(n, 1)),
    "of equal gradients": lambda rng, n: np.ones((n, 2)),
    "of opposite gradients": lambda rng, n: (-1.0) ** np.arange(n)[:, None],
    "of none": lambda rng, n: np.zeros((n, 1)),
    "of some": lambda rng, n: (
        rng.normal(size=(n, 4)) * rng.integers(0, 2, size=(n, 1))
    ),
    "of very different ones": lambda rng, n: (
        rng.normal(size=(n, 4)) * 10.0 ** rng.integers(-8, 9, size=(n, 1))
    ),
}
SCALES = [1.0, 1e-16, 1e16, 1e-8, 1e8, 0.0]
POISONS = [None, None, np.nan, np.inf, -np.inf]


@st.composite
def seen(draw):
    """What a weighting sees in a step, but for the number of tasks."""
    return dict(
        seed=draw(st.integers(0, 2**16)),
        loss_scale=draw(st.sampled_from(SCALES)),
        sign=draw(st.sampled_from([1.0, 1.0, -1.0])),
        no_label=draw(st.booleans()),
        gramian=draw(st.sampled_from(list(GRAMIANS))),
        gramian_scale=draw(st.sampled_from(SCALES)),
        poison=draw(st.sampled_from(POISONS)),
        poisoned=draw(st.sampled_from(["losses", "gramian"])),
    )


def arguments_of_step(step, num_tasks):
    rng = np.random.default_rng(step["seed"])
    losses = step["sign"] * step["loss_scale"] * rng.uniform(size=num_tasks)
    if step["no_label"]:
        losses[rng.integers(num_tasks)] = 0.0
    jacobian = GRAMIANS[step["gramian"]](rng, num_tasks)
    jacobian = jacobian * np.sqrt(step["gramian_scale"])
    gramian = jacobian @ jacobian.T
    if step["poison"] is not None and step["poisoned"] == "losses":
        losses[-1] = step["poison"]
    elif step["poison"] is not None:
        gramian[0, -1] = gramian[-1, 0] = step["poison"]
    return losses.astype("float32"), gramian.astype("float32")


@hypothesis.given(
    well_configured(),
    st.sampled_from([1, 2, 3, 64]),
    st.lists(seen(), min_size=5, max_size=8),
)
def test_weightings(configured, num_tasks, steps):
    weighting = made(configured)
    try:
        weighting.build((num_tasks,))
    except ValueError as error:
        assert "Received: " in str(error)
        return
    call = compiled_call(weighting)
    if keras.backend.backend() == "tensorflow":
        # XLA takes longer to compile than it saves.
        call = weighting
    for step in steps:
        losses, gramian = arguments_of_step(step, num_tasks)
        known = [losses, gramian] if weighting.needs_gradients else [losses]
        before = arrays(weighting.variables)
        weights = np.asarray(call(*known))
        assert weights.shape == (num_tasks,)
        assert np.all(np.isfinite(weights)), (step, weights)
        state = arrays(weighting.variables)
        assert are_finite(state), step
        if not are_finite(known):
            for new, old in zip(state, before):
                np.testing.assert_array_equal(new, old)


# Files


def log_bytes(path):
    log = SelectionLog(["a", "b"])
    log.append(0, 0.5, 1.0, 2.0)
    log.append(1, 0.5, -1.0)
    log.save(path)
    return path.read_bytes()


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=8 * hypothesis.settings().max_examples)
def test_a_log_of_random_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed_log"
    whole = log_bytes(path)
    written = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.integers(0, len(whole) - 1).map(lambda n: whole[:n]),
            st.tuples(
                st.integers(0, len(whole) - 1), st.binary(min_size=1)
            ).map(lambda p: whole[: p[0]] + p[1] + whole[p[0] + len(p[1]) :]),
        )
    )
    path.write_bytes(written)
    try:
        log = SelectionLog.load(path)
    except ValueError as error:
        assert "Received: " in str(error)
    else:
        assert len(log) == len(log.rewards) == len(log.task_indices)
        assert are_finite([log.rewards, log.propensities])


# Training

OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
}


@st.composite
def training(draw):
    def one_of(*values):
        return draw(st.sampled_from(values))

    num_tasks = one_of(1, *[2] * 6, *[3] * 6, *[5] * 5, 16, 64)
    tasks = [f"task{i}" for i in range(num_tasks)]
    first_two = tasks[:2]
    some = {t: one_of(0.0, 1.0, 1e-6, 1e3) for t in first_two}
    return dict(
        seed=draw(st.integers(0, 2**16)),
        losses={t: one_of(*LOSSES) for t in tasks},
        weighting=one_of(
            draw(configured()),
            *[draw(well_configured())] * 4,
            ["igb_v1", "nash_mtl"],
            ["famo", "mgda"],
        ),
        loss_weights=one_of(
            *[None] * 4, some, some, {**some, "nowhere": 1.0}, [1.0, 0.0], 2.0
        ),
        metrics=one_of(
            None, {tasks[0]: "mae"}, {t: ["mae"] for t in first_two}
        ),
        optimizer=one_of(*OPTIMIZERS),
        optimizer_options=one_of(
            {},
            {"clipnorm": 1.0},
            {"global_clipnorm": 0.1},
            {"clipvalue": 0.5},
            {"gradient_accumulation_steps": 2},
        ),
        mode=one_of(*["eager"] * 9, list(utils.MODES)[-1]),
        policy=one_of("float32", "float32", "mixed_float16", "mixed_bfloat16"),
        num_samples=one_of(1, 2, 5, 7),
        batch_size=one_of(1, 2, 3, 4),
        structure=one_of(
            *["dict"] * 8, "list", "tuple", "reversed", "missing", "extra"
        ),
        dtype=one_of(*["float32"] * 5, "float64", "float16", "int32", "uint8"),
        width=one_of(*[1] * 14, 0, 2),
        sample_weight=one_of(
            *[None] * 5, "array", "dict", "partial", "zeros", "nowhere", "list"
        ),
        bad=one_of(
            *[None] * 4,
            *["missing"] * 3,
            "missing task",
            "infinite labels",
            "nan input",
            "infinite input",
        ),
    )


def build(case):
    tasks = case["losses"]
    keras.utils.set_random_seed(case["seed"])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(case["policy"])
    try:
        inputs = keras.Input((3,))
        x = layers.Dense(4, activation="relu", name="trunk")(inputs)
        x = layers.Dense(3, activation="tanh", name="top")(x)
        outputs = {}
        for task, loss in tasks.items():
            outputs[task] = layers.Dense(
                3 if loss == "sparse_categorical_crossentropy" else 1,
                activation={
                    "binary_crossentropy": "sigmoid",
                    "sparse_categorical_crossentropy": "softmax",
                }.get(loss),
                dtype="float32",
            )(x)
        return keras_mtl.MultiTaskModel(inputs, outputs)
    finally:
        keras.config.set_dtype_policy(policy)


def compile_options(case):
    optimizer = OPTIMIZERS[case["optimizer"]](1e-3, **case["optimizer_options"])
    if case["policy"] == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    names = ("loss_weights", "metrics")
    return {
        "optimizer": optimizer,
        "loss": case["losses"],
        **{name: case[name] for name in names},
        **utils.MODES[case["mode"]],
    }


def make_data(case):
    rng = np.random.default_rng(case["seed"])
    tasks, size = list(case["losses"]), case["num_samples"]
    x = rng.normal(size=(size, 3)).astype("float32")
    y = {}
    for task, loss in case["losses"].items():
        labels = rng.integers(0, 2, size=(size, case["width"]))
        if loss in REGRESSION:
            labels = rng.normal(size=(size, case["width"]))
        y[task] = labels.astype(case["dtype"])
    spoil(case["bad"], x, y, rng)
    structure = case["structure"]
    if structure in ("list", "tuple"):
        y = {"list": list, "tuple": tuple}[structure](y.values())
    elif structure == "reversed":
        y = dict(reversed(y.items()))
    elif structure == "missing":
        y.pop(tasks[-1])
    elif structure == "extra":
        y["nowhere"] = y[tasks[0]]
    ones = np.ones(size, "float32")
    sample_weight = {
        None: None,
        "array": rng.uniform(size=size).astype("float32"),
        "dict": {task: ones for task in tasks},
        "partial": {tasks[0]: ones, **dict.fromkeys(tasks[1:])},
        "zeros": {task: 0.0 * ones for task in tasks},
        "nowhere": {"nowhere": ones},
        "list": [ones for _ in tasks],
    }[case["sample_weight"]]
    return x, y, sample_weight


def spoil(bad, x, y, rng):
    first = next(iter(y.values()))
    if bad == "nan input":
        x[0, 0] = np.nan
    elif bad == "infinite input":
        x[0, 0] = np.inf
    elif first.dtype.kind != "f":
        return
    elif bad == "infinite labels":
        first[0] = np.inf
    elif bad == "missing task":
        first[:] = np.nan
    elif bad == "missing":
        for labels in y.values():
            labels[rng.integers(0, 2, size=labels.shape).astype(bool)] = np.nan


def is_of_plain_keras(error, case):
    """Whether a plain model raises the same, with the same arguments."""

    def beginning(error):
        # After it, messages name layers, arrays or places in the code.
        return type(error), str(error)[:40]

    # Plain Keras takes lists for outputs that are a list alone. Labels and
    # their weights in two structures it refuses whatever the outputs are.
    errors = [
        plain_error(case, is_list, converts)
        for is_list in (False, True)
        for converts in (True, False)
    ]
    return beginning(error) in map(beginning, errors)


def plain_error(case, is_list, converts):
    """Returns what a plain model raises, whose outputs are a list or a dict.

    `converts` says whether the data get the structure of the outputs.
    """
    tasks = list(case["losses"])
    model = build(case)
    # Keras lists the outputs in the order of their sorted names.
    outputs = dict(zip(sorted(tasks), model.outputs))
    outputs = {task: outputs[task] for task in tasks}
    model = keras.Model(
        model.inputs, list(outputs.values()) if is_list else outputs
    )

    def as_outputs(values):
        if not converts:
            return values
        if is_list and isinstance(values, dict):
            return [values[task] for task in tasks if task in values]
        if not is_list and isinstance(values, (list, tuple)):
            return dict(zip(tasks, values))
        return values

    options = compile_options(case)
    weights = options["loss_weights"]
    if isinstance(weights, dict) and set(weights) <= {*tasks}:
        # Plain Keras refuses a part of them, which count as 1 here.
        options["loss_weights"] = {**dict.fromkeys(tasks, 1.0), **weights}
    for name in ("loss", "loss_weights", "metrics"):
        if is_list and isinstance(options[name], dict):
            options[name] = [options[name].get(task) for task in tasks]
    x, y, sample_weight = make_data(case)
    try:
        model.compile(**options)
        model.fit(
            x,
            as_outputs(y),
            sample_weight=as_outputs(sample_weight),
            batch_size=case["batch_size"],
            epochs=2,
            verbose=0,
        )
    except Exception as error:
        return error
    return None


def trained(case):
    """Returns the model, its history and warnings, or `None` for an error."""
    try:
        model = build(case)
        weighting = case["weighting"]
        if isinstance(weighting, tuple):
            cls, arguments = weighting
            weighting = cls(**arguments)
        model.compile(**compile_options(case), weighting=weighting)
        x, y, sample_weight = make_data(case)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = model.fit(
                x,
                y,
                sample_weight=sample_weight,
                batch_size=case["batch_size"],
                epochs=2,
                verbose=0,
            )
    except Exception as error:
        is_ours = isinstance(error, (ValueError, TypeError))
        # PyTorch refuses probabilities of NaN, which such inputs lead to.
        is_nan = "between 0 and 1" in str(error) and case["bad"]
        if not (is_nan or is_ours and "Received: " in str(error)):
            if not is_of_plain_keras(error, case):
                raise
        return None
    return model, history.history, [str(w.message) for w in caught]


def check_saving(model, path):
    model.save(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = keras.saving.load_model(path)
    path.unlink()
    for new, old in zip(
        arrays([*loaded.weights, *loaded.weighting.variables]),
        arrays([*model.weights, *model.weighting.variables]),
    ):
        np.testing.assert_array_equal(new, old)


@pytest.mark.quick_on_torch
@hypothesis.given(training())
def test_training(tmp_path_factory, case):
    run = trained(case)
    if run is None:
        return
    model, history, messages = run
    parameters = arrays(model.weights)
    assert are_finite(arrays(model.weighting.variables))
    for task in case["losses"]:
        assert are_finite([history[f"weight/{task}"]])
    is_visible = not are_finite(history.values())
    losses = [history[f"{task}_loss"] for task in case["losses"]]
    if not are_finite(losses):
        assert any("was not finite" in message for message in messages)
    # The mean over labels of no column is NaN in plain Keras, too.
    if case["width"] and case["bad"] in (None, "missing", "missing task"):
        assert not is_visible, history
        assert are_finite(parameters)
    elif not are_finite(parameters):
        # What is accumulated may be applied in the last step of all, after
        # which there is no loss that would show it.
        accumulates = "gradient_accumulation_steps" in case["optimizer_options"]
        assert is_visible or accumulates
    folder = tmp_path_factory.getbasetemp() / "fuzzed_model"
    folder.mkdir(exist_ok=True)
    check_saving(model, folder / "model.keras")
