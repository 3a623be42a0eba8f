"""Steps, solvers and their growth with T, against TorchJD in the same run.

    python benchmarks/against_torchjd.py steps
    python benchmarks/against_torchjd.py features
    python benchmarks/against_torchjd.py solvers
    python benchmarks/against_torchjd.py growth
    python benchmarks/against_torchjd.py steps --modes loop

- `steps`: a whole training step with the gradients of all shared parameters.
  Ours is one of `fit`; TorchJD's is `mtl_backward`, `jac_to_grad` and Adam.
- `features`: ours with `gradients="features"` against equal weighting.
- `solvers`: from a Gramian to the weights, T = 11 and T = 128.
- `growth`: step time and peak memory over T.
- The mode `loop` is `keras_mtl.loops.backward` in TorchJD's loop of PyTorch,
  with the same modules and optimizer.

Each program has a process of its own; they take turns (A B C, A B C, ...), and
the figures are medians of the ratios in a round with their quartiles. TorchJD
and its solvers: `pip install 'torchjd[full]'`. PyTorch uses all cores, as
TensorFlow and XLA do.
"""

import argparse
import pathlib
import statistics
import time

import networks
import paired
import worker

TASKS = 11
BATCH_SIZE = 128
METHODS = ["mgda", "upgrad", "cagrad", "nash_mtl", "pcgrad"]
# What a turn takes with `TASKS` tasks.
STEPS = {"mlp": 10, "cnn": 4}
OURS = {
    "tensorflow": ("tensorflow", []),
    "tensorflow-jit": ("tensorflow", ["--jit"]),
    "jax-jit": ("jax", ["--jit"]),
    "loop": ("torch", ["--loop"]),
}
MODES = ["tensorflow", "tensorflow-jit", "jax-jit"]
GROWTH_METHOD = "upgrad"


# --- what the workers run ---------------------------------------------------


def steps_of(kind, num_tasks):
    """Returns the steps of a turn.

    The shorter the more, so that `fit`'s own start and end do not count.
    """
    return STEPS[kind] * max(1, 16 // num_tasks)


def our_step(kind, method, num_tasks, jit, gradients="parameters"):
    """Returns a function that trains for `steps_of` steps by `fit`."""
    import keras

    import keras_mtl

    cls = keras_mtl.MultiTaskModel
    if method == "plain Keras":
        cls, method = keras.Model, None
    model = getattr(networks, kind)(cls, num_tasks)
    steps = steps_of(kind, num_tasks)
    x, y = networks.data(networks.SHAPES[kind], steps * BATCH_SIZE, num_tasks)
    arguments = dict(loss=dict.fromkeys(y, "mse"), jit_compile=jit)
    if method:
        weighting = keras_mtl.weightings.get(method)
        if weighting.needs_gradients:
            weighting = type(weighting)(gradients=gradients)
        arguments["weighting"] = weighting
    model.compile("adam", **arguments)
    return lambda: model.fit(
        x, y, batch_size=BATCH_SIZE, shuffle=False, verbose=0
    )


def loop_step(kind, method, num_tasks, is_ours=False):
    """The same in a loop of PyTorch, with TorchJD or ours."""
    import torchjd_networks

    step = torchjd_networks.training_step(
        kind, method, num_tasks, BATCH_SIZE, is_ours
    )

    def steps():
        for _ in range(steps_of(kind, num_tasks)):
            step()

    return steps


def gramians(num_tasks, count=20, seed=0):
    """Gramians of random gradients of 4 T dimensions with a common part."""
    import numpy as np

    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, num_tasks, 4 * num_tasks))
    rows += 0.2 * rng.normal(size=(count, 1, 4 * num_tasks))
    return (rows @ rows.transpose(0, 2, 1)).astype("float32")


