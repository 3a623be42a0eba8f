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
# # Quick start: one network, six properties of molecules
#
# **Description:** Balance the tasks of a Keras model by changing one argument
# of `compile`, and compare the results.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; about two minutes on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo]" jupyter` in a clone of the repository.

# %% [markdown]
# ## Introduction
#
# A network with several outputs, one for each *task*, is usually trained on the
# sum of their losses. The tasks with the largest gradients then decide what the
# layers that all of them share learn, and the others get what is left. A
# *weighting* gives each task a weight, computed anew in every step:
#
# - **loss balancing** computes it from the losses of the tasks;
# - **gradient balancing** computes it from their gradients: the directions in
#   which each task alone would move the shared layers.
#
# In `keras_mtl`, a weighting is an argument of `compile` and `fit`. All else is
# plain Keras.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import pathlib
import textwrap

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers

import keras_mtl
from keras_mtl.datasets import qm9
from keras_mtl.models.atom_sum import AtomSum
from keras_mtl.models.distance_expansion import DistanceExpansion
from keras_mtl.models.interaction import Interaction

keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# [QM9](https://doi.org/10.1038/sdata.2014.22) has 130,831 small organic
# molecules: the positions of their atoms, and properties computed with quantum
# mechanics. The install line above brings the data; nothing is downloaded. Six
# different properties and 2,000 molecules are enough here: dipole moment
# (`mu`), polarizability (`alpha`), energy of the highest occupied orbital
# (`homo`), spatial extent (`r2`), zero-point vibrational energy (`zpve`), and
# atomization energy (`u0`).

# %% tags=["parameters"]
tasks = ["mu", "alpha", "homo", "r2", "zpve", "u0"]
molecules = 2000
epochs = 12
seeds = [0, 1]

# %% [markdown]
# `load_data` draws the molecules, splits them, and scales each target to zero
# mean and unit standard deviation over the training split. The `statistics`
# bring a prediction, or an error, back to its unit.

# %%
train, validation, test, statistics = qm9.load_data(molecules)


def choose_tasks(split):
    inputs, targets = split
    return inputs, {task: targets[task] for task in tasks}


train, validation, test = map(choose_tasks, (train, validation, test))

for name, array in train[0].items():
    print(f"{name:9} {array.dtype} {array.shape}")
for task in tasks:
    mean, std, unit = statistics[task]
    print(f"{task:9} {mean:.4g} ± {std:.4g} {unit}")

# %% [markdown]
# ## The network
#
# Any multi-output model of the Functional API will do. In this one, the atoms
# send each other messages three times, and the sum over the atoms describes the
# molecule. All tasks share these layers; each then has two dense layers of its
# own. The keys of `outputs` are the names of the tasks.


# %%
def build_model():
    atoms = keras.Input((qm9.MAX_ATOMS,), dtype="int32", name="atoms")
    positions = keras.Input((qm9.MAX_ATOMS, 3), name="positions")
    distances = DistanceExpansion()(atoms, positions)
    states = layers.Embedding(
        10, 48, keras.initializers.RandomNormal(stddev=1.0)
    )(atoms)
    for _ in range(3):
        states = Interaction(48)(states, distances)
    features = AtomSum()(states, atoms)

    outputs = {}
    for task in tasks:
        hidden = layers.Dense(16, activation="silu")(features)
        outputs[task] = layers.Dense(1, name=task)(hidden)

    inputs = {"atoms": atoms, "positions": positions}
    return keras_mtl.MultiTaskModel(inputs, outputs)


model = build_model()
print(f"{model.count_params():,} parameters")

# %% [markdown]
# ## Training with equal weights
#
# `weighting="equal"` is the default, and exactly what Keras does without
# `keras_mtl`.

# %%
loss = {task: "mse" for task in tasks}
metrics = {task: ["mae"] for task in tasks}

model.compile(optimizer="adam", loss=loss, metrics=metrics, weighting="equal")
history = model.fit(
    *train, batch_size=64, epochs=epochs, validation_data=validation, verbose=0
)

figure, axes = plt.subplots(
    1, 2, figsize=(10, 3.6), sharey=True, layout="constrained"
)
keras_mtl.plots.task_losses(history, ax=axes[0])
keras_mtl.plots.task_losses(history, ax=axes[1], validation=True)
plt.show()

# %% [markdown]
# All targets have unit variance, so that all losses start near 1. Twelve epochs
# later the largest is more than thirty times the smallest, on molecules that
# the network has not seen, too, and most of their sum is `mu` and `homo`.
#
# The mean absolute errors on the test molecules, in their units:

# %%
results = model.evaluate(*test, verbose=0, return_dict=True)
for task in tasks:
    error = results[f"{task}_mae"] * statistics[task].std
    print(f"{task:6} {error:8.3g} {statistics[task].unit}")

# %% [markdown]
# ## Changing the weighting
#
# One argument changes. [IGBv1](https://arxiv.org/abs/2307.15429) balances
# losses: it takes their logarithms, and gives more weight to a task whose loss
# is still large compared to what it was in the second epoch.

# %%
model = build_model()
model.compile(optimizer="adam", loss=loss, metrics=metrics, weighting="igb_v1")
history = model.fit(
    *train, batch_size=64, epochs=epochs, validation_data=validation, verbose=0
)

keras_mtl.plots.task_weights(history)
plt.show()

