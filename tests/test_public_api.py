"""What is public, who may import whom, and how long a function is.

Most of it is read from the sources, so that it costs no training and is the
same on every backend.
"""

import ast
import functools
import graphlib
import importlib
import inspect
import pathlib
import re
import types

import pytest

import keras_mtl
from keras_mtl.backend import primitives

pytestmark = pytest.mark.any_backend

ROOT = pathlib.Path(keras_mtl.__file__).parent
FILES = {
    path.relative_to(ROOT.parent).as_posix(): path
    for path in sorted(ROOT.rglob("*.py"))
}

# The packages whose names a user writes.
PACKAGES = (
    "keras_mtl",
    "keras_mtl.agents",
    "keras_mtl.architectures",
    "keras_mtl.benchmarking",
    "keras_mtl.callbacks",
    "keras_mtl.cli",
    "keras_mtl.datasets",
    "keras_mtl.loops",
    "keras_mtl.losses",
    "keras_mtl.metrics",
    "keras_mtl.models",
    "keras_mtl.plots",
    "keras_mtl.selection",
    "keras_mtl.solvers",
    "keras_mtl.testing",
    "keras_mtl.weightings",
)

# The rooms from the roof to the ground. A room imports from those that stand
# below its own line, never from one beside it.
FLOORS = (
    ("__init__",),
    ("cli",),
    ("benchmarking",),
    ("callbacks", "plots", "testing"),
    ("loops", "model", "multi_loss_model"),
    ("balanced_model",),
    ("saving",),
    ("training",),
    ("selection",),
    ("losses",),
    ("weightings",),
    ("agents", "datasets", "metrics", "models", "solvers"),
    ("architectures",),
    ("backend",),
    ("version",),
)
FLOOR_OF = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}

# The one module that knows Keras from the inside.
KEEPER_OF_PRIVATE_NAMES = "keras_mtl/backend/keras_internals.py"

MAX_LINES = 40
# Functions that a split would hide, with the reason.
LONGER_FUNCTIONS = {
    "keras_mtl.benchmarking.benchmark.benchmark": "a list of arguments",
    "keras_mtl.benchmarking.single_task.single_task": "a list of arguments",
    "keras_mtl.benchmarking.tuning.tune": "a list of arguments",
    "keras_mtl.model.MultiTaskModel.fit": "a list of arguments",
    "keras_mtl.solvers.cagrad.conflict_averse": "one loop of a solver",
    "keras_mtl.solvers.fairgrad.fair_weights": "one loop of a solver",
    "keras_mtl.solvers.nonnegative.nonnegative_qp": "one loop of a solver",
    "keras_mtl.weightings.igb_v2.IGBv2.__init__": "a list of arguments",
}


def room_of(file):
    return pathlib.PurePath(file).with_suffix("").parts[1]


ROOMS = sorted({room_of(file) for file in FILES})


@functools.cache
def tree_of(file):
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


@functools.cache
def tree_at_run(file):
    """Returns the tree without what is imported for a type checker only."""

    class Remover(ast.NodeTransformer):
        def visit_If(self, node):
            is_check = ast.unparse(node.test) == "typing.TYPE_CHECKING"
            return None if is_check else self.generic_visit(node)

    return Remover().visit(ast.parse(FILES[file].read_text(encoding="utf-8")))


