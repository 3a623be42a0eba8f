"""A process that takes turns with others: it runs when it is told to.

A benchmark compares programs that cannot share a process (two backends, say) by
starting a `Worker` for each and timing them in turn. A worker is a script with
a function `prepare(label)`, which returns a function without arguments; it ends
with `worker.serve(prepare)`.
"""

import gc
import json
import os
import subprocess
import sys
import time


class Worker:
    """Starts `script --serve` on a backend.

    Args:
        script: Path of the script.
        backend: Value of `KERAS_BACKEND`.
        *options: More arguments of the script.
        **environment: More environment variables.
    """

    def __init__(self, script, backend, *options, **environment):
        self._process = subprocess.Popen(
            [sys.executable, script, "--serve", *map(str, options)],
            env={**os.environ, "KERAS_BACKEND": backend, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, label, repeats=1):
        """Returns the mean seconds of one call of `prepare(label)()`."""
        return self._ask(label, repeats)["seconds"]

    def peak_memory(self, label):
        """Returns the MiB that a call takes for itself.

        What it finds is not counted: variables, and what compiling left.
        """
        return self._ask(label, 1)["peak_mib"]

    def _ask(self, label, repeats):
        request = json.dumps({"label": label, "repeats": repeats})
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer
        raise RuntimeError(f"The worker ended while it ran {label!r}")

    def close(self):
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def serve(prepare):
    """Answers requests until the input ends."""
    functions = {}
    for line in sys.stdin:
        request = json.loads(line)
        label, repeats = request["label"], request["repeats"]
        try:
            if label not in functions:
                functions[label] = prepare(label)
                functions[label]()
            gc.collect()
            before = memory("VmRSS")
            _forget_peak()
            start = time.perf_counter()
            for _ in range(repeats):
                functions[label]()
            answer = {
                "seconds": (time.perf_counter() - start) / repeats,
                "peak_mib": memory("VmHWM") - before,
            }
        except Exception as error:
            answer = {"error": f"{label}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def memory(name):
    """Returns an entry of this process, in MiB (Linux)."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {name}")


def _forget_peak():
    """The peak of the memory, VmHWM, begins anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