def our_solver(method, num_tasks, jit):
    """Returns a function that solves each of `gramians` in a compiled loop.

    As in a training step, where no call from Python comes between.
    """
    import keras

    import keras_mtl

    weighting = keras_mtl.weightings.get(method)
    weighting.build((num_tasks,), (num_tasks, num_tasks))
    matrices = keras.ops.convert_to_tensor(gramians(num_tasks))
    losses = keras.ops.ones((num_tasks,))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Without XLA around it, the solver compiles itself.
        return tf.function(
            lambda: tf.map_fn(lambda g: weighting(losses, g), matrices),
            jit_compile=jit,
        )
    import jax

    def step(state, gramian):
        weights, state = weighting.stateless_call([], state, losses, gramian)
        return state, weights

    solve = jax.jit(lambda state: jax.lax.scan(step, state, matrices))
    state = [v.value for v in weighting.non_trainable_variables]
    return lambda: jax.block_until_ready(solve(state))


def their_solver(method, num_tasks):
    """The same with TorchJD's weighting, from the Gramian or the gradients."""
    import numpy as np
    import torch
    import torchjd_networks

    aggregator = torchjd_networks.aggregator(method, num_tasks)
    matrices = [torch.tensor(g) for g in gramians(num_tasks)]
    if hasattr(aggregator, "gramian_weighting"):
        weighting = aggregator.gramian_weighting
    else:
        # Takes the gradients: any with the same Gramian do.
        weighting = aggregator.weighting
        matrices = [
            torch.tensor(np.linalg.cholesky(g.double().numpy())).float()
            for g in matrices
        ]

    def run():
        for matrix in matrices:
            weighting(matrix)

    return run


def serve(arguments):
    def prepare(label):
        what, *rest = label.split("/")
        if what == "step":
            kind, method, tasks, gradients = rest
            if arguments.theirs or arguments.loop:
                return loop_step(kind, method, int(tasks), arguments.loop)
            jit = arguments.jit
            return our_step(kind, method, int(tasks), jit, gradients)
        method, tasks = rest
        if arguments.theirs:
            return their_solver(method, int(tasks))
        return our_solver(method, int(tasks), arguments.jit)

    worker.serve(prepare)


# --- what the parent does ---------------------------------------------------


def start(name, **environment):
    if name == "torchjd":
        return worker.Worker(__file__, "torch", "--theirs", **environment)
    backend, options = OURS[name]
    return worker.Worker(__file__, backend, *options, **environment)


def take_turns(programs, rounds, repeats=1):
    """Times `{name: (worker, label)}` in turn; a list of seconds for each."""
    for process, label in programs.values():
        process.seconds(label)
    times = {name: [] for name in programs}
    for _ in range(rounds):
        for name, (process, label) in programs.items():
            times[name].append(process.seconds(label, repeats))
    return times


def ratios(times, baseline, divisor=1):
    return {
        name: {
            "ms": 1e3 * statistics.median(values) / divisor,
            "ratio": paired.quartiles(
                [a / b for a, b in zip(values, times[baseline])]
            ),
        }
        for name, values in times.items()
    }


def show(title, entries, baseline):
    print(f"{title}: {baseline} {entries[baseline]['ms']:.3f} ms")
    for name, entry in entries.items():
        if name != baseline:
            low, median, high = entry["ratio"]
            print(
                f"  {name:22} {entry['ms']:9.3f} ms  {median:.3f} "
                f"({low:.3f} to {high:.3f})",
                flush=True,
            )


def compare_steps(arguments):
    results = {}
    for kind in arguments.trunks:
        names = ["torchjd", *arguments.modes]
        workers = {name: start(name) for name in names}
        for method in arguments.methods:
            label = f"step/{kind}/{method}/{TASKS}/parameters"
            programs = {name: (workers[name], label) for name in names}
            times = take_turns(programs, arguments.rounds)
            entries = ratios(times, "torchjd", steps_of(kind, TASKS))
            results.setdefault(kind, {})[method] = entries
            show(f"{kind}, {method}", entries, "torchjd")
        for process in workers.values():
            process.close()
    return results


def compare_features(arguments):
    results = {}
    for kind in arguments.trunks:
        for mode in arguments.modes:
            with start(mode) as process:
                methods = ["equal", "sum", *arguments.methods]
                programs = {
                    name: (process, f"step/{kind}/{name}/{TASKS}/features")
                    for name in methods
                }
                times = take_turns(programs, arguments.rounds)
            entries = ratios(times, "equal", steps_of(kind, TASKS))
            results.setdefault(kind, {})[mode] = entries
            show(f"{kind}, {mode}, features", entries, "equal")
    return results


