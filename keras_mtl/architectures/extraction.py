"""One level of CGC and PLE: experts of all tasks, and of each task."""

from collections.abc import Mapping
from typing import Any

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.experts import Experts
from keras_mtl.architectures.gates import Gates
from keras_mtl.backend.checks import positive_integer

Tensor = Any


class Extraction:
    """Makes the levels of CGC and PLE.

    Args:
        experts: Makes the experts.
        gates: Makes the gates.
        num_experts: Number of experts of each task on a level.
        num_shared: Number of experts of all tasks on a level.
    """

    def __init__(
        self, experts: Experts, gates: Gates, num_experts: int, num_shared: int
    ):
        self._experts = experts
        self._gates = gates
        self._own = positive_integer("num_experts", num_experts)
        self._shared = positive_integer("num_shared", num_shared)

    def __call__(
        self,
        shared: Any,
        own: Mapping[str, Any],
        name: str,
        level: int = 0,
        is_last: bool = True,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Makes one level.

        Args:
            shared: Input of the shared experts.
            own: Dict of task to the input of the task's experts and gate.
            name: What the names of layers begin with.
            level: The number of the level, from 0.
            is_last: Whether no further level needs a mixture for its shared
                experts.

        Returns:
            Tuple of the mixture of all experts, `None` on the last level, and
            a dict of task to the mixture of its experts and the shared ones.
        """
        names = prefixed(name, "shared_expert")
        of_all = self._experts.several(names, shared, self._shared, level)
        of_task = {
            task: self._experts.several(
                prefixed(name, f"{task}_expert"), x, self._own, level
            )
            for task, x in own.items()
        }
        mixtures = {
            task: self._gates.mixture(
                x, {**of_task[task], **of_all}, prefixed(name, task)
            )
            for task, x in own.items()
        }
        if is_last:
            return None, mixtures
        everything = {}
        for experts in [*of_task.values(), of_all]:
            everything.update(experts)
        mixture = self._gates.mixture(
            shared, everything, prefixed(name, "shared")
        )
        return mixture, mixtures
