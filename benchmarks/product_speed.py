"""How fast products of matrices are that have the shapes of IGBv2's agent.

An update of the agent is little else, so that this bounds its cost from below:
see `docs/costs.md`. A call of the compiled program has 100 products, each of
the result of the one before, as the layers of a network.

    KERAS_BACKEND=jax python benchmarks/product_speed.py
"""

import time

import keras
import numpy as np
from keras import ops

from keras_mtl.backend import compiling

TRANSITIONS, UNITS = 256, 128
PRODUCTS, CALLS = 100, 500


def chain(x, kernel):
    for _ in range(PRODUCTS):
        x = ops.matmul(x, kernel)
    return x


def main():
    x = ops.ones((TRANSITIONS, UNITS))
    kernel = ops.eye(UNITS)
    function = compiling.compiled(chain)
    ops.convert_to_numpy(function(x, kernel))
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        ops.convert_to_numpy(function(x, kernel))
        seconds.append(time.perf_counter() - start)
    operations = PRODUCTS * 2 * TRANSITIONS * UNITS**2
    median, best = operations / np.median(seconds), operations / min(seconds)
    print(
        f"{keras.backend.backend()}: {median / 1e9:.0f} GFLOP/s in the median, "
        f"{best / 1e9:.0f} at best"
    )


if __name__ == "__main__":
    main()
