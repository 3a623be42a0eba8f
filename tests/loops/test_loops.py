"""Loops of the user's own: the numbers of `fit`, on each backend."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_mtl import MultiTaskModel
from keras_mtl import loops
from keras_mtl import weightings
from tests import utils

RNG = np.random.default_rng(11)
X = RNG.normal(size=(3, 8, 3)).astype("float32")
Y = {t: RNG.normal(size=(3, 8, 1)).astype("float32") for t in "abc"}
RATE = 0.1

METHODS = {
    "sum": weightings.Sum,
    "pcgrad": lambda: weightings.PCGrad(seed=3),
    "uncertainty": weightings.Uncertainty,
    "equal": weightings.Equal,
    "nash_mtl": weightings.NashMTL,
    "update_every": lambda: weightings.CAGrad(update_every=2, max_norm=0.1),
    "not linear": weightings.TrimmedMean,
    "chain": lambda: weightings.get(["scale_invariant", "mgda"]),
}


def build():
    keras.utils.set_random_seed(6)
    x = keras.Input((3,))
    h = layers.Dense(5, activation="tanh")(x)
    # The layer of the heads of a and b is shared, too.
    both = layers.Dense(4, activation="tanh")
    outputs = {
        "a": layers.Dense(1)(both(h)),
        "b": layers.Dense(1)(both(h * h)),
        "c": layers.Dense(1)(h),
    }
    return MultiTaskModel(x, outputs)


def losses_of(outputs, y):
    return {t: ops.mean((outputs[t] - y[t]) ** 2) for t in y}


def batches():
    for i in range(3):
        yield X[i], {task: labels[i] for task, labels in Y.items()}


def loop(model, weighting, **options):
    """Takes a step of gradient descent on each batch."""
    return globals()[f"loop_on_{utils.BACKEND}"](model, weighting, **options)


def loop_on_tensorflow(model, weighting, function=lambda step: step, **options):
    import tensorflow as tf

    variables = model.trainable_variables

    @function
    def step(x, y):
        with tf.GradientTape(persistent=True) as tape:
            losses = losses_of(model(x, training=True), y)
        gradients = loops.tape_gradient(
            tape, losses, variables, weighting, **options
        )
        for v, g in zip(variables, gradients):
            v.assign(v - RATE * g)

    for x, y in batches():
        step(
            tf.constant(x), {t: tf.constant(labels) for t, labels in y.items()}
        )


def loop_on_torch(model, weighting, **options):
    import torch

    parameters = [v.value for v in model.trainable_variables]
    optimizer = torch.optim.SGD(parameters, RATE)
    for x, y in batches():
        y = {task: torch.as_tensor(labels) for task, labels in y.items()}
        losses = losses_of(model(x, training=True), y)
        optimizer.zero_grad()
        loops.backward(losses, weighting, **options)
        optimizer.step()


def loop_on_jax(model, weighting, shared=None, **options):
    import jax

    def losses_of_batch(parameters, x, y):
        outputs, _ = model.stateless_call(parameters, [], x, training=True)
        return losses_of(outputs, y)

    balanced = loops.value_and_grad(losses_of_batch, weighting, shared)

    @jax.jit
    def step(state, parameters, x, y):
        _, gradients, state = balanced(state, parameters, x, y, **options)
        pairs = zip(parameters, gradients)
        return state, [p - RATE * g for p, g in pairs]

    parameters = [v.value for v in model.trainable_variables]
    state = balanced.init(parameters, *next(batches()))
    for x, y in batches():
        state, parameters = step(state, parameters, x, y)
    balanced.assign(state)
    for v, value in zip(model.trainable_variables, parameters):
        v.assign(value)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("name", METHODS)
def test_a_loop_has_the_numbers_of_fit(name):
    model, weighting = build(), METHODS[name]()
    optimizer = keras.optimizers.SGD(RATE)
    model.compile(optimizer, "mse", weighting=weighting, **utils.QUICKEST)
    for x, y in batches():
        model.train_on_batch(x, y)
    own, own_weighting = build(), METHODS[name]()
    loop(own, own_weighting)
    for v, other in zip(model.trainable_variables, own.trainable_variables):
        np.testing.assert_allclose(v, other, 1e-5, 1e-6, err_msg=v.path)
    for v, other in zip(weighting.variables, own_weighting.variables):
        np.testing.assert_allclose(v, other, 1e-4, 1e-5, err_msg=v.path)


@pytest.mark.skipif(utils.BACKEND != "tensorflow", reason="of TensorFlow")
@pytest.mark.parametrize(
    "name, compiled",
    [
        ("pcgrad", False),
        pytest.param("nash_mtl", True, marks=pytest.mark.slow),
        pytest.param("update_every", False, marks=pytest.mark.slow),
        pytest.param("update_every", True, marks=pytest.mark.slow),
    ],
)
def test_a_loop_in_a_function_of_tensorflow(name, compiled, caplog):
    import tensorflow as tf

    eager, traced = build(), build()
    loop(eager, METHODS[name]())
    # Its messages do not reach the root of all loggers.
    tf.get_logger().addHandler(caplog.handler)
    loop(traced, METHODS[name](), function=tf.function(jit_compile=compiled))
    tf.get_logger().removeHandler(caplog.handler)
    assert "AutoGraph" not in caplog.text
    for v, other in zip(eager.trainable_variables, traced.trainable_variables):
        np.testing.assert_allclose(v, other, 1e-4, 1e-6, err_msg=v.path)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("weighting", ["uncertainty", "sum"])
def test_gradients_have_the_loss_scale(weighting):
    plain, scaled = build(), build()
    before = utils.arrays(plain.trainable_variables)
    loop_of_one_step(plain, weighting)
    loop_of_one_step(scaled, weighting, loss_scale=4.0)
    for start, v, other in zip(
        before, plain.trainable_variables, scaled.trainable_variables
    ):
        step, larger = (start - ops.convert_to_numpy(x) for x in (v, other))
        np.testing.assert_allclose(4.0 * step, larger, 1e-3, 1e-5)


def loop_of_one_step(model, weighting, **options):
    with pytest.MonkeyPatch.context() as patch:
        first = next(batches())
        patch.setitem(globals(), "batches", lambda: iter([first]))
        loop(model, weightings.get(weighting), **options)


@pytest.mark.quick_on_torch
def test_shared_variables_may_be_given():
    model, reference = build(), build()
    shared = model.layers[1]
    if utils.BACKEND == "tensorflow":
        shared = shared.trainable_variables
    if utils.BACKEND == "jax":
        ids = set(map(id, shared.trainable_variables))
        shared = [id(v) in ids for v in model.trainable_variables]
    weighting = utils.FixedWeights([1.0, 2.0, 3.0])
    loop_of_one_step(model, weighting, shared=shared)

    x, y = next(batches())
    y = {t: ops.convert_to_tensor(labels) for t, labels in y.items()}
    losses = dict.fromkeys("abc", squared_error)
    rows = utils.task_gradients(reference, x, y, losses).values()
    variables = reference.trainable_variables
    jacobian = np.stack([utils.stacked(r[:2], variables[:2]) for r in rows])
    gramian = jacobian @ jacobian.T
    np.testing.assert_allclose(weighting.gramian, gramian, 1e-4, 1e-6)
    # All variables that are shared follow the weights, those of heads do not.
    names = [v.path for v in variables]
    for i, (v, after) in enumerate(zip(variables, model.trainable_variables)):
        given = [(w, r[i]) for w, r in zip((1.0, 2.0, 3.0), rows)]
        given = [(w, g) for w, g in given if g is not None and np.any(g)]
        weights = [w if len(given) > 1 else 1.0 for w, _ in given]
        expected = sum(w * g for w, (_, g) in zip(weights, given))
        step = ops.convert_to_numpy(v) - ops.convert_to_numpy(after)
        np.testing.assert_allclose(
            step / RATE, expected, 1e-3, 1e-5, err_msg=names[i]
        )


def squared_error(y_true, y_pred):
    return ops.mean((y_true - y_pred) ** 2)


# What only one backend has


@pytest.mark.skipif(utils.BACKEND != "torch", reason="of PyTorch")
def test_a_plain_module_of_torch():
    import torch

    torch.manual_seed(0)
    trunk = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    heads = [torch.nn.Linear(4, 1) for _ in range(3)]
    unused = torch.nn.Linear(3, 1)
    x = torch.tensor(X[0])

    def losses():
        features = trunk(x)
        return [(head(features) ** 2).mean() for head in heads]

    shared = [*trunk.parameters()]
    rows, own = [], []
    for loss, head in zip(losses(), heads):
        sources = [*shared, *head.parameters()]
        row = torch.autograd.grad(loss, sources, retain_graph=True)
        rows.append(torch.cat([g.ravel() for g in row[: len(shared)]]))
        own.append(row[len(shared) :])
    direction = weightings.UPGrad().aggregate(torch.stack(rows))
    weighting = weightings.UPGrad()
    for times in (1, 2):
        # The gradients are added to those that are there.
        loops.backward(losses(), weighting, shared=trunk)
        found = torch.cat([p.grad.ravel() for p in shared])
        np.testing.assert_allclose(found, times * direction, 1e-4, 1e-6)
        for head, gradients in zip(heads, own):
            for p, g in zip(head.parameters(), gradients):
                np.testing.assert_allclose(p.grad, times * g, 1e-5)
                p.grad.mul_(1.0)
    assert unused.weight.grad is None


@pytest.mark.skipif(utils.BACKEND != "torch", reason="of PyTorch")
def test_leaves_are_found_however_deep_the_record_is():
    import torch

    from keras_mtl.training.torch.loop import leaves_of

    p, q, r = (torch.ones((), requires_grad=True) for _ in range(3))
    deep = p * 1.0
    for _ in range(3000):
        deep = deep * q + deep
    leaves, reached = leaves_of([deep, q * r, r])
    assert {*map(id, leaves)} == {id(p), id(q), id(r)}
    assert reached == [{id(p), id(q)}, {id(q), id(r)}, {id(r)}]


@pytest.mark.skipif(utils.BACKEND != "jax", reason="of JAX")
def test_a_pure_step_in_a_scan():
    import jax

    def losses_of(parameters, x):
        h = jax.numpy.tanh(x @ parameters["trunk"])
        heads = parameters["heads"]
        losses = {t: jax.numpy.mean((h @ heads[t] - 1.0) ** 2) for t in heads}
        return losses, h

    balanced = loops.value_and_grad(
        losses_of, "pcgrad", {"trunk": True, "heads": False}, has_aux=True
    )
    parameters = {
        "trunk": jax.numpy.array(RNG.normal(size=(3, 4)), "float32"),
        "heads": {t: jax.numpy.full((4,), i + 1.0) for i, t in enumerate("ab")},
    }

    def step(carry, x):
        parameters, state = carry
        (losses, h), gradients, state = balanced(state, parameters, x)
        parameters = jax.tree.map(
            lambda p, g: p - RATE * g, parameters, gradients
        )
        return (parameters, state), (losses, h)

    state = balanced.init(parameters, X[0])
    variables = balanced.weighting.variables
    before = [np.array(v) for v in variables]
    same = np.stack(3 * [X[0]])
    carry, (losses, h) = jax.lax.scan(step, (parameters, state), same)
    assert losses["a"].shape == (3,) and h.shape == (3, 8, 4)
    assert losses["a"][0] > losses["a"][2]
    assert balanced.weights(carry[1]).shape == (2,)
    # The variables of the weighting are as they were.
    for v, value in zip(variables, before):
        np.testing.assert_array_equal(v, value)
    with pytest.raises(ValueError, match="the state that `init`"):
        balanced([], parameters, X[0])
    wrong = loops.value_and_grad(losses_of, "sum", {"trunk": True}, True)
    state = wrong.init(parameters, X[0])
    with pytest.raises(ValueError, match="`shared` to have True or False"):
        wrong(state, parameters, X[0])


@pytest.mark.skipif(utils.BACKEND != "jax", reason="of JAX")
def test_hooks_return_the_state():
    import jax

    balanced = loops.value_and_grad(lambda p: two(*p), "famo")
    parameters = [jax.numpy.ones(()), jax.numpy.full((), 2.0)]
    state = balanced.init(parameters)
    losses, _, state = balanced(state, parameters)
    halves = {task: 0.5 * loss for task, loss in losses.items()}
    after = balanced.after_step(state, halves)
    assert any(np.any(a != b) for a, b in zip(state, after))
    reference = weightings.FAMO()
    reference(ops.stack([*losses.values()]))
    reference.after_step(0.5 * ops.stack([*losses.values()]))
    for value, v in zip(after, reference.variables):
        np.testing.assert_allclose(value, v, 1e-5)
    balanced = loops.value_and_grad(lambda p: two(*p), "dwa")
    state = balanced.on_epoch_begin(balanced.init(parameters))
    _, _, state = balanced(state, parameters)
    balanced.assign(balanced.on_epoch_end(state))
    reference = weightings.DWA()
    reference.build((2,))
    reference.on_epoch_begin()
    reference(ops.stack([*losses.values()]))
    reference.on_epoch_end()
    for v, other in zip(balanced.weighting.variables, reference.variables):
        np.testing.assert_allclose(v, other, 1e-5, err_msg=v.path)


# Bad input


def take(losses, weighting="sum", parameters=2, **options):
    """Takes a step on losses of some parameters, given as a function."""
    weighting = (
        weightings.get(weighting) if isinstance(weighting, str) else weighting
    )
    values = [np.float32(1.0 + i) for i in range(parameters)]
    if utils.BACKEND == "tensorflow":
        import tensorflow as tf

        variables = list(map(tf.Variable, values))
        persistent = options.pop("persistent", True)
        with tf.GradientTape(persistent=persistent) as tape:
            made = losses(*[v + 0.0 for v in variables])
        return loops.tape_gradient(tape, made, variables, weighting, **options)
    if utils.BACKEND == "jax":
        balanced = loops.value_and_grad(
            lambda p: losses(*p), weighting, **options
        )
        values = list(map(ops.convert_to_tensor, values))
        return balanced(balanced.init(values), values)[1]
    import torch

    tensors = [torch.tensor(v, requires_grad=True) for v in values]
    loops.backward(losses(*tensors), weighting, **options)
    return [t.grad for t in tensors]


def two(p, q):
    return {"a": p * p, "b": p * q}


@pytest.mark.parametrize("weighting", ["equal", "sum"])
def test_a_small_step(weighting):
    gradients = take(two, weighting)
    np.testing.assert_allclose([float(g) for g in gradients], [4.0, 1.0])
    gradients = take(lambda p, q: list(two(p, q).values()), weighting)
    np.testing.assert_allclose([float(g) for g in gradients], [4.0, 1.0])


@pytest.mark.parametrize(
    "losses, received",
    [
        (lambda p, q: {"a": ops.stack([p, q]), "b": p}, "'a'.*shape .2,."),
        (lambda p, q: {"a": 1.0, "b": p}, "'a' to be a scalar tensor.*1.0"),
        (lambda p, q: p, "a dict of task to scalar"),
        (lambda p, q: {"a": p}, r"two or more tasks.*\['a'\]"),
        (
            lambda p, q: {"a": p, "b": q},
            "tasks .'a', 'b'., which share nothing",
        ),
    ],
    ids=["vector", "number", "one tensor", "one task", "nothing shared"],
)
def test_bad_losses(losses, received):
    with pytest.raises(ValueError, match=f"(?s)Expected .*{received}"):
        take(losses)


@pytest.mark.parametrize("weighting", ["uncertainty", "sum"])
def test_a_task_that_no_variable_reaches(weighting):
    def losses(p, q):
        return {"a": p * q, "b": ops.stop_gradient(p)}

    with pytest.raises(ValueError, match=r"Expected .*losses of \['b'\]"):
        take(losses, weighting)


def test_tasks_that_change():
    weighting = weightings.get("sum")
    take(two, weighting)
    # Another order is no other task.
    take(lambda p, q: dict(reversed(two(p, q).items())), weighting)
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*of \['a', 'c'\]"):
        take(lambda p, q: {"a": p, "c": p}, weighting)
    weighting = weightings.get("sum")
    weighting.build((3,))
    with pytest.raises(ValueError, match=r"the 3 tasks .*of \['a', 'b'\]"):
        take(two, weighting)


@pytest.mark.parametrize(
    "weighting, received",
    [
        (weightings.Sum(gradients="features"), 'gradients="features" for Sum'),
        (weightings.Sum(shared="last"), "shared='last'"),
        (weightings.Sum(gramian_batch=0.5), "gramian_batch=0.5"),
        (weightings.MetaBalance(), ".* with groups='layer'"),
    ],
    ids=["features", "last", "part", "groups"],
)
def test_what_only_a_graph_tells(weighting, received):
    with pytest.raises(ValueError, match=f"Expected .*Received: {received}"):
        take(two, weighting)


@pytest.mark.skipif(utils.BACKEND == "jax", reason="A name is enough on JAX.")
def test_a_name_has_no_state():
    function = loops.backward
    args = ()
    if utils.BACKEND == "tensorflow":
        function, args = loops.tape_gradient, (None,)
    with pytest.raises(ValueError, match=r"weightings.get\('sum'\)`"):
        function(*args, {}, *[[]] * len(args), "sum")


@pytest.mark.skipif(utils.BACKEND != "tensorflow", reason="of TensorFlow")
def test_a_tape_that_is_not_persistent():
    with pytest.raises(ValueError, match="persistent=True"):
        take(two, persistent=False)
    take(two, "uncertainty", persistent=False)


def test_the_function_of_another_backend():
    name = "backward" if utils.BACKEND != "torch" else "value_and_grad"
    with pytest.raises(ValueError, match="KERAS_BACKEND=.*Received"):
        getattr(loops, name)(None, weightings.get("sum"))
