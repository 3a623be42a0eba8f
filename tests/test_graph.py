"""The split of the graph, checked against a gradient per task of the model."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl.training.graph import GraphSplit
from tests import utils

RNG = np.random.default_rng(7)
BATCH, WIDTH = 6, 4
X = RNG.normal(size=(BATCH, WIDTH)).astype("float32")
TOKENS = np.array(
    [[1, 2, 3, 0], [4, 1, 0, 0], [2, 2, 0, 0], [3, 0, 0, 0], [1, 3, 4, 2]]
    + [[2, 1, 0, 0]]
)


def dense(units=WIDTH, name=None, **kwargs):
    return layers.Dense(units, activation="tanh", name=name, **kwargs)


def vector():
    return keras.Input((WIDTH,))


def plain_graph():
    x = vector()
    h = dense()(dense()(x))
    return x, {"b": dense(2)(h), "a": dense(1)(h), "c": dense(3)(h)}


def nested_with_one_output():
    z = vector()
    encoder = keras.Model(z, dense()(dense()(z)))
    x = vector()
    h = encoder(x)
    return x, {"a": dense(1)(h), "b": dense(2)(h)}


def _pyramid():
    z = vector()
    fine = dense()(z)
    coarse = dense(3)(fine)
    return keras.Model(z, {"coarse": coarse, "fine": fine})


def nested_with_two_outputs():
    x = vector()
    levels = _pyramid()(x)
    a = dense(1)(levels["fine"])
    b = dense(2)(layers.Concatenate()([levels["fine"], levels["coarse"]]))
    return x, {"a": a, "b": b, "c": dense(1)(levels["coarse"])}


def nested_with_a_head_inside():
    z = vector()
    h = dense()(z)
    inner = keras.Model(z, [dense(2)(h), h])
    x = vector()
    b, h = inner(dense()(x))
    return x, {"a": dense(1)(h), "b": b}


def nested_in_nested():
    z = vector()
    levels = _pyramid()(dense()(z))
    inner = keras.Model(z, [levels["fine"], levels["coarse"], dense(2)(z)])
    x = vector()
    fine, coarse, other = inner(x)
    return x, {"a": dense(1)(fine), "b": dense(2)(coarse), "c": other}


def nested_called_twice():
    pyramid = _pyramid()
    x, x2 = vector(), vector()
    one, two = pyramid(x), pyramid(x2)
    a = dense(1)(layers.Subtract()([one["fine"], two["fine"]]))
    b = dense(1)(layers.Concatenate()([one["coarse"], two["coarse"]]))
    return [x, x2], {"a": a, "b": b, "c": dense(1)(two["coarse"])}


def nested_called_in_two_heads():
    pyramid = _pyramid()
    x = vector()
    h = dense()(x)
    one, two = pyramid(dense()(h)), pyramid(h)
    return x, {"a": dense(1)(one["coarse"]), "b": dense(1)(two["fine"])}


def sequential():
    x = vector()
    h = keras.Sequential([dense(), layers.Rescaling(0.5), dense()])(x)
    head = keras.Sequential([dense(3), dense(1)])
    return x, {"a": head(h), "b": dense(1)(h)}


def layer_used_several_times():
    x = vector()
    layer = dense()
    h = layer(layer(dense()(layer(x))))
    return x, {"a": dense(1)(h), "b": dense(2)(h)}


def layer_of_several_heads():
    x = vector()
    h = dense()(x)
    of_heads = dense(3)
    c = dense(1)(h)
    return x, {
        "a": dense(1)(of_heads(h)),
        "b": dense(1)(of_heads(dense()(h))),
        "c": c,
    }


def only_a_layer_of_heads():
    x, x2 = vector(), vector()
    encoder = dense()
    return [x, x2], {"a": dense(1)(encoder(x)), "b": dense(1)(encoder(x2))}


def layer_of_trunk_and_head():
    x = vector()
    layer = dense()
    h = layer(x)
    return x, {"a": dense(1)(layer(dense()(h))), "b": dense(1)(h)}


def several_inputs():
    x = {"one": keras.Input((WIDTH,), name="one")}
    x["two"] = keras.Input((WIDTH,), name="two")
    h = layers.Concatenate()([dense()(x["one"]), dense(2)(x["two"])])
    a = layers.Concatenate()([h, x["two"]])
    return x, {"a": dense(1)(a), "b": dense(1)(dense()(h))}


def several_boundaries():
    x = vector()
    h1 = dense()(x)
    h2 = dense(3)(h1)
    h3 = dense(2)(h2)
    every = layers.Concatenate()
    return x, {
        "a": dense(1)(every([h1, h3])),
        "b": dense(1)(every([h1, h2, h3])),
        "c": dense(1)(h2),
    }


def head_at_an_earlier_layer():
    x = vector()
    h = dense()(x)
    late = dense()(dense()(h))
    return x, {"a": dense(1)(late), "b": dense(2)(late), "c": dense(1)(h)}


def block_of_some_tasks():
    x = vector()
    h = dense()(x)
    ab, cd = dense(3)(h), dense(2)(h)
    return x, {
        "a": dense(1)(ab),
        "c": dense(1)(cd),
        "b": dense(1)(ab),
        "d": dense(1)(cd),
    }


def tasks_that_share_nothing_with_another():
    x = vector()
    h = dense()(x)
    return x, {"a": dense(1)(h), "b": dense(1)(h), "c": dense(1)(dense()(x))}


def output_that_is_an_input_of_another_head():
    x = vector()
    a = dense(2)(dense()(x))
    return x, {"a": a, "b": dense(1)(a), "c": dense(1)(dense()(a))}


def one_tensor_of_two_tasks():
    x = vector()
    a = dense(1)(dense()(x))
    return x, {"a": a, "b": a}


def untrained_outputs():
    x = vector()
    h = dense()(x)
    a = dense(1)(h)
    return x, {
        "a": a,
        "b": dense(2)(h),
        "features": h,
        "later": dense(1)(layers.Concatenate()([a, dense()(h)])),
    }


def operations():
    x = vector()
    h = ops.tanh(dense()(x) * 2.0 + x)
    left, right = ops.split(h, 2, axis=1)
    a = dense(1)(left)
    return x, {"a": a, "b": dense(1)(right * left), "c": ops.sum(h, axis=1)}


def integer_boundary():
    x = vector()
    h = dense()(x)
    place = ops.argmax(h, axis=-1)
    embedded = layers.Embedding(WIDTH, 3)(place)
    b = layers.Embedding(WIDTH, 2)(place)
    a = dense(1)(layers.Concatenate()([embedded, h]))
    return x, {"a": a, "b": dense(1)(layers.Concatenate()([b, h]))}


def attention():
    x = keras.Input((3, WIDTH))
    attended = layers.MultiHeadAttention(2, 3)(x, x)
    h = layers.LayerNormalization()(layers.Add()([x, attended]))
    pooled = layers.GlobalAveragePooling1D()(h)
    return x, {"a": dense(1)(h), "b": dense(2)(pooled)}


def convolutions():
    x = keras.Input((4, 4, 2))
    h = layers.Conv2D(3, 3, padding="same", activation="tanh")(x)
    h = layers.BatchNormalization()(h)
    a = layers.Conv2D(1, 1)(h)
    return x, {"a": a, "b": dense(2)(layers.GlobalAveragePooling2D()(h))}


def recurrent_with_a_mask():
    x = keras.Input((4,), dtype="int32")
    h = layers.Embedding(5, WIDTH, mask_zero=True)(x)
    h = layers.LSTM(WIDTH, return_sequences=True)(h)
    b = layers.LSTM(3)(h)
    return x, {"a": layers.Dense(2)(h), "b": dense(1)(b)}


def frozen_layers():
    x = vector()
    h = dense()(dense(trainable=False)(x))
    h = dense(trainable=False)(h)
    return x, {"a": dense(1)(h), "b": dense(1)(dense(trainable=False)(h))}


def frozen_beginning():
    x = vector()
    h = dense(trainable=False)(x)
    late = dense()(h)
    return x, {"a": dense(1)(late), "b": dense(1)(late), "c": dense(1)(h)}


GRAPHS = [
    plain_graph,
    nested_with_one_output,
    nested_with_two_outputs,
    nested_with_a_head_inside,
    nested_in_nested,
    nested_called_twice,
    nested_called_in_two_heads,
    sequential,
    layer_used_several_times,
    layer_of_several_heads,
    only_a_layer_of_heads,
    layer_of_trunk_and_head,
    several_inputs,
    several_boundaries,
    head_at_an_earlier_layer,
    block_of_some_tasks,
    tasks_that_share_nothing_with_another,
    output_that_is_an_input_of_another_head,
    one_tensor_of_two_tasks,
    untrained_outputs,
    operations,
    integer_boundary,
    attention,
    convolutions,
    recurrent_with_a_mask,
    frozen_layers,
    frozen_beginning,
]


def data_for(model, tasks):
    def sample(tensor):
        if tensor.dtype == "int32":
            return TOKENS
        return RNG.normal(size=(BATCH, *tensor.shape[1:])).astype("float32")

    x = keras.tree.map_structure(sample, model.input)
    return x, {task: sample(model.output[task]) for task in tasks}


def build(graph):
    inputs, outputs = graph()
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    tasks = [t for t in outputs if t not in ("features", "later")]
    return model, tasks


def compile_with(model, tasks, weighting):
    model.compile(
        keras.optimizers.SGD(1.0),
        loss={t: "mse" if t in tasks else None for t in model.output},
        weighting=weighting,
        run_eagerly=True,
    )


def expected_direction(model, rows, shared, weights, heads):
    direction = []
    for i, v in enumerate(model.trainable_variables):
        factors = weights if id(v) in shared else heads
        parts = [
            factors[j] * row[i]
            for j, row in enumerate(rows.values())
            if row[i] is not None
        ]
        direction.append(sum(parts) if parts else np.zeros(v.shape))
    return direction


def trained_direction(model, x, y):
    """The step that the model takes with a learning rate of 1."""
    before = utils.arrays(model.trainable_variables)
    model.train_on_batch(x, {**dict.fromkeys(model.output), **y})
    after = utils.arrays(model.trainable_variables)
    return [b - a for b, a in zip(before, after)]


def assert_all_close(values, expected, tolerance=1e-5):
    assert len(values) == len(expected)
    for value, target in zip(values, expected):
        np.testing.assert_allclose(value, target, tolerance, tolerance)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
def test_gradients_are_those_of_each_task(graph):
    model, tasks = build(graph)
    x, y = data_for(model, tasks)
    mse = keras.losses.MeanSquaredError()
    rows = utils.task_gradients(model, x, y, dict.fromkeys(tasks, mse))
    variables = model.trainable_variables
    shared = [
        i
        for i in range(len(variables))
        if sum(rows[t][i] is not None and rows[t][i].any() for t in tasks) > 1
    ]
    shared_ids = {id(variables[i]) for i in shared}
    weights = np.linspace(0.5, 2.0, len(tasks)).tolist()
    options = [{}, {"gradients": "features", "weigh_heads": True}]
    if graph is only_a_layer_of_heads:
        options.pop()
    for option in options:
        weighting = utils.FixedWeights(weights, **option)
        compile_with(model, tasks, weighting)
        heads = weights if option.get("weigh_heads") else [1.0] * len(tasks)
        expected = expected_direction(model, rows, shared_ids, weights, heads)
        start = utils.arrays(variables)
        assert_all_close(trained_direction(model, x, y), expected)
        for v, value in zip(variables, start):
            v.assign(value)
        if option.get("gradients") != "features":
            values = [variables[i] for i in shared]
            jacobian = np.stack(
                [
                    utils.stacked([rows[t][i] for i in shared], values)
                    for t in tasks
                ]
            )
            np.testing.assert_allclose(
                jacobian @ jacobian.T, weighting.gramian, 1e-4, 1e-6
            )


class Probe(layers.Layer):
    """Adds a variable to the batch, whose gradient is that of its input."""

    def build(self, input_shape):
        shape = (BATCH, *input_shape[1:])
        self.offset = self.add_weight(shape=shape, initializer="zeros")

    def call(self, x):
        return x + self.offset

    def compute_output_shape(self, input_shape):
        return input_shape


def probed_graph():
    x = vector()
    h1 = dense(name="first")(x)
    h2 = dense(3, name="second")(h1)
    p1, p2 = Probe(name="p1")(h1), Probe(name="p2")(h2)
    b = dense(2)(layers.Concatenate()([p1, p2]))
    return x, {"a": dense(1)(p1), "b": b, "c": dense(1)(p2)}


def gramian_of(model, rows, names):
    variables = model.trainable_variables
    chosen = [
        i for i, v in enumerate(variables) if v.path.split("/")[0] in names
    ]
    values = [variables[i] for i in chosen]
    jacobian = np.stack(
        [utils.stacked([row[i] for i in chosen], values) for row in rows]
    )
    return jacobian @ jacobian.T


@pytest.mark.parametrize(
    "options, names",
    [
        ({"gradients": "features"}, ["p1", "p2"]),
        ({"shared": ["second"]}, ["second"]),
        ({"shared": ["first", "p1"]}, ["first", "p1"]),
        ({"shared": "p1"}, ["p1"]),
    ],
    ids=str,
)
def test_gradients_are_compared_where_the_user_says(options, names):
    model, tasks = build(probed_graph)
    x, y = data_for(model, tasks)
    mse = keras.losses.MeanSquaredError()
    rows = utils.task_gradients(model, x, y, dict.fromkeys(tasks, mse))
    weights = [0.5, 1.0, 2.0]
    if "first" in options.get("shared", []):
        options = {"shared": [model.get_layer(name) for name in names]}
    weighting = utils.FixedWeights(weights, **options)
    compile_with(model, tasks, weighting)
    expected = expected_direction(
        model,
        rows,
        {
            id(v)
            for name in ("first", "second", "p1", "p2")
            for v in model.get_layer(name).variables
        },
        weights,
        [1.0] * 3,
    )
    assert_all_close(trained_direction(model, x, y), expected)
    np.testing.assert_allclose(
        weighting.gramian, gramian_of(model, rows.values(), names), 1e-4, 1e-6
    )


class SquaredNorms(keras_mtl.weightings.GradientWeighting):
    def compute_weights(self, losses, gramian):
        return ops.diag(gramian)


def test_update_every_keeps_weights():
    model, tasks = build(plain_graph)
    x, y = data_for(model, tasks)
    compile_with(model, tasks, SquaredNorms(update_every=3))
    mse = keras.losses.MeanSquaredError()
    for step in range(4):
        if step in (0, 3):
            rows = utils.task_gradients(model, x, y, dict.fromkeys(tasks, mse))
            names = [layer.name for layer in model.layers[1:3]]
            expected = np.diag(gramian_of(model, rows.values(), names))
        model.train_on_batch(x, y)
        weights = np.array(model.weighting.task_weights)
        np.testing.assert_allclose(weights, expected, 1e-4)


def test_max_norm_clips_the_direction_on_the_shared_variables():
    model, tasks = build(plain_graph)
    x, y = data_for(model, tasks)
    mse = keras.losses.MeanSquaredError()
    rows = utils.task_gradients(model, x, y, dict.fromkeys(tasks, mse))
    weighting = utils.FixedWeights([5.0, 10.0, 20.0], max_norm=0.5)
    compile_with(model, tasks, weighting)
    direction = trained_direction(model, x, y)
    shared = np.concatenate([step.ravel() for step in direction[:4]])
    np.testing.assert_allclose(np.linalg.norm(shared), 0.5, 1e-5)
    expected = sum(
        w * utils.stacked(rows[t][:4], model.trainable_variables[:4])
        for w, t in zip([5.0, 10.0, 20.0], tasks)
    )
    cosine = shared @ expected / np.linalg.norm(shared)
    np.testing.assert_allclose(cosine, np.linalg.norm(expected), 1e-5)
    assert_all_close(
        direction[4:],
        [
            sum(r[i] for r in rows.values() if r[i] is not None)
            for i in range(4, 10)
        ],
    )


@pytest.mark.diagonal
@pytest.mark.parametrize("gradients", ["parameters", "features"])
@pytest.mark.parametrize(
    "options", [{"update_every": 3}, {"gramian_batch": 0.5}], ids=str
)
def test_max_norm_is_that_of_this_step(gradients, options):
    model, tasks = build(plain_graph)
    x, y = data_for(model, tasks)
    weights, before = [5.0, 10.0, 20.0], utils.arrays(model.trainable_variables)

    def second_direction(**options):
        weighting = utils.FixedWeights(weights, gradients=gradients, **options)
        compile_with(model, tasks, weighting)
        directions = []
        for _ in range(2):
            for v, value in zip(model.trainable_variables, before):
                v.assign(value)
            directions.append(trained_direction(model, x, y))
        return directions[1], np.array(weighting.gramian)

    free, gramian = second_direction()
    norm = np.sqrt(weights @ gramian @ weights)
    direction, _ = second_direction(max_norm=0.01 * norm, **options)
    expected = [0.01 * part for part in free[:4]] + free[4:]
    assert_all_close(direction, expected)


def test_layers_that_are_frozen_after_compile_stay_as_they_are():
    model, tasks = build(plain_graph)
    x, y = data_for(model, tasks)
    compile_with(model, tasks, "sum")
    frozen = model.layers[1]
    frozen.trainable = False
    before = utils.arrays(model.trainable_variables)
    frozen_before = utils.arrays(frozen.variables)
    model.train_on_batch(x, y)
    for v, value in zip(model.trainable_variables, before):
        assert np.abs(np.array(v) - value).max() > 0, v.path
    for v, value in zip(frozen.variables, frozen_before):
        assert np.abs(np.array(v) - value).max() == 0, v.path


def test_optional_inputs():
    class AddIfGiven(layers.Layer):
        def call(self, x, y=None):
            return x if y is None else x + y

    x = keras.Input((WIDTH,), name="x")
    extra = keras.Input((WIDTH,), name="extra", optional=True)
    h = AddIfGiven()(dense()(x), extra)
    outputs = {"a": dense(1)(h), "b": dense(2)(h)}
    model = keras_mtl.MultiTaskModel({"x": x, "extra": extra}, outputs)
    _, y = data_for(model, ["a", "b"])
    compile_with(model, ["a", "b"], "sum")
    before = utils.arrays(model.trainable_variables)
    model.train_on_batch({"x": X, "extra": None}, y)
    after = utils.arrays(model.trainable_variables)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, after))


def test_the_split_of_a_graph():
    model, tasks = build(head_at_an_earlier_layer)
    split = GraphSplit(model, model.output_keys, tasks)
    first, *late = model.layers[1:4]
    shared = [v for layer in (first, *late) for v in layer.variables]
    assert split.shared_variables == shared
    assert split.cross_variables == []
    assert sorted(split.boundary.values()) == [["a", "b"], ["c"]]
    assert {t: len(v) for t, v in split.head_variables.items()} == {
        t: 2 for t in tasks
    }
