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
# # A variational autoencoder: two terms of one bound as two tasks
#
# **Description:** Train a variational autoencoder on handwritten digits, whose
# reconstruction and divergence are tasks, and see what a weighting changes.<br>
# **Runs on:** TensorFlow, JAX and PyTorch; half a minute on two CPU
# cores.<br>
# **Install:** `pip install -e ".[demo,datasets]" jupyter` in a clone of the
# repository.

# %% [markdown]
# ## Introduction
#
# A [variational autoencoder](https://arxiv.org/abs/1312.6114) is trained on the
# sum of two terms:
#
# - **reconstruction**: how well the decoder brings back an image from its code;
# - **divergence**: how far the codes are from a normal distribution, of which
#   new codes can be drawn later. No label belongs to it.
#
# They pull against each other. With too much of the second, the codes are noise
# and all images come out alike; with too little, a new code is no image. How
# much is right depends on the unit of the first, and in Keras that is easily
# wrong by a factor: `"mse"` is a *mean* over the pixels, where the bound has a
# sum.

# %% [markdown]
# ## Setup

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from keras import ops
from sklearn.datasets import load_digits

import keras_mtl

# %% tags=["parameters"]
epochs = 40

# %% [markdown]
# ## The data
#
# 1,797 handwritten digits of 8 × 8 pixels, which come with scikit-learn.

# %%
images = np.float32(load_digits().images.reshape(-1, 64) / 16)
images = images[np.random.default_rng(0).permutation(len(images))]
train, test = images[:1500], images[1500:]
print(train.shape, test.shape)

# %% [markdown]
# ## The model
#
# Two small layers: one draws a code, the other one computes the divergence of
# each example's distribution of codes from the normal one.


# %%
class Draw(layers.Layer):
    """Draws a code from its distribution."""

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, mean, log_variance):
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class Divergence(layers.Layer):
    """The divergence of each code's distribution from N(0, 1), in nats."""

    def call(self, mean, log_variance):
        kl = mean**2 + ops.exp(log_variance) - log_variance - 1
        return 0.5 * ops.sum(kl, axis=-1)


# %% [markdown]
# The loss of the divergence is `OutputIsLoss`: the layer's output is the loss,
# and `fit` asks for no label of it.


# %%
CODE = 8


def build_model(loss="mse", weighting="equal"):
    keras.utils.set_random_seed(0)
    image = keras.Input((64,))
    h = layers.Dense(128, "relu")(image)
    mean = layers.Dense(CODE)(h)
    log_variance = layers.Dense(CODE)(h)
    code = Draw()(mean, log_variance)
    decoder = keras.Sequential(
        [
            keras.Input((CODE,)),
            layers.Dense(128, "relu"),
            layers.Dense(64, "sigmoid"),
        ]
    )
    outputs = {
        "reconstruction": decoder(code),
        "divergence": Divergence()(mean, log_variance),
    }
    model = keras_mtl.MultiTaskModel(image, outputs)
    steps = epochs * -(-len(train) // 64)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(3e-3, steps)
        ),
        loss={
            "reconstruction": loss,
            "divergence": keras_mtl.losses.OutputIsLoss(),
        },
        weighting=weighting,
    )
    encoder = keras.Model(image, [mean, log_variance])
    return model, encoder, decoder


model, _, _ = build_model()
model.summary_by_task()

# %% [markdown]
# The encoder is shared, the decoder belongs to the reconstruction.

# %% [markdown]
# ## Five ways to set the two against each other
#
# - `equal`, `uncertainty` and `nash_mtl` on the loss `"mse"`;
# - fixed weights: if pixels are wrong by a standard deviation of 0.22, the
#   reconstruction is 64 / (2 · 0.22²), about 660 times, the `"mse"`;
# - a loss in the unit of the bound, for which that deviation need not be known:
#   if each image has the one that fits it, half of the pixels times the
#   logarithm of the squared error remain
#   ([Rybkin et al., 2021](https://arxiv.org/abs/2006.13202)).


# %%
def calibrated(y_true, y_pred):
    squared_errors = ops.mean((y_true - y_pred) ** 2, axis=-1)
    return 64 / 2 * ops.log(squared_errors)


settings = {
    "equal": dict(weighting="equal"),
    "uncertainty": dict(weighting="uncertainty"),
    "nash_mtl": dict(weighting="nash_mtl"),
    "fixed weights": dict(
        weighting={"reconstruction": 660.0, "divergence": 1.0}
    ),
    "calibrated": dict(loss=calibrated),
}

# %% [markdown]
# Beside the error and the divergence on test images, the table says how many of
# the eight numbers of a code are *used*, those whose mean differs from image to
# image, and whether `fit` warned that a weight ran away.

# %%
decoders, rebuilt = {}, {}
print("               squared error  divergence  used  warned")
for name, arguments in settings.items():
    model, encoder, decoders[name] = build_model(**arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model.fit(
            train,
            {"reconstruction": train},
            batch_size=64,
            epochs=epochs,
            verbose=0,
        )
    warned = any("mean weight" in str(w.message) for w in caught)
    means, log_variances = encoder.predict(test, verbose=0)
    rebuilt[name] = decoders[name].predict(means, verbose=0)
    squared_error = np.mean((test - rebuilt[name]) ** 2)
    divergence = means**2 + np.exp(log_variances) - log_variances - 1
    print(
        f"{name:14}{squared_error:14.4f}"
        f"{0.5 * divergence.sum(axis=-1).mean():12.2f}"
        f"{(means.std(axis=0) > 0.1).sum():6}"
        f"{'yes' if warned else 'no':>8}"
    )

# %% [markdown]
# Five test images, then what the decoders make of their codes, then what they
# make of new codes drawn from the normal distribution:

# %%
codes = np.random.default_rng(1).normal(size=(5, CODE))
rows = {"images": (test[:5], np.zeros((5, 64)))}
for name in settings:
    drawn = decoders[name].predict(codes, verbose=0)
    rows[name] = (rebuilt[name][:5], drawn)

figure, axes = plt.subplots(len(rows), 10, figsize=(8, 5))
for row, (name, halves) in zip(axes, rows.items()):
    for ax, image in zip(row, np.concatenate(halves)):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
axes[0, 2].set_title("test images", fontsize=10)
axes[0, 7].set_title("from new codes", fontsize=10)
plt.show()

# %% [markdown]
# With the mean over the pixels and equal weights, the divergence wins: the
# codes are noise, none of their numbers is used, and every image becomes the
# mean of all images.
#
# Two weightings do not help, and this is worth knowing. They do not know that a
# divergence of 0 is no success. The smaller it gets, the more weight both give
# to it, since one divides by the loss and the other one by the length of the
# gradient. `fit` warns of a weight that runs away. A term that can be 0 where
# nothing has been learned needs a weight that *says* how much of it is wanted,
# or a loss in the right unit: with either of these, all eight numbers are used,
# and new codes become digits.
#
# So standardize first, here to the unit of the bound, and balance what remains.
