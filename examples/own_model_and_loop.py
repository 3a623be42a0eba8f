# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own model, your own loop
#
# **Description:** Balance the tasks of a `keras.Model` subclass, and in a
# training loop of the framework's own, with the numbers of `fit`.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; half a minute on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo]" jupyter` in a clone of the repository.

# %% [markdown]
# ## Introduction
#
# A `MultiTaskModel` is a Functional graph with one loss per output. Not every
# program is written in that way. There are two more doors to the same methods:
#
# - `keras_mtl.MultiLossModel`, for a subclass of `keras.Model` with a `call` in
#   plain Python, and losses of any kind;
# - `keras_mtl.loops`, for a training loop written with TensorFlow, JAX or
#   PyTorch.
#
# This notebook trains one network in all three ways, from the same parameters,
# with the same batches, and compares what comes out.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from keras import ops

import keras_mtl

backend = keras.backend.backend()

# %% tags=["parameters"]
houses = 2048
epochs = 10

# %% [markdown]
# ## The data
#
# Ten numbers about a house, its price, and whether it sold in a month. The
# price is in units of 10,000 dollars, so that its loss is the larger one.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(houses, 10)).astype("float32")
hidden = np.tanh(x @ rng.normal(size=(10, 5)))
price = np.float32(4 * hidden @ rng.normal(size=(5, 1)))
sold = np.float32(hidden @ rng.normal(size=(5, 1)) > 0)
y = {"price": price, "sold": sold}

BATCH_SIZE = 64
LEARNING_RATE = 0.02

# %% [markdown]
# ## 1. A Functional graph and `fit`
#
# `shuffle=False`, so that all three see the same batches.


# %%
def functional_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10,))
    h = layers.Dense(32, "tanh")(inputs)
    outputs = {
        "price": layers.Dense(1, name="price")(h),
        "sold": layers.Dense(1, "sigmoid", name="sold")(h),
    }
    return keras_mtl.MultiTaskModel(inputs, outputs)


model = functional_model()
model.compile(
    keras.optimizers.SGD(LEARNING_RATE),
    loss={"price": "mse", "sold": "binary_crossentropy"},
    weighting="nash_mtl",
)
FIT = dict(batch_size=BATCH_SIZE, epochs=epochs, shuffle=False, verbose=0)
history = model.fit(x, y, **FIT)

for task in y:
    losses = history.history[f"{task}_loss"]
    print(f"{task:6} {losses[0]:.4f} to {losses[-1]:.4f}")

# %% [markdown]
# A graph that exists, from a library or a file, need not be built again:
# `keras_mtl.MultiTaskModel.from_model(model)` takes its layers and weights.

# %% [markdown]
# ## 2. A subclass of `keras.Model`
#
# `keras_mtl.MultiLossModel` stands in place of `keras.Model`. The one method to
# write is `compute_task_losses`, which returns a dict of task to scalar. It may
# do anything: call the model a second time, mix the outputs, leave labels out.
# Which variables the tasks share is found from which losses depend on which.


