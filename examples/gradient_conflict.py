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
# # Gradient conflict: seeing it, and what the methods do about it
#
# **Description:** Measure the angles between the gradients of the tasks during
# a training, and see where each gradient balancing goes from there.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; about two minutes on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo]" jupyter` in a clone of the repository.

# %% [markdown]
# ## Introduction
#
# Each task has its own gradient with respect to the layers that all tasks
# share. Where the angle between two of them is larger than 90 degrees, a step
# along the one raises the loss of the other: the tasks *conflict*. The cosine
# of the angle is then negative.
#
# Before choosing a method against conflicts, look whether there are any. This
# notebook
#
# 1. records the cosines while a network trains on six properties of molecules;
# 2. computes what each gradient balancing makes of these gradients;
# 3. follows the methods on a problem of two variables, where one can see their
#    way;
# 4. compares gradients with respect to parameters and to features, which cost
#    a fraction.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

import keras_mtl
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing

keras.utils.set_random_seed(0)

# %% tags=["parameters"]
tasks = ["mu", "alpha", "homo", "r2", "zpve", "u0"]
molecules = 2000
epochs = 20
methods = [
    *["sum", "mgda", "pcgrad", "cagrad"],
    *["imtl_g", "nash_mtl", "upgrad", "fairgrad"],
]
points = 40  # of each trajectory

# %% [markdown]
# The data and the network are those of the [quick start](quick_start.ipynb):
# six properties of the molecules of QM9, and a network in which the atoms send
# each other messages.

# %%
train, _, _, _ = qm9.load_data(molecules)
x, y = train[0], {task: train[1][task] for task in tasks}


def build_model(weighting="equal"):
    model = keras_mtl.MultiTaskModel(*message_passing(tasks))
    steps = epochs * -(-len(x["atoms"]) // 64)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(4e-3, steps)
        ),
        loss=dict.fromkeys(tasks, "mse"),
        weighting=weighting,
    )
    return model


# %% [markdown]
# ## The cosines during training
#
# `GradientCosines` is a callback. It is given one batch, and after each epoch
# it computes the gradients of all tasks on it, as a step of gradient balancing
# would. It works with every weighting, here with equal weights, and changes
# nothing in the training.

# %%
batch = keras.tree.map_structure(lambda array: array[:256], (x, y))
cosines = keras_mtl.callbacks.GradientCosines(batch)

model = build_model()
model.fit(x, y, batch_size=64, epochs=epochs, callbacks=[cosines], verbose=0)

shown = [0, epochs // 4, epochs - 1]
keras_mtl.plots.gradient_cosines(
    {f"after epoch {i + 1}": cosines.cosines[i] for i in shown}, tasks
)
plt.show()

# %% [markdown]
# Over all epochs, and how many of the pairs conflict in each:

# %%
pairs = np.triu_indices(len(tasks), k=1)
conflicts = (cosines.cosines < 0)[:, *pairs].mean(axis=1)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.6), layout="constrained"
)
keras_mtl.plots.gradient_cosines(cosines, ax=left)
left.set_title("mean over the training", loc="left", fontsize=10)
right.bar(np.array(cosines.epoch) + 1, 100 * conflicts, color="#0072B2")
right.set(xlabel="epoch", ylabel="pairs that conflict (%)", ylim=(0, 100))
right.xaxis.get_major_locator().set_params(integer=True)
plt.show()

# %% [markdown]
# There are conflicts in every epoch, up to cosines of −0.8. But they are not
# always those of the same tasks: after the sixth epoch `alpha` is against
# `r2`, `zpve` and `u0`, and its mean over the training is close to 0 with all
# of them. Of all pairs, only the two energies `zpve` and `u0` clearly agree
# from beginning to end. So look at more than one epoch before you draw a
# conclusion about two tasks.
#
# The angles are half of the story, the lengths are the other. A sum follows
# its longest gradients:

# %%
norms = np.sqrt(np.diagonal(cosines.gramians, axis1=1, axis2=2))
print("length of the gradients")
print("epoch ", *(f"{task:>8}" for task in tasks))
for i in shown:
    print(f"{i + 1:5} ", *(f"{norm:8.3f}" for norm in norms[i]))

# %% [markdown]
# ## What the methods make of these gradients
#
# A gradient balancing is a function of the *Gramian*, the inner products of the
# gradients. That is all it needs, so we can ask each method what it would do
# with the gradients of one batch: `weighting(losses, gramian)` returns the
# weights, and `model.gramian` the Gramian of any batch.
#
# Below is the cosine of the direction that a method takes with the gradient of
# each task. Where it is negative, a small step raises the loss of that task.

