"""Variables that a step uses beside those of its layer, and code around."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.weightings import Sum
from tests import utils

RNG = np.random.default_rng(3)
TOKENS = RNG.integers(0, 7, (6, 3))
X = RNG.normal(size=(6, 5)).astype("float32")
ONES = np.ones((6, 1), "float32")
# On JAX, single operations take longer to compile than a step.
MODE = utils.COMPILED if utils.BACKEND == "jax" else utils.EAGER


class Scores(layers.Layer):
    """Compares with embeddings of a layer that it does not track."""

    def __init__(self, embedding):
        super().__init__()
        object.__setattr__(self, "held", {"embedding": [embedding]})

    def call(self, h):
        return score(h, self.held["embedding"][0].embeddings)

    def compute_output_shape(self, shape):
        return (shape[0], 7)


def score(h, embeddings):
    return ops.matmul(h, ops.transpose(embeddings))


def in_a_nested_model(h, embedding):
    z = keras.Input((4,))
    scores = ops.einsum("bd,vd->bv", z, embedding.embeddings)
    return keras.Model(z, scores)(h)


class Global:
    """What a module has, in place of a global variable."""


def of_a_global(h):
    return score(h, Global.held)


def by_a_global(h, embedding):
    # No search finds it, so that the first step has to see it.
    Global.held = embedding.embeddings
    return layers.Lambda(of_a_global, output_shape=(7,))(h)


TIED = {
    "argument": lambda h, e: ops.einsum("bd,vd->bv", h, e.embeddings),
    "nested": in_a_nested_model,
    "closure": lambda h, e: layers.Lambda(
        lambda z: score(z, e.embeddings), output_shape=(7,)
    )(h),
    "untracked": lambda h, e: Scores(e)(h),
    "global": by_a_global,
}


def tied(scores):
    """A language model whose embeddings are those of the output, too."""
    tokens = keras.Input((3,), dtype="int32")
    embedding = layers.Embedding(7, 4)
    h = ops.mean(embedding(tokens), axis=1)
    h = layers.Dense(4, activation="tanh")(h)
    outputs = {"a": layers.Dense(1)(h), "lm": TIED[scores](h, embedding)}
    return keras_mtl.MultiTaskModel(tokens, outputs)


def step_of(model, weighting, x, y, **mode):
    """Returns the step that a model takes with a learning rate of 1."""
    optimizer = keras.optimizers.SGD(1.0)
    model.compile(optimizer, "mse", weighting=weighting, **mode)
    before = utils.arrays(model.trainable_variables)
    if isinstance(weighting, keras_mtl.selection.TaskSampler):
        model.fit(weighting, verbose=0)
    else:
        model.train_on_batch(x, y)
    after = utils.arrays(model.trainable_variables)
    return [new - old for new, old in zip(after, before)]


def assert_sums_as_plain(make, x, y, mode=MODE):
    for gradients in ("parameters", "features"):
        steps = []
        for weighting in ("equal", Sum(gradients=gradients)):
            keras.utils.set_random_seed(1)
            steps.append(step_of(make(), weighting, x, y, **mode))
        for plain, balanced in zip(*steps):
            np.testing.assert_allclose(plain, balanced, 1e-5, 1e-6)
    return steps[0]


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("scores", TIED)
def test_a_head_uses_variables_of_the_trunk(scores):
    y = {"a": ONES, "lm": RNG.normal(size=(6, 7)).astype("float32")}
    assert_sums_as_plain(lambda: tied(scores), TOKENS, y)


@pytest.mark.skipif(utils.BACKEND != "tensorflow", reason="is as above")
@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_head_uses_variables_of_the_trunk_compiled(jit_compile):
    y = {"a": ONES, "lm": RNG.normal(size=(6, 7)).astype("float32")}
    mode = {"jit_compile": jit_compile}
    assert_sums_as_plain(lambda: tied("global"), TOKENS, y, mode)


def test_reads_are_seen_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tied("global")
    finally:
        keras.config.set_dtype_policy("float32")
    y = {"a": ONES, "lm": RNG.normal(size=(6, 7)).astype("float32")}
    step_of(model, "sum", TOKENS, y, **MODE)
    embeddings = model.layers[1].embeddings
    assert any(v is embeddings for v in model._split.cross_variables)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("scores", ["argument", "closure"])
def test_a_task_sampler_trains_the_variables_of_a_head(scores):
    y = RNG.normal(size=(6, 7)).astype("float32")
    steps = []
    for data in ("all", "one"):
        keras.utils.set_random_seed(1)
        model = tied(scores)
        model.compile(
            keras.optimizers.SGD(1.0),
            {"a": "mse", "lm": "mse"},
            loss_weights={"a": 0.0} if data == "all" else None,
            **MODE,
        )
        before = utils.arrays(model.trainable_variables)[:3]
        if data == "all":
            model.train_on_batch(TOKENS, {"a": ONES, "lm": y})
        else:
            sampler = keras_mtl.selection.TaskSampler(
                {"a": (TOKENS, ONES), "lm": (TOKENS, y)},
                policy=keras_mtl.selection.Fixed([0.0, 1.0]),
                batch_size=6,
                shuffle=False,
            )
            model.fit(sampler, steps_per_epoch=1, verbose=0)
        after = utils.arrays(model.trainable_variables)[:3]
        steps.append([new - old for new, old in zip(after, before)])
    for plain, selected in zip(*steps):
        np.testing.assert_allclose(plain, selected, 1e-5, 1e-6)


class Adapted(layers.Layer):
    """A frozen layer with a trainable one inside, as a backbone with LoRA."""

    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(4)

    def build(self, shape):
        self.inner.build(shape)
        self.inner.enable_lora(2)

    def call(self, x):
        return self.inner(x)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


def adapted():
    x = keras.Input((5,))
    layer = Adapted()
    h = layer(x)
    layer.trainable = False
    for variable in layer.variables:
        variable.trainable = "lora" in variable.name
    outputs = {task: layers.Dense(1)(h) for task in "ab"}
    return keras_mtl.MultiTaskModel(x, outputs)


@pytest.mark.quick_on_torch
def test_a_variable_is_trained_that_is_trainable_in_a_frozen_layer():
    y = {"a": ONES, "b": -ONES}
    step = assert_sums_as_plain(adapted, X, y)
    # The product of LoRA's factors is 0 at first, as is one's gradient.
    assert [bool(np.any(change)) for change in step] == [False] + 5 * [True]


class Around(keras_mtl.MultiTaskModel):
    """Has layers before and after its graph."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.before, self.after = layers.Dense(5), layers.Dense(1)
        self.before.build((None, 5))
        self.after.build((None, 1))

    def call(self, inputs, training=None, mask=None):
        inputs = self.before(inputs)
        outputs = super().call(inputs, training=training, mask=mask)
        return {**outputs, "b": self.after(outputs["b"])}


