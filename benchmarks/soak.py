"""A long training: memory, traces and weights over 50,000 steps.

A small network is trained by each of IGBv2, BanditMTL, Nash-MTL and Exp3.S task
sampling, in a process of its own. After a warm-up of a fifth of the steps,

- the memory stays within 5 % of what it was;
- the step is not traced again;
- the task weights stay what the method says: finite, positive, and, but for
  Nash-MTL, of a constant sum (of λ for IGBv2, of the probabilities for Exp3.S).

The weights are checked in each step, the memory (VmRSS, Linux) a hundred times.

    python benchmarks/soak.py                       # TensorFlow and JAX
    python benchmarks/soak.py --modes jax-jit --methods igb_v2 --steps 5000

The modes are those of the other benchmarks; `torch` and `jax` trace nothing.

It ends with an error if one of them fails.
"""

import argparse
import json
import math
import sys
import time

import networks
import paired
import worker

METHODS = ["igb_v2", "bandit_mtl", "nash_mtl", "exp3s"]
MODES = ["tensorflow", "jax-jit"]
TASKS = 4
BATCH_SIZE = 32
SAMPLES = 100
WARM_UP = SAMPLES // 5
MAX_GROWTH = 1.05
# Sums of T float32 numbers near 1.
MAX_SUM_ERROR = 1e-5


def measure(method, steps, jit=False):
    """Trains on the backend of this process.

    Args:
        method: One of `METHODS`.
        steps: Number of steps, rounded up to a multiple of `SAMPLES`.
        jit: Whether to compile the step with XLA.

    Returns:
        Dict of what was seen. `traces` and `memory_mib` are lists with an entry
        for each of `SAMPLES` epochs, `sum_error` and `smallest` the extremes of
        all steps.
    """
    import keras

    import keras_mtl

    steps_per_epoch = math.ceil(steps / SAMPLES)
    x, y = networks.data((64,), steps_per_epoch * BATCH_SIZE, TASKS)
    cls, recorder = watched_model(method, steps_per_epoch)
    model = networks.mlp(cls, TASKS, width=32, depth=1)
    model.compile(
        "adam",
        loss=dict.fromkeys(y, "mse"),
        jit_compile=jit,
        weighting="equal" if method == "exp3s" else method,
    )
    if method == "exp3s":
        recorder.sampler = sampler = keras_mtl.selection.TaskSampler(
            {task: (x, {task: labels}) for task, labels in y.items()},
            policy="exp3s",
            batch_size=BATCH_SIZE,
            steps_per_epoch=steps_per_epoch,
            seed=0,
        )
        data = {"x": sampler}
    else:
        data = {"x": x, "y": y, "batch_size": BATCH_SIZE}
    model.fit(**data, epochs=SAMPLES, verbose=0, callbacks=[recorder])
    return {**recorder.record, "keras": keras.__version__}


def watched_model(method, steps_per_epoch):
    """Returns a class of models, and the callback that records its training."""
    import keras
    import numpy as np
    from keras import ops

    import keras_mtl

    class Weights(keras.metrics.Metric):
        """The extremes of the weights over the steps of an epoch."""

        def __init__(self):
            super().__init__(name="weights")
            add = self.add_variable
            self.sum_error = add((), "zeros", name="sum_error")
            self.smallest = add((), "zeros", name="smallest")
            self.not_finite = add((), "zeros", name="not_finite")

        def reset_state(self):
            super().reset_state()
            self.smallest.assign(math.inf)

        def update_state(self, weights, share):
            finite = ops.all(ops.isfinite(weights))
            self.not_finite.assign_add(ops.where(finite, 0.0, 1.0))
            error = ops.where(finite, ops.abs(share - 1), 0.0)
            self.sum_error.assign(ops.maximum(self.sum_error, error))
            smallest = ops.where(finite, ops.min(weights), math.inf)
            self.smallest.assign(ops.minimum(self.smallest, smallest))

        def result(self):
            names = "sum_error", "smallest", "not_finite"
            return {name: getattr(self, name) + 0 for name in names}

    class Watched(keras_mtl.MultiTaskModel):
        """Counts the traces of its forward pass, and keeps `Weights`."""

        calls = 0

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if method != "exp3s":
                self.watched_weights = Weights()

        def call(self, *args, **kwargs):
            Watched.calls += 1
            return super().call(*args, **kwargs)

        def _record_weights(self, weights):
            super()._record_weights(weights)
            share = ops.ones(())
            if method == "bandit_mtl":
                share = ops.sum(weights) / TASKS
            elif method == "igb_v2":
                # The weights are λ / L.
                share = ops.sum(weights * self.weighting.last_losses) / TASKS
            self.watched_weights.update_state(weights, share)

    class Recorder(keras.callbacks.Callback):
        """Records each epoch, and shows the progress."""

        sampler = None

        def on_train_begin(self, logs=None):
            self.start = time.perf_counter()
            self.record = {
                "steps": SAMPLES * steps_per_epoch,
                "step_ms": None,
                "memory_mib": [],
                "traces": [],
                "sum_error": 0.0,
                "smallest": math.inf,
                "not_finite": 0.0,
            }

        def on_train_batch_end(self, batch, logs=None):
            if self.sampler is None:
                return
            p = self.sampler.policy.probabilities
            finite = bool(np.all(np.isfinite(p)))
            self.add(
                sum_error=abs(float(p.sum()) - 1),
                smallest=float(p.min()),
                not_finite=float(not finite),
            )

        def on_epoch_end(self, epoch, logs=None):
            if self.sampler is None:
                self.add(
                    logs["sum_error"], logs["smallest"], logs["not_finite"]
                )
            record = self.record
            memory = round(worker.memory("VmRSS"), 1)
            record["memory_mib"].append(memory)
            record["traces"].append(Watched.calls)
            steps = (epoch + 1) * steps_per_epoch
            seconds = time.perf_counter() - self.start
            record["step_ms"] = 1e3 * seconds / steps
            if (epoch + 1) % 10 == 0:
                print(
                    f"  {method}: {steps:,} of {record['steps']:,} steps, "
                    f"{record['step_ms']:.2f} ms a step, "
                    f"{memory:.0f} MiB",
                    file=sys.stderr,
                    flush=True,
                )

        def add(self, sum_error, smallest, not_finite):
            record = self.record
            record["sum_error"] = max(record["sum_error"], float(sum_error))
            record["smallest"] = min(record["smallest"], float(smallest))
            record["not_finite"] += float(not_finite)

    return Watched, Recorder()


