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
# # Differential equations: the residual is a task, and so is each condition
#
# **Description:** Solve a Poisson and a heat equation with networks
# (physics-informed neural networks, PINNs), and see what six weightings make of
# the error.<br>
# **Runs on:** JAX, TensorFlow and PyTorch; on two CPU cores four minutes with
# JAX, and longer with the others, where fewer `steps` show less.<br>
# **Install:** `pip install -e ".[demo,jax]" jupyter` in a clone of the
# repository.

# %% [markdown]
# ## Introduction
#
# A network `u(x)` solves a differential equation if two things hold: the
# equation itself, at points *inside*, and the conditions at the *edge*. Both
# are losses of the same network, so they are two tasks:
#
# - **equation**: the squared residual of the equation, with the derivatives of
#   the network. There is no label for it.
# - **edge**: the squared error at points whose value is known.
#
# Their sizes have nothing to do with each other. A second derivative of a wave
# is a hundred times the wave, so in a plain sum the equation decides, and the
# network settles on a solution of it with other values at the edge.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # or "tensorflow", "torch"

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from keras import ops

import keras_mtl

# %% tags=["parameters"]
weightings = [
    *["equal", "relobralo", "softadapt"],
    *["lr_annealing", "config", "upgrad"],
]
steps = 4000
seeds = {"poisson": [0, 1, 2], "heat": [0, 1]}

# %% [markdown]
# ## A layer that differentiates a network
#
# Only one function depends on the backend: the derivatives of a function of
# points with respect to their coordinates. It can be applied to its own result,
# which gives second derivatives.

# %% tags=["model"]
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def derivatives(function, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = function(x)
        return tape.gradient(values, x)

elif keras.backend.backend() == "jax":
    import jax

    def derivatives(function, x):
        return jax.grad(lambda x: ops.sum(function(x)))(x)

else:
    import torch

    def derivatives(function, x):
        return torch.func.grad(lambda x: ops.sum(function(x)))(x)


def derivative(function, x, coordinate):
    """Derivative with respect to one coordinate, shape `(points, 1)`."""
    return derivatives(function, x)[:, coordinate : coordinate + 1]


def second_derivative(function, x, coordinate):
    return derivative(
        lambda x: derivative(function, x, coordinate), x, coordinate
    )


# %% [markdown]
# The layer holds the network, so that the variables of the network are its own.
# It returns the squared residual of each point: an output that *is* a loss.


# %% tags=["model"]
class SquaredResidual(layers.Layer):
    """Args: the network, and the residual as a function of `(network, x)`."""

    def __init__(self, network, residual, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.residual = residual

    def call(self, x):
        return self.residual(self.network, x) ** 2


# %% [markdown]
# ## Two problems with known solutions
#
# 1. The Poisson equation `u'' = -f` on a line, with `f` such that the solution
#    is a slow wave and a faster one.
# 2. The heat equation `u_t = k u_xx`: a rod whose ends are kept at 0 cools
#    down. Its points have two coordinates, place and time, and the values at
#    the beginning are a third task.
#
# A problem is its residual, its solution, and functions that move random points
# to where a condition holds.

# %% tags=["model"]
CONDUCTIVITY = 0.1


def poisson_solution(x):
    return np.sin(np.pi * x) + 0.2 * np.sin(3 * np.pi * x)


def poisson_residual(u, x):
    f = ops.sin(np.pi * x) + 0.2 * 9 * ops.sin(3 * np.pi * x)
    return second_derivative(u, x, 0) + np.pi**2 * f


def heat_solution(x):
    place, time = x[:, :1], x[:, 1:] + 1
    fade = np.exp(-CONDUCTIVITY * np.pi**2 * time)
    return fade * np.sin(np.pi * place)


def heat_residual(u, x):
    return derivative(u, x, 1) - CONDUCTIVITY * second_derivative(u, x, 0)


# %% tags=["model"]
def to_the_ends(x):
    return np.concatenate([np.sign(x[:, :1]), x[:, 1:]], axis=1)


def to_the_beginning(x):
    return np.concatenate([x[:, :1], -np.ones_like(x[:, 1:])], axis=1)


problems = {
    "poisson": {
        "dimensions": 1,
        "residual": poisson_residual,
        "solution": poisson_solution,
        "conditions": {"edge": to_the_ends},
    },
    "heat": {
        "dimensions": 2,
        "residual": heat_residual,
        "solution": heat_solution,
        "conditions": {"edge": to_the_ends, "beginning": to_the_beginning},
    },
}

# %% [markdown]
# All points are random. The labels of the conditions are the known values; the
# equation has none.


# %%
def sample(problem, batch_size=64):
    rng = np.random.default_rng(0)
    shape = steps * batch_size, problem["dimensions"]
    x, y = {"inside": rng.uniform(-1, 1, shape)}, {}
    for name, move in problem["conditions"].items():
        x[name] = move(rng.uniform(-1, 1, shape))
        y[name] = problem["solution"](x[name])
    return keras.tree.map_structure(np.float32, (x, y))


def grid(problem):
    axes = [np.linspace(-1, 1, 101)] * problem["dimensions"]
    points = np.meshgrid(*axes, indexing="ij")
    return np.stack(points, axis=-1).reshape(-1, problem["dimensions"])


# %% [markdown]
# ## The model
#
# One network, called on the points of each condition, and held by the layer for
# the points inside. `OutputIsLoss` says that no label belongs to an output.


# %% tags=["model"]
def build_model(problem):
    shape = (problem["dimensions"],)
    network = keras.Sequential(
        [
            keras.Input(shape),
            *[layers.Dense(32, "tanh") for _ in range(3)],
            layers.Dense(1),
        ]
    )
    names = ["inside", *problem["conditions"]]
    inputs = {name: keras.Input(shape, name=name) for name in names}
    residual = SquaredResidual(network, problem["residual"])
    outputs = {"equation": residual(inputs["inside"])}
    for name in problem["conditions"]:
        outputs[name] = network(inputs[name])
    return keras_mtl.MultiTaskModel(inputs, outputs), network


# %%
def train(problem, weighting, seed):
    keras.utils.set_random_seed(seed)
    model, network = build_model(problem)
    loss = {"equation": keras_mtl.losses.OutputIsLoss()}
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(5e-3, steps)
        ),
        loss={**loss, **dict.fromkeys(problem["conditions"], "mse")},
        weighting=weighting,
        jit_compile=keras.backend.backend() == "jax",
    )
    history = model.fit(*sample(problem), batch_size=64, epochs=1, verbose=0)
    return network, history