# %%
class House(keras_mtl.MultiLossModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trunk = layers.Dense(32, "tanh")
        self.price = layers.Dense(1)
        self.sold = layers.Dense(1, "sigmoid")

    def call(self, x):
        h = self.trunk(x)
        return {"price": self.price(h), "sold": self.sold(h)}

    def compute_task_losses(
        self, x, y, y_pred, sample_weight=None, training=True
    ):
        errors = keras.losses.binary_crossentropy(y["sold"], y_pred["sold"])
        return {
            "price": ops.mean((y["price"] - y_pred["price"]) ** 2),
            "sold": ops.mean(errors),
        }


keras.utils.set_random_seed(0)
own = House()
own.compile(keras.optimizers.SGD(LEARNING_RATE), weighting="nash_mtl")
own_history = own.fit(x, y, **FIT)

# %% [markdown]
# The history has the same keys, and callbacks, `evaluate`, `.keras` files and
# resuming work as well.

# %%
assert own_history.history.keys() == history.history.keys()


def difference(other):
    """The largest one between the parameters of `model` and of another."""
    pairs = zip(model.get_weights(), other.get_weights())
    return max(np.abs(a - b).max() for a, b in pairs)


print(f"parameters differ by {difference(own):.1e} at most")

# %% [markdown]
# ## 3. A loop of your own
#
# There is one function for each framework, beside the idiom that its users
# know. The weighting is made once, before the loop: it has a state.
#
# The loops of all three follow; the one of the backend in use is run. The model
# is a Keras model, which none of them needs: on PyTorch it may be any
# `torch.nn.Module`, on JAX any function of parameters.


# %%
def batches():
    for _ in range(epochs):
        for i in range(0, houses, BATCH_SIZE):
            part = slice(i, i + BATCH_SIZE)
            yield x[part], {task: labels[part] for task, labels in y.items()}


def losses_of(outputs, y):
    crossentropy = keras.losses.binary_crossentropy(y["sold"], outputs["sold"])
    return {
        "price": ops.mean((y["price"] - outputs["price"]) ** 2),
        "sold": ops.mean(crossentropy),
    }


# %% [markdown]
# **TensorFlow**: a persistent tape, and `tape_gradient` in place of
# `tape.gradient`.


# %%
def loop_on_tensorflow(model, weighting):
    import tensorflow as tf

    variables = model.trainable_variables
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    optimizer.build(variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape(persistent=True) as tape:
            losses = losses_of(model(x, training=True), y)
        gradients = keras_mtl.loops.tape_gradient(
            tape, losses, variables, weighting
        )
        optimizer.apply_gradients(zip(gradients, variables))
        return losses

    return [step(x, y) for x, y in batches()]


# %% [markdown]
# **JAX**: `value_and_grad`, a pure function. The state of the weighting goes in
# and comes out, and the step can be compiled.


# %%
def loop_on_jax(model, weighting):
    import jax

    def losses_of_batch(parameters, x, y):
        outputs, _ = model.stateless_call(parameters, [], x, training=True)
        return losses_of(outputs, y)

    balanced = keras_mtl.loops.value_and_grad(losses_of_batch, weighting)

    @jax.jit
    def step(parameters, state, x, y):
        losses, gradients, state = balanced(state, parameters, x, y)
        parameters = jax.tree.map(
            lambda p, g: p - LEARNING_RATE * g, parameters, gradients
        )
        return losses, parameters, state

    parameters = [v.value for v in model.trainable_variables]
    state = balanced.init(parameters, *next(batches()))
    history = []
    for x, y in batches():
        losses, parameters, state = step(parameters, state, x, y)
        history.append(losses)
    for variable, value in zip(model.trainable_variables, parameters):
        variable.assign(value)
    return history


# %% [markdown]
# **PyTorch**: `backward` in place of `loss.backward()`.


# %%
def loop_on_torch(model, weighting):
    import torch

    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    history = []
    for x, y in batches():
        y = {task: torch.as_tensor(labels) for task, labels in y.items()}
        losses = losses_of(model(torch.as_tensor(x)), y)
        optimizer.zero_grad()
        keras_mtl.loops.backward(losses, weighting)
        optimizer.step()
        history.append({task: loss.detach() for task, loss in losses.items()})
    return history


# %%
loops = {
    "tensorflow": loop_on_tensorflow,
    "jax": loop_on_jax,
    "torch": loop_on_torch,
}
looped = functional_model()
steps = loops[backend](looped, keras_mtl.weightings.get("nash_mtl"))
print(f"parameters differ by {difference(looped):.1e} at most")

# %% [markdown]
# The three lie on top of each other:

# %%
loop_losses = {
    task: np.array([float(losses[task]) for losses in steps])
    .reshape(epochs, -1)
    .mean(axis=1)
    for task in y
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax, task in zip(axes, y):
    key = f"{task}_loss"
    ax.plot(history.history[key], color="0.8", linewidth=7, label="graph")
    ax.plot(own_history.history[key], linewidth=3, label="subclass")
    ax.plot(loop_losses[task], "k:", label=f"loop on {backend}")
    ax.set_title(f"loss of {task}", loc="left", fontsize=10)
    ax.set(xlabel="epoch")
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## What only this way can do
#
# The losses of a subclass need not be one per output. Here is a third task with
# no label and a second forward pass: two views of one house, each with a little
# noise, are to agree.


# %%
class AgreeingHouse(House):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.noise = layers.GaussianNoise(0.3, seed=0)

    def compute_task_losses(
        self, x, y, y_pred, sample_weight=None, training=True
    ):
        losses = super().compute_task_losses(x, y, y_pred)
        views = [self(self.noise(x, training=True)) for _ in range(2)]
        difference = views[0]["sold"] - views[1]["sold"]
        return {**losses, "agreement": ops.mean(difference**2)}


keras.utils.set_random_seed(0)
agreeing = AgreeingHouse()
agreeing.compile("adam", weighting="nash_mtl")
history = agreeing.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
keras_mtl.plots.task_weights(history)
plt.show()

# %% [markdown]
# ## Where to go from here
#
# [Your own model, your own loop](../docs/loops.md) has the details: mixed
# precision, the hooks of methods that look at epochs, a part of the parameters
# as `shared`.