def growth(record):
    """The largest memory after the warm-up, over that at its end."""
    memory = record["memory_mib"]
    return max(memory[WARM_UP:]) / memory[WARM_UP - 1]


def growth_per_step(record):
    """The bytes a step of the straight line through the later memory."""
    memory = record["memory_mib"][WARM_UP:]
    mean = sum(memory) / len(memory)
    middle = (len(memory) - 1) / 2
    slope = sum((i - middle) * (m - mean) for i, m in enumerate(memory))
    slope /= sum((i - middle) ** 2 for i in range(len(memory)))
    return slope * 2**20 * SAMPLES / record["steps"]


def later_traces(record):
    """The number of traces after the warm-up."""
    return record["traces"][-1] - record["traces"][WARM_UP - 1]


def failures(record, is_traced=True):
    """Lists what a training did that it must not, as sentences."""
    found = {
        f"the memory grew to {growth(record):.2f} of what it was": (
            growth(record) > MAX_GROWTH
        ),
        f"the step was traced {later_traces(record)} times more": (
            is_traced and later_traces(record) > 0
        ),
        f"the weights were not finite in {record['not_finite']:.0f} steps": (
            record["not_finite"] > 0
        ),
        f"the smallest weight was {record['smallest']:.3g}": (
            not record["smallest"] > 0
        ),
        f"the sum was {record['sum_error']:.2g} off": (
            not record["sum_error"] <= MAX_SUM_ERROR
        ),
    }
    return [sentence for sentence, is_so in found.items() if is_so]


def show(mode, method, record):
    memory = record["memory_mib"]
    print(
        f"{mode:14} {method:10} {record['steps']:8,} {record['step_ms']:8.2f} "
        f"{memory[WARM_UP - 1]:8.0f} {max(memory[WARM_UP:]):8.0f} "
        f"{growth(record):7.3f} {growth_per_step(record):8.0f} "
        f"{later_traces(record):7} {record['sum_error']:9.1e} "
        f"{record['smallest']:9.1e}",
        flush=True,
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=50_000)
    choices = dict(nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--methods", **choices)
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--output-dir", default=paired.RESULTS)
    parser.add_argument("--measure", action="store_true", help="internal")
    parser.add_argument("--jit", action="store_true", help="internal")
    arguments = parser.parse_args(arguments)
    if arguments.measure:
        (method,) = arguments.methods
        print(json.dumps(measure(method, arguments.steps, arguments.jit)))
        return
    results = {}
    for mode in arguments.modes:
        backend, _, jit = mode.partition("-")
        print(f"{mode}:", file=sys.stderr, flush=True)
        for method in arguments.methods:
            options = ["--methods", method, "--steps", str(arguments.steps)]
            options += ["--jit"] if jit else []
            record = paired.in_process(__file__, backend, *options)
            results[mode, method] = record
            entry = {f"{mode}, {method}": record}
            paired.save(entry, "soak.json", arguments.output_dir)
    print(
        f"\n{'mode':14} {'method':10} {'steps':>8} {'ms':>8} "
        f"{'MiB':>8} {'MiB max':>8} {'growth':>7} {'B/step':>8} "
        f"{'retrace':>7} {'sum error':>9} {'smallest':>9}"
    )
    failed = []
    for (mode, method), record in results.items():
        show(mode, method, record)
        found = failures(record, is_traced=mode not in ("torch", "jax"))
        failed += [f"{mode}, {method}: {sentence}" for sentence in found]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
