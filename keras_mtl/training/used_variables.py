"""The variables that a step of a graph uses beside those of its layer.

A node may have a variable among its arguments, a `Lambda` may close over one,
and a layer may hold another layer without tracking it.
"""

import functools
import types

import keras

from keras_mtl.backend.keras_internals import Function

# What these packages make holds no variable that a graph could use unseen.
LIBRARIES = ("keras", "tensorflow", "jax", "jaxlib", "torch", "numpy")

# What is larger is taken for data, such as a vocabulary.
MAX_ENTRIES = 10_000


class UsedVariables:
    """Finds those of some variables that objects refer to.

    It may find too many, where an object knows a variable and does not use it.

    Args:
        variables: List of the variables to look for.
    """

    def __init__(self, variables):
        self._known = {id(v): v for v in variables}

    def of(self, operation, arguments):
        """Lists the variables that a call of an operation may use.

        Args:
            operation: Layer or op.
            arguments: Its arguments, as the graph has them.
        """
        self._root = operation
        self._seen, self._found = set(), {}
        self._visit(operation)
        self._visit(arguments)
        return list(self._found.values())

    def _visit(self, value):
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        variable = self._known.get(id(value))
        if variable is not None:
            self._found[id(variable)] = variable
        elif isinstance(value, (keras.KerasTensor, keras.Variable)):
            return
        elif isinstance(value, keras.Layer):
            self._visit_layer(value)
        else:
            for part in _parts(value):
                self._visit(part)

    def _visit_layer(self, layer):
        is_around = layer is not self._root and any(
            inner is self._root for inner in layer._flatten_layers(False)
        )
        if is_around:
            return
        for variable in layer.variables:
            self._visit(variable)
        if isinstance(layer, Function):
            for nodes in layer._nodes_by_depth.values():
                for node in nodes:
                    self._visit(node.operation)
                    self._visit([node.arguments.args, node.arguments.kwargs])
        for part in [*vars(layer).values(), getattr(type(layer), "call", None)]:
            self._visit(part)


def _parts(value):
    """Lists what an object that is no layer refers to."""
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        entries = value.values() if isinstance(value, dict) else value
        return list(entries) if len(value) <= MAX_ENTRIES else []
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    is_operation = isinstance(value, keras.Operation)
    if not is_operation and _is_of_library(type(value)):
        return []
    if isinstance(value, (type, types.ModuleType)):
        return []
    return [*getattr(value, "__dict__", {}).values()]


def _parts_of_function(function):
    if _is_of_library(function):
        return []
    cells = [_content(cell) for cell in function.__closure__ or ()]
    names = _names(function.__code__)
    used = [function.__globals__.get(name) for name in names]
    # A function may name large parts of a program; a variable is near.
    kinds = (keras.Variable, keras.Layer, list, tuple, dict)
    used = [value for value in used if isinstance(value, kinds)]
    defaults = [function.__defaults__, function.__kwdefaults__]
    return [*cells, *used, *defaults, vars(function)]


def _names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # The cell is still empty.
        return None


def _is_of_library(value):
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] in LIBRARIES
