"""Checks of arguments, each in the words of the package's errors.

A check returns the argument, NumPy's numbers as Python's and lists as lists of
such, so that it can be saved in a configuration. It raises a `ValueError` that
says what is expected and what was received.
"""

import difflib
import math
import numbers
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

Number = int | float

# Counts are kept in 32 bits.
MAX_INTEGER = 2**31 - 1


def positive(name: str, value: Any, optional: bool = False) -> Number | None:
    """Checks a number above 0; `None` passes if `optional`."""
    return _number(name, value, "positive and finite", optional, _is_positive)


def non_negative(name: str, value: Any) -> Number:
    """Checks a number of 0 or more."""
    expected = "finite and not negative"
    return _number(name, value, expected, False, _is_not_negative)


def finite(name: str, value: Any) -> Number:
    """Checks a number of any sign."""
    return _number(name, value, "a finite number", False, math.isfinite)


def fraction(name: str, value: Any, interval: str = "[0, 1]") -> Number:
    """Checks a number between 0 and 1.

    Args:
        name: Name of the argument.
        value: The argument.
        interval: `"[0, 1]"`, `"[0, 1)"` or `"(0, 1]"`, whose bounds with a
            bracket are allowed.
    """
    accept = INTERVALS[interval]
    return _number(name, value, f"in {interval}", False, accept)


def positive_integer(
    name: str, value: Any, optional: bool = False
) -> int | None:
    """Checks an integer of 1 or more; `None` passes if `optional`."""
    expected = "a positive integer"
    return _integer(name, value, expected, optional, lambda x: x >= 1)


def non_negative_integer(name: str, value: Any) -> int:
    """Checks an integer of 0 or more."""
    expected = "a non-negative integer"
    return _integer(name, value, expected, False, lambda x: x >= 0)


def seed(name: str, value: Any) -> int | None:
    """Checks a seed: an integer or `None`."""
    if value is not None and not _is_integer(value):
        raise _error(name, value, "an integer or None")
    return None if value is None else int(value)


def boolean(name: str, value: Any) -> bool:
    """Checks `True` or `False`."""
    # NumPy's own type of the two is no subclass of `bool`.
    if type(value).__name__ not in ("bool", "bool_"):
        raise _error(name, value, "True or False")
    return bool(value)


def one_of(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Checks that a value is one of `choices`, strings or integers."""
    is_plain = isinstance(value, str) or _is_integer(value)
    if not is_plain or value not in choices:
        *others, last = [
            f'"{choice}"' if isinstance(choice, str) else repr(choice)
            for choice in choices
        ]
        known = f"{', '.join(others)} or {last}" if others else last
        raise _error(name, value, known)
    return _as_python(value)


def numbers_of(
    name: str,
    values: Any,
    expected: str = "a list of finite numbers",
    accept: Callable[[float], bool] = math.isfinite,
) -> list[float]:
    """Checks a list of at least one finite number.

    Args:
        name: Name of the argument.
        values: The argument: list, tuple or array of shape `(N,)`.
        expected: What the error says that it should be.
        accept: Function of a finite number, whether it is allowed.

    Returns:
        List of `N` floats.
    """
    if not _is_list(values) or not len(values):
        raise _error(name, values, expected)
    if not all(_is_finite(value) and accept(value) for value in values):
        raise _error(name, values, expected)
    return [float(value) for value in values]


def number_or_list(
    name: str,
    value: Any,
    expected: str = "finite, one number or a list of them",
    accept: Callable[[float], bool] = math.isfinite,
) -> Number | list[float]:
    """Checks a finite number, or a list of them as `numbers_of` does."""
    if _is_list(value):
        return numbers_of(name, value, expected, accept)
    return _number(name, value, expected, False, accept)


def preference(name: str, values: Any) -> list[float] | None:
    """Checks weights of the tasks: `None`, or a list that is not all zero."""
    expected = "a list of non-negative numbers, not all of them zero"
    if values is None:
        return None
    checked = numbers_of(name, values, expected, _is_not_negative)
    if not any(checked) or not math.isfinite(sum(checked)):
        raise _error(name, values, expected)
    return checked


def sizes(name: str, values: Any) -> list[int]:
    """Checks a list of at least one positive integer."""
    expected = "a list of positive integers"
    if not _is_list(values) or not len(values):
        raise _error(name, values, expected)
    if not all(_is_integer(value) and value >= 1 for value in values):
        raise _error(name, values, expected)
    return [int(value) for value in values]


def known_arguments(
    kind: str,
    received: Mapping[str, Any],
    names: Collection[str],
    others: Collection[str] = (),
) -> None:
    """Checks the names of arguments that a constructor passes on.

    Args:
        kind: What is made, for the error.
        received: Dict of the arguments.
        names: Names that are its own.
        others: Names that are known, and not worth a mention.
    """
    for name in set(received) - set(names) - set(others):
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean `{nearest[0]}`?" if nearest else ""
        raise ValueError(
            f"Expected arguments of {kind}: {sorted(names)}. "
            f"Received: {name}={received[name]!r}.{hint}"
        )


def one_per_task(name: str, values: Any, num_tasks: int) -> None:
    """Raises an error unless a list has one entry for each task.

    What is no list, as `None` or a number, is for all tasks and passes.
    """
    if _is_list(values) and len(values) != num_tasks:
        raise ValueError(
            f"Expected `{name}` to have one entry for each of {num_tasks} "
            f"tasks. Received: {name}={list(values)}"
        )


def _number(name, value, expected, optional, accept):
    if optional and value is None:
        return None
    if not _is_finite(value) or not accept(value):
        raise _error(name, value, expected, optional)
    return _as_python(value)


def _integer(name, value, expected, optional, accept):
    if optional and value is None:
        return None
    if not _is_integer(value) or not accept(value):
        raise _error(name, value, expected, optional)
    if value > MAX_INTEGER:
        raise _error(name, value, f"at most {MAX_INTEGER}")
    return int(value)


def _error(name, value, expected, optional=False):
    alternative = " or None" if optional else ""
    return ValueError(
        f"Expected `{name}` to be {expected}{alternative}. "
        f"Received: {name}={value!r}"
    )


def _is_finite(value):
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond the range of floats.
        return False


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_list(value):
    has_entries = hasattr(value, "__len__") and hasattr(value, "__iter__")
    is_scalar = getattr(value, "shape", None) == ()
    no_list = (str, bytes, Mapping, set, frozenset)
    return has_entries and not is_scalar and not isinstance(value, no_list)


def _as_python(value):
    return value.item() if hasattr(value, "item") else value


def _is_positive(value):
    return value > 0


def _is_not_negative(value):
    return value >= 0


INTERVALS = {
    "[0, 1]": lambda x: 0 <= x <= 1,
    "[0, 1)": lambda x: 0 <= x < 1,
    "(0, 1]": lambda x: 0 < x <= 1,
}


def as_list(values: Any) -> list:
    """Returns a list of what may be one value, several, or `None`."""
    if values is None:
        return []
    if isinstance(values, (dict, list, tuple, set, frozenset)):
        return list(values)
    return [values]