def compare_solvers(arguments):
    results = {}
    names = ["torchjd", *arguments.modes]
    workers = {name: start(name) for name in names}
    for tasks in arguments.tasks or [TASKS, 128]:
        for method in arguments.methods:
            label = f"solver/{method}/{tasks}"
            # TorchJD's take seconds at T = 128, and do not always end.
            used = names if tasks <= 32 else arguments.modes
            programs = {name: (workers[name], label) for name in used}
            times = take_turns(programs, arguments.rounds)
            entries = ratios(times, used[0], 20)
            results.setdefault(f"T = {tasks}", {})[method] = entries
            show(f"T = {tasks}, {method}", entries, used[0])
    for process in workers.values():
        process.close()
    return results


def measure_growth(arguments):
    """Step time and peak memory over T, `upgrad` on the MLP."""
    results = {}
    for tasks in arguments.tasks or [2, 4, 8, 16, 32, 64]:
        label = f"step/mlp/{GROWTH_METHOD}/{tasks}/parameters"
        names = ["torchjd", *arguments.modes]
        workers = {name: start(name) for name in names}
        programs = {name: (workers[name], label) for name in names}
        times = take_turns(programs, arguments.rounds)
        entries = ratios(times, "torchjd", steps_of("mlp", tasks))
        for name, process in workers.items():
            process.close()
            entries[name]["peak_mib"] = peak_memory(name, label)
        results[str(tasks)] = entries
        show(f"T = {tasks}", entries, "torchjd")
        peaks = [f"{n} {e['peak_mib']:.0f}" for n, e in entries.items()]
        print(f"  peak memory, MiB: {', '.join(peaks)}", flush=True)
    return results


def peak_memory(name, label):
    """Returns the MiB of a step, in a process that keeps nothing it freed.

    Memory that the C library or oneDNN keeps for later depends on what ran
    before. Giving it back takes time, so that nothing is timed here.
    """
    environment = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1",
    }
    with start(name, **environment) as process:
        process.seconds(label)
        return process.peak_memory(label)


def plot_growth(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    tasks = sorted(map(int, results))
    names = {
        "torchjd": "TorchJD",
        "tensorflow": "TensorFlow",
        "tensorflow-jit": "TensorFlow, XLA",
        "jax-jit": "JAX",
    }
    known = [name for name in names if name in results[str(tasks[0])]]
    styles = zip(known, ["#000000", "#0072B2", "#56B4E9", "#D55E00"], "soD^")
    for name, color, marker in styles:
        for axis, key in zip(axes, ("ms", "peak_mib")):
            values = [results[str(t)][name][key] for t in tasks]
            style = dict(color=color, ms=4, label=names[name])
            axis.plot(tasks, values, marker + "-", **style)
    axes[0].legend(frameon=False)
    for axis, label in zip(axes, ("Time of a step, ms", "Peak memory, MiB")):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(tasks, tasks)
        axis.set_xlabel("Tasks")
        axis.set_title(label, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "what", nargs="?", choices=["steps", "features", "solvers", "growth"]
    )
    parser.add_argument("--trunks", nargs="+", default=["mlp", "cnn"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--tasks", nargs="+", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output-dir", default=paired.RESULTS)
    parser.add_argument("--serve", action="store_true", help="internal")
    parser.add_argument("--theirs", action="store_true", help="internal")
    parser.add_argument("--loop", action="store_true", help="internal")
    parser.add_argument("--jit", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments)
    runs = {
        "steps": compare_steps,
        "features": compare_features,
        "solvers": compare_solvers,
        "growth": measure_growth,
    }
    began = time.perf_counter()
    results = runs[arguments.what](arguments)
    print(f"{time.perf_counter() - began:.0f} s")
    # The steps of loops stand beside those of `fit`.
    is_loop = arguments.what == "steps" and arguments.modes == ["loop"]
    name = "loop" if is_loop else arguments.what
    paired.save({name: results}, "against_torchjd.json", arguments.output_dir)
    if arguments.what == "growth":
        path = pathlib.Path(arguments.output_dir) / "growth.png"
        plot_growth(results, path)


if __name__ == "__main__":
    main()