class Mixing(keras_mtl.MultiTaskModel):
    def call(self, inputs, training=None, mask=None):
        outputs = super().call(inputs, training=training, mask=mask)
        return {**outputs, "b": outputs["b"] * outputs["a"]}


class MixingLoss(keras_mtl.MultiTaskModel):
    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        y_pred = {**y_pred, "b": y_pred["b"] * y_pred["a"]}
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def with_a_skip(cls):
    x = keras.Input((5,))
    h = layers.Dense(4, activation="tanh")(x)
    late = layers.Concatenate()([h, x])
    return cls(x, {"a": layers.Dense(1)(h), "b": layers.Dense(1)(late)})


@pytest.mark.quick_on_torch
def test_layers_around_the_graph_are_trained():
    assert_sums_as_plain(
        lambda: with_a_skip(Around), X, {"a": ONES, "b": -ONES}
    )


@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize("cls", [Mixing, MixingLoss])
def test_code_that_mixes_tasks_is_refused(cls, gradients):
    model, y = with_a_skip(cls), {"a": ONES, "b": ONES}
    with pytest.raises(ValueError, match=r"of \['b'\] .*features of task 'a'"):
        step_of(model, Sum(gradients=gradients), X, y, **MODE)
    step_of(model, "equal", X, y, **MODE)


class Keeping(layers.Layer):
    """Keeps a tensor of the trunk, for a head that reads it there."""

    def call(self, x):
        self.kept = x
        return x


class Reading(layers.Layer):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return x * self.layer.kept

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape)


def test_a_tensor_that_goes_round_the_graph_is_refused():
    x = keras.Input((5,))
    keeping = Keeping()
    h = keeping(layers.Dense(4)(x))
    outputs = {
        "a": layers.Dense(1)(Reading(keeping)(h)),
        "b": layers.Dense(1)(h),
    }
    model = keras_mtl.MultiTaskModel(x, outputs)
    error = ValueError
    if utils.BACKEND == "jax":
        import jax

        error = jax.errors.UnexpectedTracerError
    with pytest.raises(error, match="dense|escaped|leak"):
        step_of(model, "sum", X, {"a": ONES, "b": ONES}, **MODE)
