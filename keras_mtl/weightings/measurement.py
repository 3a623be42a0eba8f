"""How the gradients of the tasks are measured."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nonnegative import unit_gramian


@dataclasses.dataclass(frozen=True)
class Measurement:
    """How a gradient weighting measures the gradients of the tasks.

    Args:
        gradients: `"parameters"` or `"features"`.
        shared: `"auto"`, `"last"`, or a list of layers or names of layers,
            which is kept as a list of names.
        update_every: Number of steps for which weights are used.
        gramian_batch: Fraction of the batch that makes the Gramian.
        max_norm: Largest norm of the direction, or `None`.

    `GradientWeighting` says what each of them does.

    Raises:
        ValueError: If an argument is not valid.
    """

    gradients: str = "parameters"
    shared: str | Sequence[str] = "auto"
    update_every: int = 1
    gramian_batch: float = 1.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        checked = {
            "gradients": checks.one_of(
                "gradients", self.gradients, ("parameters", "features")
            ),
            "shared": _layer_names(self.shared),
            "update_every": checks.positive_integer(
                "update_every", self.update_every
            ),
            "gramian_batch": checks.fraction(
                "gramian_batch", self.gramian_batch, "(0, 1]"
            ),
            "max_norm": checks.positive(
                "max_norm", self.max_norm, optional=True
            ),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.shared != "auto" and self.gradients == "features":
            raise ValueError(
                "`shared` names the layers whose variables are compared, "
                'which gradients="features" does not do. Received: '
                f"shared={self.shared}"
            )

    @property
    def is_plain(self) -> bool:
        """Whether all is measured in every step, and nothing is clipped."""
        return self == Measurement(gradients=self.gradients)

    def clip(self, norm: Tensor) -> Tensor:
        """Returns the factor, at most 1, that brings a norm to `max_norm`."""
        if self.max_norm is None:
            return ops.ones_like(norm)
        return self.max_norm / ops.maximum(norm, self.max_norm)

    def direction_scale(self, weights: Tensor, gramian: Tensor) -> Tensor:
        """Returns the factor, at most 1, that clips the direction.

        Args:
            weights: As of `norm_of`.
            gramian: As of `norm_of`.

        Returns:
            Float32 scalar.
        """
        if self.max_norm is None:
            return ops.ones(())
        return self.clip(norm_of(weights, gramian))


def norm_of(weights: Tensor, gramian: Tensor) -> Tensor:
    """Returns the norm of the sum of the gradients times the weights.

    Args:
        weights: Float tensor of shape `(T,)`, or `(K, T)` for groups of
            variables.
        gramian: Float tensor of shape `(T, T)`, or `(K, T, T)`.

    Returns:
        Float32 scalar.
    """
    # In units of the longest part, since squares of long or of short gradients
    # leave the range of float32.
    cosines, norms, _ = unit_gramian(gramian)
    parts = weights * norms
    longest = ops.max(ops.abs(parts))
    unit = parts / ops.where(longest > 0, longest, 1.0)
    squared = ops.sum(unit[..., None] * cosines * unit[..., None, :])
    return ops.sqrt(ops.maximum(squared, 0.0)) * longest


def default_max_norm(max_norm: float | str | None, rescale: str | None) -> Any:
    """Returns the `max_norm` that `"auto"` stands for.

    Args:
        max_norm: The argument of the constructor.
        rescale: As of `GradientWeighting`. The norm of the sum has no bound.
    """
    if isinstance(max_norm, str) and max_norm == "auto":
        return None if rescale == "sum" else 1.0
    return max_norm


def _layer_names(shared: Any) -> str | list[str]:
    if isinstance(shared, str) and shared in ("auto", "last"):
        return shared
    if isinstance(shared, str) or hasattr(shared, "name"):
        shared = [shared]
    is_list = isinstance(shared, (list, tuple))
    names = [getattr(x, "name", x) for x in shared] if is_list else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            'Expected `shared` to be "auto", "last", or a list of layers or '
            f"of their names. Received: shared={shared!r}"
        )
    return names
