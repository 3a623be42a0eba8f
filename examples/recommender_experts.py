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
# # Experts for a recommender: clicks, purchases, and who sees them
#
# **Description:** Predict clicks and purchases with one shared network, with
# experts (MMoE, PLE), and over the whole space of impressions (ESMM).<br>
# **Runs on:** TensorFlow, JAX and PyTorch; about two minutes on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo,datasets]" jupyter` in a clone of the
# repository.

# %% [markdown]
# ## Introduction
#
# A shop shows items (*impressions*). Some are clicked, and of those, some are
# bought. Two questions are asked for each impression:
#
# - **click**: will it be clicked? The label is known for every impression.
# - **buy**: if it is clicked, will it be bought? The label is known only for
#   what *was* clicked, and these impressions are not like the others. Yet the
#   answer is needed before anybody has clicked.
#
# Two ideas help, and they can be combined:
#
# 1. **Experts.** Clicking and buying do not need the same features. Instead of
#    one shared network, there are several, and each task mixes them by a gate
#    of its own.
# 2. **The whole space** (ESMM). The probability of a click *and* a purchase is
#    the product of the two answers, and has a label for every impression. So
#    train on the product.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from sklearn.metrics import roc_auc_score

import keras_mtl
from keras_mtl import architectures

# %% tags=["parameters"]
impressions = 20000
epochs = 6
seeds = [0, 1]

# %% [markdown]
# ## The data
#
# We make the data, which has one advantage over a real shop's: we know for
# *every* impression whether it would be bought if it were clicked. A model is
# trained without this knowledge, and tested with it.
#
# An impression has 20 numbers that describe the user and the item. Three
# hidden interests come from them. The first one drives clicks; the second one
# drives both; the third one drives purchases. What is shown in a loud way is
# clicked more and bought less: the first interest counts against a purchase.


# %%
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def standardized(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def make_data(count):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 20))
    hidden = np.tanh(x @ rng.normal(size=(20, 12)) / 3)
    loud, good, useful = standardized(hidden @ rng.normal(size=(12, 3))).T
    would_click = sigmoid(1.5 * loud + good - 1.8)
    would_buy = sigmoid(1.5 * useful + good - loud - 1.5)
    click, buy = rng.uniform(size=(2, count)) < [would_click, would_buy]
    x, click, buy = (np.float32(a) for a in (x, click, buy))
    labels = {"click": click[:, None], "buy": buy[:, None]}
    return x, labels, {"click": would_click, "buy": would_buy}


x, y, probabilities = make_data(2 * impressions)
train, test = slice(impressions), slice(impressions, None)
clicked = y["click"][:, 0] == 1
print(f"clicked              {clicked.mean():.1%} of {len(x)} impressions")
print(f"would be bought      {y['buy'].mean():.1%}")
print(f"bought when clicked  {y['buy'][clicked].mean():.1%}")

# %% [markdown]
# What was not clicked has no label for `buy`. In `keras_mtl`, a label that is
# NaN is missing, and the loss of its task is the mean over the labels that are
# there. `click_and_buy` has a label for every impression.

# %%
labels = {
    "click": y["click"],
    "buy": np.where(y["click"] == 1, y["buy"], np.float32(np.nan)),
    "click_and_buy": y["click"] * y["buy"],
}

# %% [markdown]
# ## Four ways to share
#
# Each function of `keras_mtl.architectures` takes a tensor, the tasks, and a
# function that makes an expert. It returns one tensor per task, on which the
# head is put. The experts are smaller where there are more of them, so that all
# models have about the same number of parameters.


# %%
tasks = ["click", "buy"]


def expert(units):
    return lambda name: keras.Sequential(
        [layers.Dense(units, "relu"), layers.Dense(16, "relu")], name=name
    )


def features_of(architecture, x):
    if architecture == "mmoe":
        return architectures.mmoe(x, tasks, expert(24), num_experts=4)
    if architecture == "ple":
        return architectures.ple(
            x, tasks, expert(12), levels=2, num_experts=1, num_shared=2
        )
    return architectures.hard_parameter_sharing(x, tasks, expert(100))


# %% [markdown]
# And ESMM are the two lines with the product. Its `buy` has no loss of its own:
# it is an output that is trained by way of the product.


# %%
def build_model(architecture, whole_space):
    x = keras.Input((20,))
    outputs = {
        task: layers.Dense(1, "sigmoid", name=task)(h)
        for task, h in features_of(architecture, x).items()
    }
    if whole_space:
        product = layers.Multiply()([outputs["click"], outputs["buy"]])
        outputs["click_and_buy"] = product
    return keras_mtl.MultiTaskModel(x, outputs)


def compile_model(model, whole_space, weighting="equal"):
    trained = ["click", "click_and_buy" if whole_space else "buy"]
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(
                3e-3, epochs * -(-impressions // 256)
            )
        ),
        loss=dict.fromkeys(trained, "binary_crossentropy"),
        weighting=weighting,
    )
    return {task: labels[task] for task in trained}


for architecture in ["shared", "mmoe", "ple"]:
    model = build_model(architecture, whole_space=False)
    compile_model(model, whole_space=False)
    print(architecture)
    model.summary_by_task()