# %% [markdown]
# A task with a small loss now has a large weight. `history.history` has the
# weights (`"weight/zpve"`), the loss of each task (`"zpve_loss"`), and the sum
# of the losses without the weights (`"loss"`), so that runs with different
# weightings compare.

# %% [markdown]
# ## Comparing weightings
#
# `keras_mtl.benchmark` trains the model with several weightings and seeds. With
# one seed, all weightings start from the same parameters and see the same
# batches.
#
# The third weighting is [Nash-MTL](https://arxiv.org/abs/2202.01017), which
# balances gradients: it looks for the step from which all tasks gain in
# proportion, whatever the scale of their losses. By default it takes the
# gradient of each task with respect to all shared parameters, which costs one
# backward pass through the network per task. With `gradients="features"` it
# takes them with respect to the features, the numbers at which the shared
# layers end, and one backward pass is enough.
#
# The learning rate decays to zero. With a constant one, the errors depend on
# where the last batches happen to leave the network, and can differ as much
# between seeds as between weightings.

# %%
steps = epochs * -(-len(train[0]["atoms"]) // 64)
decay = keras.optimizers.schedules.CosineDecay(2e-3, steps)

result = keras_mtl.benchmark(
    build_model,
    train,
    compile_args={
        "optimizer": keras.optimizers.Adam(decay),
        "loss": loss,
        "metrics": metrics,
    },
    weightings=[
        "equal",
        "igb_v1",
        keras_mtl.weightings.NashMTL(gradients="features"),
    ],
    seeds=seeds,
    epochs=epochs,
    batch_size=64,
    test_data=test,
    metrics={task: "mae" for task in tasks},
    scale={f"{task}_mae": statistics[task].std for task in tasks},
    progress=False,
)
# The last row has times, which such short steps are too noisy to compare.
print(str(result).split("\ntime")[0])

# %% [markdown]
# A row is the mean absolute error of a task, in the units printed above: mean ±
# standard deviation of two seeds. The rank is that among the weightings,
# averaged over the tasks, and Δm the mean relative change of the errors against
# equal weights, in percent: lower is better.

# %%
keras_mtl.plots.delta_m(result)
plt.show()

# %% [markdown]
# Which tasks gain, and which lose? 1 is the best of a column.

# %%
keras_mtl.plots.task_ranks(result)
plt.show()

# %%
keras_mtl.plots.task_weights(result)
plt.show()

# %% [markdown]
# Both weightings lower the errors of four tasks; IGBv1 nearly halves that of
# `zpve`. Both raise those of `mu` and `homo`, which equal weights favor.
# Nash-MTL does not look at the losses, and yet its weights end in nearly the
# same order.
#
# Two seeds, 1,600 molecules and twelve epochs are a demonstration, not a
# ranking: with other tasks, more data or longer training, the order can change.
# Where the time of a step matters, on your own model and machine,
# `keras_mtl.plots.cost_and_quality(result)` draws it against Δm.

# %% [markdown]
# ## Combining two weightings
#
# A list is a chain: a loss balancing, then a gradient balancing that sees the
# gradients of the weighted losses. Given to `fit`, a weighting replaces that of
# `compile`, and the optimizer keeps its state.
#
# Nash-MTL finds the same direction for the shared layers at any scale of the
# losses, so that IGBv1 changes nothing there. The layers that a task has for
# itself follow IGBv1 alone, as in Algorithm 3 of its paper.

# %%
nash = keras_mtl.weightings.NashMTL(gradients="features")
history = model.fit(
    *train, batch_size=64, epochs=2, weighting=["igb_v1", nash], verbose=0
)
print([round(value, 3) for value in history.history["loss"]])

# %% [markdown]
# ## Missing labels
#
# A label that is NaN is missing. Here, nine out of ten molecules lose their
# dipole moment. The loss of `mu` is then the mean over those that have one, and
# the other tasks learn from all molecules as before.

# %%
inputs, targets = train
is_missing = np.random.default_rng(0).random(targets["mu"].shape) < 0.9
partial = {**targets, "mu": np.where(is_missing, np.nan, targets["mu"])}

history = model.fit(inputs, partial, batch_size=64, epochs=2, verbose=0)
print([round(value, 3) for value in history.history["mu_loss"]])

# %% [markdown]
# ## Saving and exporting
#
# A `.keras` file has all that training needs to go on, including the state of
# the optimizer and of the weighting.

# %%
folder = pathlib.Path("../saved_models")
folder.mkdir(exist_ok=True)
model.save(folder / "quick_start.keras")

loaded = keras.saving.load_model(folder / "quick_start.keras")
predictions = loaded.predict(test[0], verbose=0)
np.testing.assert_allclose(
    predictions["mu"], model.predict(test[0], verbose=0)["mu"], atol=1e-5
)
print([type(weighting).__name__ for weighting in loaded.weighting.weightings])

# %% [markdown]
# An export is the inference graph alone, a TensorFlow SavedModel that does not
# need `keras_mtl`. Keras writes none from PyTorch.

# %%
if keras.backend.backend() != "torch":
    model.export(folder / "quick_start", verbose=False)

# %% [markdown]
# ## Where to go from here
#
# `make demo` trains on all eleven properties, with five weightings. The names
# that `weighting=` takes:

# %%
names = keras_mtl.weightings.names()
print(len(names), "weightings:")
print(textwrap.fill(", ".join(names), 76))
