"""The base class of the methods that may weigh groups of variables apart."""

from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.measurement import Measurement

GROUPS = ("model", "layer", "variable")


class GroupedWeighting(GradientWeighting):
    """Base class of the methods that may weigh groups of variables apart.

    With K groups, `compute_weights` gets the Gramians of the groups, of shape
    `(K, T, T)`, and returns weights of shape `(K, T)`; with `groups="model"` it
    is as in `GradientWeighting`. A call returns one weight per task, the mean
    of those in the groups by their shares in the squared norm of the gradient.

    Args:
        groups: `"model"`, the shared variables have one weight per task
            together; `"layer"`, those of each layer; `"variable"`, each of
            them.
        **kwargs: See `GradientWeighting`.
    """

    def __init__(self, groups: str = "model", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = checks.one_of("groups", groups, GROUPS)
        measured = self.measurement
        is_plain = measured == Measurement(max_norm=measured.max_norm)
        if groups != "model" and not is_plain:
            raise ValueError(
                f'groups="{groups}" weighs the gradients of all shared '
                "variables in each step: it takes "
                'no gradients="features", `shared`, `update_every` or '
                '`gramian_batch`, as groups="model" does. Received: '
                f"{measured}"
            )

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        is_one = gramian_shape is None or len(gramian_shape) == 2
        self.num_groups = 1 if is_one else gramian_shape[0]
        super().build(losses_shape, gramian_shape)
        if self.groups != "model":
            shape = (self.num_groups, self.num_tasks)
            self.group_weights = self.add_state(shape, "ones", "group_weights")

    def group_shape(self, *shape: int) -> tuple[int, ...]:
        """Returns the shape of what each group has one of."""
        return shape if self.groups == "model" else (self.num_groups, *shape)

    def weights_of_groups(self) -> Tensor:
        """Weights of the groups after a call, shape `(K, T)`."""
        return ops.convert_to_tensor(self.group_weights)

    def _gramian_shapes(self):
        shapes = super()._gramian_shapes()
        if self.groups == "model":
            return shapes
        of_groups = [(self.num_groups, *shape) for shape in shapes]
        # Outside of a model, all there is may be one group.
        return of_groups + shapes * (self.num_groups == 1)

    def _weigh(self, losses, gramian):
        if self.groups == "model":
            return super()._weigh(losses, gramian)
        gramians = ops.reshape(gramian, self._gramian_shapes()[0])
        weights = self._rescaled_weights(losses, gramians)
        self.group_weights.assign(weights)
        return _mean_weights(weights, gramians)


def _mean_weights(weights, gramians):
    """Returns one weight per task, shape `(T,)`, for those of the groups."""
    squares = ops.relu(ops.diagonal(gramians, axis1=-2, axis2=-1))
    largest = ops.max(squares, axis=0)
    shares = squares / ops.where(largest > 0, largest, 1.0)
    # A zero gradient has no shares: all groups count the same.
    shares = ops.where(largest > 0, shares, 1.0)
    return ops.sum(shares * weights, axis=0) / ops.sum(shares, axis=0)