def module_of(file):
    parts = pathlib.PurePath(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imported(tree):
    """Yields what a module imports, at its top and inside of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import is relative"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# Public names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_exists(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name, None) is not None, name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_name_is_public(package):
    module = importlib.import_module(package)
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not is_part_of(package, value)
    }
    assert public - set(module.__all__) == set()


def is_part_of(package, value):
    """Whether a value is a module of a package: the import binds its name."""
    return isinstance(value, types.ModuleType) and value.__name__.startswith(
        package + "."
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_public_signatures_have_types(package):
    module = importlib.import_module(package)
    found = {}
    for name in module.__all__:
        for where, function in signatures(getattr(module, name), name):
            missing = without_type(function)
            if missing:
                found[where] = missing
    assert found == {}


def signatures(value, name):
    """Yields what a public name lets a user call, with where it stands."""
    if isinstance(value, types.ModuleType):
        # The names of the root's packages are tested with those packages.
        if value.__name__ not in PACKAGES:
            for inner, own in vars(value).items():
                if getattr(own, "__module__", None) == value.__name__:
                    if not inner.startswith("_"):
                        yield from signatures(own, f"{name}.{inner}")
    elif inspect.isclass(value):
        yield from members(value)
    elif callable(value):
        yield name, value


def members(klass):
    """Yields the public methods and properties that this package defines."""
    seen = set()
    for base in klass.__mro__:
        if base.__module__.split(".")[0] != keras_mtl.__name__:
            continue
        for name, value in vars(base).items():
            public = name in ("__init__", "__call__") or name[0] != "_"
            if not public or name in seen:
                continue
            seen.add(name)
            function = function_of(value)
            if function is not None:
                yield f"{base.__module__}.{base.__qualname__}.{name}", function


def function_of(value):
    if isinstance(value, property):
        return value.fget
    if isinstance(value, functools.cached_property):
        return value.func
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value if inspect.isfunction(value) else None


def without_type(function):
    signature = inspect.signature(function)
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty
        and name not in ("self", "cls")
    ]
    returns = signature.return_annotation is not signature.empty
    if not returns and getattr(function, "__name__", "") != "__init__":
        names.append("return")
    return names


@pytest.mark.parametrize("backend", primitives.BACKENDS)
def test_public_methods_of_trainers_have_types(backend):
    # The model has the trainer of the backend in use alone, so that the others
    # are read from their sources.
    tree = tree_of(f"keras_mtl/training/{backend}/trainer.py")
    (trainer,) = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "BackendTrainer"
    ]
    untyped = [
        f"{node.name}: {argument.arg}"
        for node in trainer.body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
        for argument in ast.walk(node.args)
        if isinstance(argument, ast.arg)
        and argument.annotation is None
        and argument.arg != "self"
    ]
    assert untyped == []


def test_untyped_signatures_are_found():
    class Example:
        def __init__(self, a: int, b):
            pass

        @property
        def c(self):
            pass

        @classmethod
        def d(cls, x: int) -> int:
            pass

        def _private(self, x):
            pass

    Example.__module__ = keras_mtl.__name__
    found = {
        where.rsplit(".")[-1]: without_type(function)
        for where, function in signatures(Example, "Example")
    }
    assert found == {"__init__": ["b"], "c": ["return"], "d": []}


# Imports


def test_keras_internals_have_one_door():
    def enters(tree):
        names = [*imported(tree), *strings(tree)]
        names += [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
        ]
        return any(re.match(r"keras\.src(\.|$)", name) for name in names)

    found = {file for file in FILES if enters(tree_of(file))}
    assert found == {KEEPER_OF_PRIVATE_NAMES}


def test_every_room_has_a_floor():
    assert set(ROOMS) <= set(FLOOR_OF), "say in FLOORS where it stands"


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_runs_up(room):
    up = [
        f"{file} imports {target}"
        for file in FILES
        if room_of(file) == room
        for target in targets(file)
        if room_of_name(target) != room
        and FLOOR_OF[room_of_name(target)] <= FLOOR_OF[room]
    ]
    assert up == []


def targets(file):
    """Yields what a file imports of this package, by name or by string."""
    tree = tree_of(file)
    name = keras_mtl.__name__
    for target in imported(tree):
        if target == name or target.startswith(name + "."):
            yield target
    for text in strings(tree):
        if re.fullmatch(name + r"(\.\w+)+", text):
            yield text


def room_of_name(target):
    """Returns the room of `keras_mtl.room.module.name`."""
    room = target.split(".")[1] if "." in target else "__init__"
    return room if room in FLOOR_OF else "__init__"


@pytest.mark.parametrize("room", ROOMS)
def test_no_modules_import_each_other(room):
    graph = {
        module: {part_of_module(x) for x in imported(tree_at_run(file))}
        for module, file in MODULES.items()
        if room_of(file) == room
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def part_of_module(target):
    """Returns the module of which `target` is a name, or is itself one."""
    return target if target in MODULES else target.rpartition(".")[0]


# Sizes


@pytest.mark.parametrize("room", ROOMS)
def test_functions_are_short(room):
    long = {
        name: lines
        for name, lines in lines_of_functions(room)
        if lines > MAX_LINES and name not in LONGER_FUNCTIONS
    }
    assert long == {}


def test_functions_of_the_command_are_short():
    folder = ROOT.parent / "keras_mtl_console"
    long = {}
    for path in folder.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        scope = in_scope(ast.parse(source), path.stem, source.splitlines())
        long |= {name: n for name, n in scope if n > MAX_LINES}
    assert long == {}


def test_longer_functions_are_longer():
    lines = dict(pair for room in ROOMS for pair in lines_of_functions(room))
    short = [x for x in LONGER_FUNCTIONS if lines.get(x, 0) <= MAX_LINES]
    assert short == [], "take them off LONGER_FUNCTIONS"


def lines_of_functions(room):
    """Yields the name of each function and its number of lines of code."""
    for file in FILES:
        if room_of(file) == room:
            lines = FILES[file].read_text(encoding="utf-8").splitlines()
            yield from in_scope(tree_of(file), module_of(file), lines)


def in_scope(scope, prefix, lines):
    for node in ast.iter_child_nodes(scope):
        name = prefix
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = f"{prefix}.{node.name}"
        if isinstance(node, ast.FunctionDef):
            yield name, code_lines(node, lines)
        yield from in_scope(node, name, lines)


def code_lines(function, lines):
    """Counts the lines that are not empty, a comment or the docstring."""
    numbers = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        numbers -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return sum(
        not re.match(r"\s*(#|$)", lines[number - 1]) for number in numbers
    )


def test_lines_of_code_are_counted():
    source = '''
def outer(
    a,
):
    """A docstring

    of three lines."""
    # A comment.

    def inner():
        return a

    return inner
'''
    lengths = dict(in_scope(ast.parse(source), "m", source.splitlines()))
    assert lengths == {"m.outer": 6, "m.outer.inner": 2}