# %%
gramian = cosines.gramians[epochs // 4]


def weights_of(method, gramian):
    weighting = keras_mtl.weightings.get(method)
    weights = weighting(np.ones(len(gramian)), gramian)
    return np.float64(ops.convert_to_numpy(weights))


def cosines_with_tasks(weights, gramian):
    lengths = np.sqrt(np.diagonal(gramian))
    return gramian @ weights / lengths / np.sqrt(weights @ gramian @ weights)


rows = [
    cosines_with_tasks(weights_of(method, gramian), gramian)
    for method in methods
]

print("cosine of the direction with the gradient of each task")
print(f"{'':9}", *(f"{task:>7}" for task in tasks), "  smallest")
for method, row in zip(methods, rows):
    print(
        f"{method:9}", *(f"{value:7.2f}" for value in row), f"{row.min():10.2f}"
    )

# %% [markdown]
# The sum raises the losses of `alpha` and `zpve`: the longest gradient, that of
# `homo`, decides. All other methods find a direction that helps every task, and
# they differ in how much they give: PCGrad, CAGrad and UPGrad stay near the
# sum; IMTL-G has the same cosine with all tasks; MGDA is closest to the
# shortest gradients; Nash-MTL and FairGrad are in between.

# %% [markdown]
# ## Two objectives of two variables
#
# The problem of the [CAGrad](https://arxiv.org/abs/2110.14048) and
# [Nash-MTL](https://arxiv.org/abs/2202.01017) papers. The shared "network" is a
# point in the plane, and each task is a function of it. In the upper half, each
# loss has a steep narrow valley; the best compromises, the Pareto front, are on
# the line at the bottom.


# %%
def two_losses(x, y):
    upper = ops.maximum(ops.tanh(y / 2), 0)
    lower = ops.maximum(ops.tanh(-y / 2), 0)
    losses = []
    for sign in [1, -1]:
        valley = ops.abs(-(x + 7 * sign) / 2 + sign * ops.tanh(y))
        valley = ops.log(ops.maximum(valley, 5e-6)) + 6
        bowl = ((x - 7 * sign) ** 2 + 0.1 * (y + 8) ** 2) / 10 - 20
        losses.append(upper * valley + lower * bowl)
    return losses


class Point(keras.layers.Layer):
    def build(self, input_shape):
        self.point = self.add_weight(shape=(2,), name="point")

    def call(self, inputs):
        return inputs * self.point


inputs = keras.Input((1,))
point = Point(name="point")
moved = point(inputs)
first, second = two_losses(moved[:, :1], moved[:, 1:])
toy = keras_mtl.MultiTaskModel(inputs, {"first": first, "second": second})

# %% [markdown]
# It is a Keras model as any other, so that `fit` trains it. Each "epoch" has 50
# steps, after which a callback notes the point. The first loss is multiplied by
# 10: scales of tasks are seldom equal.

# %%
steps = 50
starts = [(-8.5, 7.5), (9.0, 9.0), (-7.5, -0.5)]
ones, zeros = np.ones((steps, 1), "float32"), np.zeros((steps, 1), "float32")


def trajectories(method):
    """Returns the points from each start, shape `(starts, points + 1, 2)`."""
    toy.compile(
        keras.optimizers.Adam(0.02),
        loss=lambda y_true, y_pred: y_pred,
        loss_weights={"first": 10.0, "second": 1.0},
        weighting=method,
        steps_per_execution=1 if keras.backend.backend() == "torch" else steps,
    )
    toy.optimizer.build(toy.trainable_variables)
    state = toy.non_trainable_variables + toy.optimizer.variables
    initial = [ops.convert_to_numpy(variable).copy() for variable in state]
    runs = []
    for start in starts:
        for variable, value in zip(state, initial):
            variable.assign(value)
        point.point.assign(start)
        run = [start]
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, run=run: run.append(
                ops.convert_to_numpy(point.point)
            )
        )
        toy.fit(
            ones,
            {"first": zeros, "second": zeros},
            batch_size=1,
            epochs=points,
            callbacks=[note],
            verbose=0,
        )
        runs.append(run)
    return np.array(runs)


with warnings.catch_warnings():
    # In a valley, one gradient is thousands of times as long as the other. The
    # weights that make up for it are what one wants to see here.
    warnings.filterwarnings("ignore", "The mean weight of the epoch")
    runs = {method: trajectories(method) for method in methods}

# %%
grid = np.meshgrid(np.linspace(-11, 11, 201), np.linspace(-11, 11, 201))
values = two_losses(*[ops.convert_to_tensor(z, "float32") for z in grid])
first, second = map(ops.convert_to_numpy, values)

