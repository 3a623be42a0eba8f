"""The registry of named classes: weightings, policies, rewards, agents."""

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras


@dataclasses.dataclass
class Entry:
    """A registered class, or the module in which it registers itself."""

    cls: type | None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    module: str | None = None


class Registry:
    """Classes of one kind, by name.

    Args:
        kind: What the classes are, as errors call them: `"weighting"`.
        base: Their base class.
        also: What else `get` takes, in the words of its errors.

    Example:

    >>> class Shape:
    ...     pass
    >>> shapes = Registry("shape", Shape)
    >>> @shapes.register()
    ... class RoundBox(Shape):
    ...     pass
    >>> shapes.names()
    ['round_box']
    >>> type(shapes.get("RoundBox")) is RoundBox
    True
    """

    def __init__(self, kind: str, base: type, also: Sequence[str] = ()) -> None:
        self.kind = kind
        self.base = base
        self._also = also
        self._entries: dict[str, Entry] = {}
        self._conversions: list[tuple[Callable, Callable]] = []

    def register(
        self, name: str | None = None, package: str = "Custom", **facts: Any
    ) -> Callable[[type], type]:
        """Returns a decorator that gives a class a name.

        A class that can be configured (it has `get_config`) is registered with
        `keras.saving`, too, as `package>Class`, unless it is already.

        Args:
            name: Name for `get`. By default that of the class in snake case.
            package: Package of `keras.saving.register_keras_serializable`.
            **facts: What `facts` tells of the class.

        Raises:
            ValueError: If the class is of another kind, or another class has
                the name.
        """

        def decorate(cls):
            self._check_class(cls)
            own_name = snake_case(cls.__name__) if name is None else name
            self._check_name(own_name, cls)
            if hasattr(cls, "get_config") and not _is_serializable(cls):
                keras.saving.register_keras_serializable(package)(cls)
            self._entries[own_name] = Entry(cls, facts)
            return cls

        return decorate

    def register_lazily(self, name: str, module: str) -> None:
        """Registers a name whose class `module` registers when imported."""
        self._entries.setdefault(name, Entry(None, module=module))

    def convert(self, accepts: Callable[[Any], bool]) -> Callable:
        """Returns a decorator of a function that makes instances of values.

        Args:
            accepts: Function of what `get` received, whether the decorated
                function takes it.
        """

        def decorate(function):
            self._conversions.append((accepts, function))
            return function

        return decorate

    def names(self) -> list[str]:
        """Returns all names, in the order in which they were registered."""
        return list(self._entries)

    def facts(self, name: str) -> dict[str, Any]:
        """Returns what a class was registered with, by its exact name."""
        return dict(self._entries[name].facts)

    def name_of(self, cls: type) -> str | None:
        """Returns the name of a class, `None` if it is not registered."""
        for name, entry in self._entries.items():
            if entry.cls is cls:
                return name
        return None

    def get_class(self, identifier: str | type, argument: str = "") -> type:
        """Returns the class of a name; a class is returned as it is.

        Raises:
            ValueError: If no class has that name, or it is of another kind.
        """
        if inspect.isclass(identifier) and issubclass(identifier, self.base):
            return identifier
        if not isinstance(identifier, str):
            raise self.unknown(identifier, argument)
        by_plain_name = {_plain(name): name for name in self._entries}
        name = by_plain_name.get(_plain(identifier))
        if name is None:
            raise self.unknown(identifier, argument)
        if self._entries[name].cls is None:
            importlib.import_module(self._entries[name].module)
        return self._entries[name].cls

    def get(self, identifier: Any, argument: str = "") -> Any:
        """Returns an instance.

        Args:
            identifier: Name (case and underscores do not matter), class or
                instance; config dict of `keras.saving.serialize_keras_object`;
                or what a conversion takes.
            argument: Name of the argument, for errors.

        Returns:
            Instance of the base class; an instance is returned as it is.

        Raises:
            ValueError: If no class has that name, or the value is none of
                these.
        """
        if isinstance(identifier, self.base):
            return identifier
        for accepts, convert in self._conversions:
            if accepts(identifier):
                return convert(identifier)
        if isinstance(identifier, dict):
            made = keras.saving.deserialize_keras_object(identifier)
            if not isinstance(made, self.base):
                raise self.unknown(identifier, argument)
            return made
        return self.get_class(identifier, argument)()

    def knows(self, name: str) -> bool:
        """Returns whether a class has that name, in any spelling."""
        return _plain(name) in map(_plain, self._entries)

    def unknown(
        self, identifier: Any, argument: str = "", more: Sequence[str] = ()
    ) -> ValueError:
        """Makes the error for what is not known, with the nearest names.

        Args:
            identifier: What was received.
            argument: Name of the argument that it was given for.
            more: Names that are taken beside those of the classes.
        """
        names = [*more, *self.names()]
        if not isinstance(identifier, str):
            kinds = ["a name", f"a `{self.base.__name__}`", "a config dict"]
            *others, last = [*kinds, *self._also]
            subject = f"`{argument}`" if argument else f"a {self.kind}"
            return ValueError(
                f"Expected {subject} to be {', '.join(others)} or {last}. "
                f"Received: {identifier!r} of type {type(identifier)}"
            )
        hint = self._hint(identifier)
        if argument:
            return ValueError(
                f"Expected `{argument}` to be one of {names}. "
                f"Received: {argument}={identifier!r}.{hint}"
            )
        return ValueError(
            f"Unknown {self.kind}: {identifier!r}.{hint} Known names: {names}"
        )

    def _hint(self, identifier):
        plain = _plain(identifier)
        for name, entry in self._entries.items():
            # Some are called otherwise in the literature's tables, such as
            # "UW".
            if _plain(entry.facts.get("abbreviation") or "") == plain:
                return f" Did you mean {name!r}?"
        by_plain_name = {_plain(name): name for name in self._entries}
        nearest = difflib.get_close_matches(plain, by_plain_name)
        names = ", ".join(repr(by_plain_name[match]) for match in nearest)
        return f" Did you mean {names}?" if names else ""

    def _check_class(self, cls):
        if not inspect.isclass(cls) or not issubclass(cls, self.base):
            raise ValueError(
                f"Expected a class that inherits from `{self.base.__name__}`, "
                "to be registered by a decorator with parentheses, "
                f"`@register()`. Received: {cls!r}"
            )

    def _check_name(self, name, cls):
        for known, entry in self._entries.items():
            # A class is registered again where its module or the cell of a
            # notebook runs again.
            if _plain(known) != _plain(name) or entry.cls is None:
                continue
            if known != name or not _is_same_class(entry.cls, cls):
                raise ValueError(
                    f"Expected a name that no other {self.kind} has. "
                    f"Received: {name!r} for {cls!r}, which is "
                    f"{known!r} of {entry.cls!r}"
                )


class Configurable:
    """A class that is no layer, with the config that makes an instance anew.

    As in scikit-learn, each argument of the constructor is an attribute.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        kinds = inspect.Parameter
        variadic = (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        return {
            parameter.name: getattr(self, parameter.name)
            for parameter in parameters
            if parameter.name != "self" and parameter.kind not in variadic
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes an instance from what `get_config` returned."""
        return cls(**keras.saving.deserialize_keras_object(config))


def snake_case(name: str) -> str:
    """Returns the name of a class in snake case.

    Example:

    >>> snake_case("InverseSquare"), snake_case("NashMTL")
    ('inverse_square', 'nash_mtl')
    """
    boundary = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(boundary, "_", name).lower()


def _plain(name):
    return re.sub("[-_ ]", "", name).lower()


def _is_same_class(one, other):
    return (one.__module__, one.__qualname__) == (
        other.__module__,
        other.__qualname__,
    )


def _is_serializable(cls):
    name = keras.saving.get_registered_name(cls)
    return keras.saving.get_registered_object(name) is cls
