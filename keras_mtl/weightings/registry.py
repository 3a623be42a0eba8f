"""The registry of the weightings."""

from collections.abc import Callable
from typing import Any

from keras_mtl.backend.registry import Registry
from keras_mtl.weightings.weighting import Weighting

WEIGHTINGS = Registry(
    "weighting",
    Weighting,
    also=["a dict of task to number", "a list of these"],
)


def register(
    name: str | None = None,
    package: str = "Custom",
    paper: str = "",
    year: int | None = None,
    cost: str | None = None,
    when: str = "",
    abbreviation: str | None = None,
) -> Callable[[type], type]:
    """Returns a decorator that gives a class of weightings a name.

    The class is then known by that name wherever a weighting is given, in
    `names()` and in the table of `keras-mtl methods`, and, as
    `package>ClassName`, in saved files.

    Args:
        name: Name of the method. By default that of the class in snake case.
        package: As of `keras.saving.register_keras_serializable`. A class that
            is registered there already stays as it is.
        paper: Authors and title, for the table.
        year: Year of the paper, for the table.
        cost: What a step costs, for the table. By default one backward pass
            for loss balancing and `T` for gradient balancing.
        when: When to use the method, in one line, for the list and the table.
        abbreviation: What the tables of papers call the method, if that is
            another word. Whoever types it is told the name.

    Returns:
        Decorator of a class that inherits from `Weighting`.

    Raises:
        ValueError: If the class is no `Weighting`, or another one has the name.

    Example:

    >>> @keras_mtl.weightings.register(paper="Doe et al., Squares", year=2026)
    ... class SquaredInverse(keras_mtl.weightings.Weighting):
    ...     def compute_weights(self, losses):
    ...         return 1 / losses**2
    >>> keras_mtl.weightings.get("squared_inverse")(np.array([0.5, 2.0]))
    [4.0, 0.25]
    """
    facts = {
        "paper": paper,
        "year": year,
        "cost": cost,
        "when": when,
        "abbreviation": abbreviation,
    }
    return WEIGHTINGS.register(name, package, **facts)


def names() -> list[str]:
    """Returns the names of all methods.

    Those of the package come first, loss balancing before gradient balancing,
    then those that were registered since.
    """
    return WEIGHTINGS.names()


def get(identifier: Any) -> Weighting:
    """Retrieves a weighting.

    Args:
        identifier: Name of a method (case and underscores do not matter), class
            or instance of `Weighting`, config dict of
            `keras.saving.serialize_keras_object`, a dict of task to its fixed
            weight, or a list of these, which makes a `Chain`.

    Returns:
        A `Weighting`; an instance is returned as it is.

    Raises:
        ValueError: If no method has that name, or the value is none of these.

    Example:

    >>> keras_mtl.weightings.get("nash_mtl")
    <NashMTL name=nash_mtl, built=False>
    """
    return WEIGHTINGS.get(identifier)
