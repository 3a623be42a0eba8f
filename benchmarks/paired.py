"""What the benchmarks share: paired times, processes for backends, files.

Machines change their speed while a benchmark runs, and memory that one run
frees is what the next one takes. So baseline and candidate are timed in the
order A B B A, the figure of a round is the ratio of their two sums, and what is
reported is its median over the rounds with its quartiles and the 95 % interval
of the median (order statistics, so of no assumed distribution).
"""

import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from keras_mtl.backend import files

RESULTS = pathlib.Path(__file__).parent / "results"


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(baseline, candidates, rounds):
    """Times each candidate next to the baseline.

    Args:
        baseline: A function without arguments.
        candidates: A dict of such functions.
        rounds: Pairs of times for each candidate.

    Returns:
        `{label: [(baseline seconds, candidate seconds), ...]}`, means of two.
    """
    times = {label: [] for label in candidates}
    for _ in range(rounds):
        for label, candidate in candidates.items():
            order = (baseline, candidate, candidate, baseline)
            first, second, third, last = map(seconds, order)
            times[label].append(((first + last) / 2, (second + third) / 2))
    return times


def summary(pairs, steps=1):
    """The median, quartiles and interval of the ratio of paired times."""
    ratios = [candidate / baseline for baseline, candidate in pairs]
    return {
        "baseline_ms": 1e3 * statistics.median(a for a, _ in pairs) / steps,
        "step_ms": 1e3 * statistics.median(b for _, b in pairs) / steps,
        "ratio": quartiles(ratios),
        "interval": interval_of_median(ratios),
        "rounds": len(pairs),
    }


def own_cost(pairs, steps=1):
    """The milliseconds that the candidate takes more, and their interval."""
    own = [1e3 * (b - a) / steps for a, b in pairs]
    return {
        "own_ms": quartiles(own),
        "own_ms_interval": interval_of_median(own),
    }


def quartiles(values):
    return statistics.quantiles(values, n=4)


def interval_of_median(values):
    """The order statistics that hold the median with 95 % probability."""
    values, n = sorted(values), len(values)
    distance = 0.98 * math.sqrt(n)
    low = max(0, math.floor(n / 2 - distance))
    high = min(n - 1, math.ceil(n / 2 + distance) - 1)
    return [values[low], values[high]]


def show(label, entry):
    low, median, high = entry["ratio"]
    first, last = entry["interval"]
    print(
        f"  {label:24} {entry['step_ms']:8.2f} ms  {median:.3f}, quartiles "
        f"{low:.3f} to {high:.3f}, 95 % interval {first:.3f} to {last:.3f}",
        flush=True,
    )
    if "own_ms" in entry:
        own, (first, last) = entry["own_ms"][1], entry["own_ms_interval"]
        print(f"{'':27} own cost {own:.3f} ms ({first:.3f} to {last:.3f})")


def main(parser, measure, name, title):
    """The program of a benchmark: measures each mode in a process of its own.

    Args:
        parser: `ArgumentParser` with the benchmark's own arguments.
        measure: Function of the arguments that returns, for each label, what
            `summary` does; it runs on the backend of its process.
        name: File of the results.
        title: What the ratios are.
    """
    modes = ["tensorflow", "tensorflow-jit", "jax-jit"]
    parser.add_argument("--modes", nargs="+", default=modes)
    parser.add_argument("--output-dir", default=RESULTS)
    parser.add_argument("--measure", action="store_true", help="internal")
    parser.add_argument("--jit", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    for mode in arguments.modes:
        backend, _, jit = mode.partition("-")
        options = ["--jit"] if jit else []
        result = in_process(sys.argv[0], backend, *sys.argv[1:], *options)
        print(f"\n{mode}: {title}")
        for label, entry in result.items():
            show(label, entry)
        save({mode: result}, name, arguments.output_dir)


def in_process(script, backend, *options):
    """Runs `script --measure` on a backend and returns the JSON it prints."""
    output = subprocess.run(
        [sys.executable, script, *options, "--measure"],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    return json.loads(output.splitlines()[-1])


def save(results, name, folder=RESULTS):
    """Merges new results into `folder/name`, beside those of other modes."""
    path = pathlib.Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    known["machine"] = f"{platform.machine()}, {os.cpu_count()} CPU cores"
    files.write(path, files.to_json({**known, **results}, indent=1) + "\n")
    print(f"\nSaved {path}")