figure, axes = plt.subplots(
    -(-len(methods) // 4),
    4,
    figsize=(10, 5.4),
    sharex=True,
    sharey=True,
    squeeze=False,
    layout="constrained",
)
for ax, (method, ways) in zip(axes.flat, runs.items()):
    ax.contour(*grid, 10 * first + second, 20, colors="0.8", linewidths=0.6)
    (front,) = ax.plot([-7, 7], [-8.2, -8.2], color="0.6", linewidth=5)
    for way, color in zip(ways, ["#0072B2", "#D55E00", "#009E73"]):
        (line,) = ax.plot(*way.T, color=color)
        (start,) = ax.plot(*way[0], "o", color="black", markersize=4)
        (end,) = ax.plot(*way[-1], "*", color=color, markersize=12, mec="black")
    ax.set_title(method, loc="left", fontsize=10)
for unused in axes.flat[len(methods) :]:
    unused.remove()
figure.supxlabel("first variable", fontsize=10)
figure.supylabel("second variable", fontsize=10)
figure.legend(
    [start, line, end, front],
    ["start", "way", f"after {points * steps:,} steps", "Pareto front"],
    loc="outside upper center",
    ncols=4,
    frameon=False,
)
plt.show()

# %% [markdown]
# The stars are the points after 2,000 steps, the gray line is the Pareto front.
# From the upper left, the sum, PCGrad, CAGrad and UPGrad lose most of their
# steps in the valley of the first loss, whose gradients are ten times too long
# there. MGDA, IMTL-G, Nash-MTL and FairGrad, which long gradients do not rule,
# pass it by. On the front, the sum and CAGrad go toward the minimum of the
# first loss, as the factor of 10 asks. Nash-MTL and IMTL-G do not depend on the
# factor, and stay nearer to the middle.
#
# With other factors, starts or step sizes the picture is another one.
# `experiments/toy_two_objectives.py` has the set-up of the papers.

# %% [markdown]
# ## Features against parameters
#
# The gradients with respect to all shared parameters cost one backward pass per
# task. With `gradients="features"`, a method compares the gradients with
# respect to the tensors at which the shared layers end, and one backward pass
# is enough for all tasks. Does it see the same?

# %%
kinds = ["parameters", "features"]
gramians = {kind: model.gramian(*batch, gradients=kind) for kind in kinds}


def normalized(gramian):
    lengths = np.sqrt(np.diagonal(gramian))
    return gramian / np.outer(lengths, lengths)


keras_mtl.plots.gradient_cosines(
    {kind: normalized(gramian) for kind, gramian in gramians.items()}, tasks
)
plt.show()

# %% [markdown]
# It does not. These are after the last epoch, and what conflicts in the
# parameters is nearly at right angles in the features. There, each molecule has
# an entry of its own, and the errors of two tasks agree on one molecule and
# disagree on the next; in the parameters, all molecules meet.
#
# And the directions: the cosine between the one
# that a method takes with the gradients of the parameters and the one with
# those of the features, both in the space of the parameters.

# %%
exact = gramians["parameters"]
for method in methods[1:]:
    a, b = (weights_of(method, gramian) for gramian in gramians.values())
    cosine = a @ exact @ b / np.sqrt((a @ exact @ a) * (b @ exact @ b))
    print(f"{method:9} {cosine:5.2f}")

# %% [markdown]
# The directions of PCGrad, CAGrad and UPGrad are nearly the same, as those of
# the methods that stay near the sum must be; the others differ more. Features
# show the lengths of the gradients, and here little of the conflicts: take them
# for their price, where tasks differ in scale, and parameters where conflicts
# are what you are after.
#
# What each costs, in backward passes through the shared layers:
#
# | weighting | passes per step |
# |---|---|
# | `"equal"`, loss balancing | 1 |
# | `NashMTL()` | one per task |
# | `NashMTL(update_every=10)` | one per task in every tenth step, else 1 |
# | `NashMTL(gradients="features")` | 1 |
#
# How much time that is depends on the network: the deeper the shared layers,
# the more. `keras_mtl.benchmark` measures it on your own model, and
# `keras_mtl.plots.cost_and_quality` draws it against the errors.
#
# ## When to use which
#
# | cosines | lengths | what fits |
# |---|---|---|
# | none negative | alike | `"equal"` |
# | few negative | far apart | `"scale_invariant"`, `"igb_v1"` |
# | negative | as you want them | `"pcgrad"`, `"cagrad"`, `"upgrad"` |
# | negative | far apart | `"nash_mtl"`, `"imtl_g"`, `["igb_v1", "upgrad"]` |
# | no task may lose | any | `"mgda"`, `"upgrad"`, `"dualproj"` |
# | two camps to the end | any | layers of their own for each camp |
#
# - Loss balancing changes the lengths and not the angles, and costs nothing.
#   Where lengths are the problem, begin with it.
# - PCGrad, CAGrad and UPGrad stay near the sum and take from it what hurts, so
#   that long gradients still count for more. For Nash-MTL and IMTL-G, the
#   lengths do not matter. A chain does both.
# - MGDA, UPGrad and DualProj oppose no task, on the batch that they see. MGDA
#   follows the shortest gradients and makes the smallest steps.
# - With many tasks or a deep trunk, take `gradients="features"`, or
#   `update_every=10`.
#
# A conflict is a reason to try a gradient balancing, not a proof that it helps:
# the cosines are those of one batch, and what counts are the errors at the end.
# `keras_mtl.benchmark` compares them over several seeds, as in the
# [quick start](quick_start.ipynb).
