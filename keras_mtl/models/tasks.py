"""The tasks for which a network is made."""

from collections.abc import Iterable
from collections.abc import Mapping

from keras_mtl.architectures.arguments import task_names
from keras_mtl.backend.checks import positive_integer


def classes_of(
    tasks: Iterable[str], classes: int | Mapping[str, int]
) -> dict[str, int]:
    """Returns the number of classes of each task.

    Args:
        tasks: Names of the tasks.
        classes: The number that all have, or a dict of task to number.

    Raises:
        ValueError: If it is no positive integer, or of other tasks.
    """
    names = task_names(tasks)
    if not isinstance(classes, Mapping):
        classes = dict.fromkeys(names, classes)
    if {*classes} != {*names}:
        raise ValueError(
            f"Expected `classes` to have the keys {names}. "
            f"Received: classes={dict(classes)}"
        )
    return {name: positive_integer("classes", classes[name]) for name in names}