# %% [markdown]
# `summary_by_task` says what counts as shared, as a weighting sees it: in the
# MMoE the gates belong to the tasks, and in the PLE some experts, too. With
# Graphviz, `keras_mtl.plots.task_graph(model, "ple.png")` draws it.

# %% [markdown]
# ## Training and testing
#
# The AUC is the probability that a positive example gets a higher score than a
# negative one. It is measured for three questions on impressions of the test
# split: `click`; `buy` for *all* impressions, which only made data can tell;
# and `click_and_buy`.


# %%
def aucs_of(click, buy):
    """Returns the AUC of each question for predicted probabilities."""
    is_click, is_buy = (y[task][test, 0] for task in tasks)
    return [
        roc_auc_score(is_click, click),
        roc_auc_score(is_buy, buy),
        roc_auc_score(is_click * is_buy, click * buy),
    ]


def train_and_test(architecture, whole_space=False, weighting="equal"):
    """Returns the last model, and an array of (seeds, questions)."""
    rows = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = build_model(architecture, whole_space)
        chosen = compile_model(model, whole_space, weighting)
        chosen = {task: array[train] for task, array in chosen.items()}
        model.fit(x[train], chosen, batch_size=256, epochs=epochs, verbose=0)
        found = model.predict(x[test], batch_size=2048, verbose=0)
        rows.append(aucs_of(*(found[task][:, 0] for task in tasks)))
    return model, np.array(rows)


def show(results):
    print(" " * 22 + "click        buy          click_and_buy")
    for name, aucs in results.items():
        cells = zip(aucs.mean(axis=0), aucs.std(axis=0))
        print(f"{name:20}", *[f"{m:.3f} ± {s:.3f}" for m, s in cells])


results, models = {}, {}
for architecture in ["shared", "mmoe", "ple"]:
    for whole_space in [False, True]:
        name = architecture + (" + ESMM" if whole_space else "")
        models[name], results[name] = train_and_test(architecture, whole_space)
show(results)
best = aucs_of(*(probabilities[task][test] for task in tasks))
print(f"{'the true answers':20}", *[f"{value:.3f}        " for value in best])

# %%
figure, axes = plt.subplots(
    1, 3, figsize=(10, 3.2), sharey=True, layout="constrained"
)
names = list(results)[::-1]
for i, (ax, question) in enumerate(
    zip(axes, ["click", "buy", "click_and_buy"])
):
    for j, name in enumerate(names):
        aucs = results[name][:, i]
        color = "#D55E00" if "ESMM" in name else "#0072B2"
        ax.plot(aucs, [j] * len(aucs), "o", color=color, alpha=0.6)
    ax.set_title(question, loc="left", fontsize=10)
    ax.set(xlabel="AUC", yticks=range(len(names)), yticklabels=names)
    ax.grid(axis="x", color="0.9")
plt.show()

# %% [markdown]
# Here, one shared network is as good as anything: more experts do not help, and
# PLE is a little worse on clicks. The two questions have three interests in
# common, and with 20,000 impressions it costs more to learn who needs which
# expert than there is to gain. Papers that report gains have millions.
#
# ESMM lowers the AUC of `buy` on all impressions. It was made for data where
# clicks are rare, so that `buy` has hardly a label of its own. Here a quarter
# is clicked, and 5,000 labels that ask the very question are worth more than
# 20,000 that ask for a product: a product of 0 does not say which factor was
# small.
#
# So try the plain network first. With your data, these lines tell you whether
# it is enough.

# %% [markdown]
# ## What the gates chose
#
# The mean share of each expert, over the impressions of the test split:

# %%
mmoe = models["mmoe"]
gates = keras.Model(
    mmoe.inputs, [mmoe.get_layer(f"mmoe_{task}_gate").output for task in tasks]
)
shares = [g.mean(axis=0) for g in gates.predict(x[test], verbose=0)]

figure, ax = plt.subplots(figsize=(5, 2), layout="constrained")
image = ax.imshow(shares, vmin=0, cmap="Blues", aspect="auto")
ax.set(xticks=range(4), yticks=[0, 1], yticklabels=tasks, xlabel="expert")
figure.colorbar(image)
plt.show()

# %% [markdown]
# After six epochs, the gates are still close to a quarter each: both tasks take
# something of all experts. A gate that had found *its* expert would be dark in
# one place.

# %% [markdown]
# ## And a weighting
#
# An architecture decides what is shared, a weighting how the tasks move it. Any
# weighting works on any of these models:

# %%
weighted = {"mmoe": results["mmoe"]}
for weighting in ["uncertainty", "nash_mtl"]:
    _, weighted[f"mmoe, {weighting}"] = train_and_test(
        "mmoe", weighting=weighting
    )
show(weighted)

# %% [markdown]
# The differences are of the size of those between seeds. Both losses are cross
# entropies of about the same size and the tasks do not fight, so that there is
# little to balance. Where a network is too small for both tasks, or their
# losses are of different kinds, there is more: [the quick
# start](quick_start.ipynb) has such a case.