def error_of(network, problem):
    points = grid(problem)
    u = network.predict(points, batch_size=len(points), verbose=0)
    return u - problem["solution"](points)


# %% [markdown]
# ## One training
#
# The Poisson equation with equal weights:

# %%
poisson = problems["poisson"]
network, history = train(poisson, "equal", seed=0)
for name in ["equation_loss", "edge_loss"]:
    print(f"{name:14} {history.history[name][-1]:.2g}")

x = grid(poisson)[:, 0]
error = error_of(network, poisson)[:, 0]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.4), layout="constrained"
)
left.plot(x, poisson["solution"](x), color="0.7", linewidth=4, label="exact")
left.plot(x, poisson["solution"](x) + error, label="network")
left.set(xlabel="x", ylabel="u")
left.legend(frameon=False)
right.plot(x, error)
right.set(xlabel="x", ylabel="error")
plt.show()

# %% [markdown]
# The waves are right, and the largest part of the error is a straight line. A
# straight line has no second derivative: the equation does not see it, only the
# edge does, and its loss is the smaller one by far.

# %% [markdown]
# ## Six weightings
#
# - `equal`: the sum.
# - `relobralo`, `softadapt`: from how fast each loss falls. They cost nothing.
# - `lr_annealing`: all gradients get the same length.
# - `config`, `upgrad`: one direction along which no loss rises, whatever the
#   gradients' lengths (`config`) or with them (`upgrad`).
#
# The first three of these are made for differential equations. All others take
# one backward pass for each task.

# %%
errors = {}
for name, problem in problems.items():
    for weighting in weightings:
        errors[name, weighting] = []
        for seed in seeds[name]:
            network, _ = train(problem, weighting, seed)
            error = np.abs(error_of(network, problem)).max()
            errors[name, weighting].append(error)

print("largest error" + "".join(f"{name:>24}" for name in problems))
for weighting in weightings:
    cells = (
        ", ".join(f"{error:.4f}" for error in errors[name, weighting])
        for name in problems
    )
    print(f"{weighting:13}" + "".join(f"{cell:>24}" for cell in cells))

# %%
figure, axes = plt.subplots(
    1, 2, figsize=(10, 3), sharex=True, sharey=True, layout="constrained"
)
for ax, name in zip(axes, problems):
    for i, weighting in enumerate(weightings[::-1]):
        values = errors[name, weighting]
        ax.plot(values, [i] * len(values), "o", color="#0072B2", alpha=0.6)
    ax.set_title(name, loc="left", fontsize=10)
    ax.set(xscale="log", xlabel="largest error")
    ax.set(yticks=range(len(weightings)), yticklabels=weightings[::-1])
    ax.grid(axis="x", color="0.9")
plt.show()

# %% [markdown]
# On the Poisson equation, whose two losses are far apart, it pays:
#
# - `upgrad` and `config` end with errors that are 4 to 15 times smaller than
#   those of the sum, with each seed; `softadapt`, which costs nothing, with
#   about half of them or less.
# - `relobralo` is as the sum with two of three seeds.
# - `lr_annealing` has gradients of one length, and ends worse. Its authors
#   compute new weights every 1,000 steps (`update_every`), here it is in each.
#
# On the heat equation, whose three losses are of about the same size, no
# difference is larger than that between the two seeds.
#
# A shorter trial, 1,000 steps of a network with two hidden layers, ranked
# nothing: seeds of one weighting differed by a factor of thirty. So give your
# own equation enough `steps` and `seeds` before you choose, and each weighting
# a learning rate of its own (`keras_mtl.tune`).
