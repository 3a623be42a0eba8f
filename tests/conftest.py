import collections
import importlib.metadata
import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The tests' tensors are small: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
# Many tests compile the same small programs, as do the processes they start.
# The user may name a folder that outlives the run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# A program runs a few times here, and optimizing it takes longer than it saves.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def release_of_jax():
    """Returns the first two numbers of JAX's version."""
    return tuple(map(int, importlib.metadata.version("jax").split(".")[:2]))


if os.environ["KERAS_BACKEND"] == "tensorflow":
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true",
    )
elif os.environ["KERAS_BACKEND"] == "jax" and release_of_jax() <= (0, 10):
    # It halves what compiling takes. XLA ends the process if it does not know
    # a flag, and that of JAX 0.12 does not know this one.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import pytest

# Keras is imported in functions: the process that hands out the tests to its
# workers does not need it.


@pytest.fixture
def backend():
    import keras

    return keras.backend.backend()


@pytest.fixture(autouse=True)
def reset_keras():
    """Layers are named from zero, and every test draws the same numbers."""
    import keras

    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def optimize_no_graph():
    """As for XLA: optimizing TensorFlow's graphs takes longer than it saves."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options(
            {"disable_meta_optimizer": True}
        )


@pytest.fixture(autouse=True)
def restore_registries():
    """What a test registers is forgotten after it."""
    from keras_mtl.agents.registry import AGENTS
    from keras_mtl.selection.registry import POLICIES
    from keras_mtl.selection.registry import REWARDS
    from keras_mtl.weightings.registry import WEIGHTINGS

    registries = AGENTS, POLICIES, REWARDS, WEIGHTINGS
    before = [set(registry.names()) for registry in registries]
    yield
    for registry, names in zip(registries, before):
        for name in set(registry.names()) - names:
            del registry._entries[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Skips what a newer JAX has exported and TensorFlow cannot load.

    It is so for plain Keras models, too: see `docs/serving.md`. With a JAX that
    TensorFlow 2.21 can read, it is a failure.
    """
    try:
        return (yield)
    except Exception as error:
        is_unreadable = "failed to deserialize portable artifact" in str(error)
        if is_unreadable and release_of_jax() >= (0, 12):
            pytest.skip("this TensorFlow does not read what this JAX exports")
        raise


def pytest_ignore_collect(collection_path, config):
    """Leaves out files of whose tests `-m` selects none: importing takes long.

    That is those with the mark of the whole file that an `and not` excludes.
    """
    chosen = config.option.markexpr
    marks = [m for m in ("any_backend", "once") if f"and not {m}" in chosen]
    if not marks or collection_path.suffix != ".py":
        return None
    source = collection_path.read_text(encoding="utf-8")
    excluded = [f"\npytestmark = pytest.mark.{mark}\n" for mark in marks]
    return True if any(line in source for line in excluded) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks what is slow, and moves experiments and commands to the front.

    Otherwise one worker would be left with the last of these long tests.
    """
    mark_off_the_diagonal(items)
    mark_quick_on_torch(items)
    items.sort(key=lambda item: item.get_closest_marker("once") is None)


def mark_off_the_diagonal(items):
    """Marks most combinations of the parameters of a test as slow.

    Those left have every value of every parameter at least once: the first
    values of all, the second ones, and so on, where the shorter lists begin
    again.
    """
    functions = {}
    for item in items:
        if item.get_closest_marker("diagonal"):
            name = item.nodeid.split("[")[0]
            functions.setdefault(name, []).append(item)
    for function in functions.values():
        chosen = [item.callspec.params for item in function]
        values = {name: distinct(p[name] for p in chosen) for name in chosen[0]}
        for item, parameters in zip(function, chosen):
            index = [values[n].index(id(x)) for n, x in parameters.items()]
            last = max(index)
            sizes = map(len, values.values())
            if any(i != last % size for i, size in zip(index, sizes)):
                item.add_marker(pytest.mark.slow)


def mark_quick_on_torch(items):
    """Marks as slow what takes long to trace or compile on other backends.

    `quick_on_torch(n)` leaves the first `n` cases of each test as they are, and
    `every_backend` all cases of a test in a file that has the mark.
    """
    import keras

    if keras.backend.backend() == "torch":
        return
    seen = collections.Counter()
    for item in items:
        mark = item.get_closest_marker("quick_on_torch")
        if item.get_closest_marker("every_backend"):
            continue
        if mark and not item.get_closest_marker("slow"):
            name = item.nodeid.split("[")[0]
            seen[name] += 1
            if seen[name] > (mark.args or [0])[0]:
                item.add_marker(pytest.mark.slow)


def distinct(values):
    """Returns the identities of what a list of parameters holds, in order."""
    return list(dict.fromkeys(map(id, values)))


def pytest_report_header():
    installed = {d.name for d in importlib.metadata.distributions()}
    name = "keras-nightly" if "keras-nightly" in installed else "keras"
    version = importlib.metadata.version(name)
    return f"{name} {version} on {os.environ['KERAS_BACKEND']}"
