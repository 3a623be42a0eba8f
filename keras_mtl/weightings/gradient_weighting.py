"""The base class of the weightings that look at gradients."""

import contextlib
import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.snapshot import Snapshot
from keras_mtl.weightings.measurement import Measurement
from keras_mtl.weightings.measurement import norm_of
from keras_mtl.weightings.weighting import Weighting

# Smallest norm of a sum, in units of the norms of its parts, at which float32
# still knows the sum's direction.
MIN_CANCELLATION = 1e-3

# The arguments of the constructor that `measurement` holds.
MEASURED = tuple(field.name for field in dataclasses.fields(Measurement))


class GradientWeighting(Weighting):
    """Base class of the methods that look at the gradients of the tasks.

    A gradient-balancing method is a class with
    `compute_weights(losses, gramian)`.

    Args:
        gradients: `"parameters"`, gradients with respect to the shared
            variables (`T` backward passes through the trunk), or `"features"`,
            with respect to the tensors at which the trunk ends (one backward
            pass through the trunk, whatever `T` is; Sener and Koltun 2018,
            section 3.3).
        shared: `"auto"`, all shared variables; `"last"`, those of the last
            shared layer; or a list of layers or names of layers of the trunk on
            whose variables the gradients are compared. The weights multiply the
            gradients of the whole trunk in any case.
        update_every: Number of steps for which weights are used before they
            are computed anew.
        gramian_batch: Fraction of the batch, its first examples, from which the
            Gramian is computed; the update is that of the whole batch. With
            `"parameters"` it costs one more forward pass of that part, and its
            `T` backward passes instead of the batch's. The Gramian of a part of
            `b` examples estimates that of all data with a variance of about
            1 / b, and its diagonal is too large by the variance of the
            gradients, a bias of about 1 / b as well: conflicts look weaker than
            they are. A loss that is no mean over examples has another bias. The
            order of the examples must be random. Each replica of a TensorFlow
            strategy takes the first examples of its part of the batch.
        weigh_heads: Whether the weights multiply the gradients of the tasks'
            heads, too.
        max_norm: Largest norm of the direction on the shared variables, or
            `None`.
        rescale: `"sum"`: the direction gets the norm of the plain sum of the
            gradients, by one factor for all weights, so that a change of the
            method is no change of the learning rate (docs/findings.md has the
            norms of the methods). A direction that cancels to nothing, at a
            Pareto-stationary point, stays as it is. `None`: the length of the
            method's paper.
    """

    needs_gradients = True
    # Whether the direction is the sum of the rows times the weights. If not,
    # the method overrides `combine`.
    is_linear = True
    # Which shared variables are weighed together: "model", all of them. See
    # `GroupedWeighting` for others.
    groups = "model"
    # In how many parts of the batch the gradients of features are compared.
    num_parts = 1
    # Whether the gradients of each task are those at parameters of its own, to
    # which `perturb` moves it. See `SAMO`.
    perturbs = False
    implied_arguments = {**Weighting.implied_arguments, "rescale": None}

    def __init__(
        self,
        gradients: str = "parameters",
        shared: str | Sequence[str | keras.Layer] = "auto",
        update_every: int = 1,
        gramian_batch: float = 1.0,
        weigh_heads: bool = False,
        max_norm: float | None = None,
        rescale: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.scale_invariant:
            raise ValueError(
                "`scale_invariant` is for loss balancing. For gradients of log "
                'L, chain: weighting=["scale_invariant", ...]. Received: '
                f"scale_invariant=True for {type(self).__name__}"
            )
        self.measurement = Measurement(
            gradients, shared, update_every, gramian_batch, max_norm
        )
        self.weigh_heads = checks.boolean("weigh_heads", weigh_heads)
        if rescale is not None:
            rescale = checks.one_of("rescale", rescale, ("sum",))
        self.rescale = rescale
        is_plain = self.measurement.is_plain and rescale is None
        if not self.is_linear and not is_plain:
            raise ValueError(
                f"{type(self).__name__} combines the gradients of all shared "
                "variables in each step, and knows the norm of its direction "
                "only afterwards: it takes no `shared`, `update_every`, "
                "`gramian_batch`, `max_norm` or `rescale`. Received: "
                f"shared={shared}, update_every={update_every}, "
                f"gramian_batch={gramian_batch}, max_norm={max_norm}, "
                f"rescale={rescale!r}"
            )

    def build(
        self, losses_shape: tuple, gramian_shape: tuple | None = None
    ) -> None:
        super().build(losses_shape, gramian_shape)
        self.steps = self.add_state(dtype="int32", name="steps")

    def is_due(self) -> Tensor:
        """Whether the next call computes new weights, a boolean tensor."""
        return ops.equal(ops.convert_to_tensor(self.steps), 0)

    def _weigh(self, losses, gramian):
        due, old = self.is_due(), ops.copy(self.task_weights)
        update_every = self.measurement.update_every
        self.steps.assign((self.steps + 1) % update_every)
        if update_every == 1:
            return self._rescaled_weights(losses, gramian)
        weights = []

        def step():
            weights.append(self._rescaled_weights(losses, gramian))
            return due

        # Between updates the model passes a stand-in for the Gramian.
        self._undo_unless(step)
        return ops.where(due, weights[0], old)

    def _rescaled_weights(self, losses, gramian):
        """Returns the weights, with the norm that `rescale` asks for."""
        weights = self.compute_weights(losses, gramian)
        if self.rescale != "sum":
            return weights
        norm = norm_of(weights, gramian)
        squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
        norms = ops.sqrt(ops.relu(squares))
        parts = ops.sum(ops.abs(weights) * norms)
        known = ops.logical_and(norm > MIN_CANCELLATION * parts, norm > 0)
        factor = norm_of(ops.ones_like(weights), gramian)
        factor = factor / ops.where(known, norm, 1.0)
        return ops.where(known, factor, 1.0) * weights

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        """Computes the weights, shape `(T,)`, of finite arguments."""
        raise NotImplementedError

    def head_weights(self) -> Tensor:
        if self.weigh_heads:
            return super().head_weights()
        return self._plain_head_weights()

    def _plain_head_weights(self):
        """Returns the weights of the heads without `weigh_heads`."""
        return ops.ones((self.num_tasks,))

    def combine(self, matrix: Tensor, weights: Tensor) -> Tensor:
        """Combines the rows of a part of the Jacobian.

        Args:
            matrix: Float tensor of shape `(T, N)`, the gradients with respect
                to one tensor, flattened.
            weights: Float tensor of shape `(T,)`.

        Returns:
            Float32 tensor of shape `(N,)`.
        """
        return ops.matmul(weights, matrix)

    def perturb(
        self,
        shared: Sequence[Tensor | None],
        own: Sequence[Tensor | None],
        change: Callable[[Sequence[Tensor | None]], Tensor],
    ) -> tuple[list, list]:
        """Returns by how much a task moves the parameters, as `SAMO`."""
        raise NotImplementedError

    @contextlib.contextmanager
    def combining(self, losses: Tensor, gramian: Tensor) -> Iterator[None]:
        """Keeps the state where what is combined inside is not finite.

        Args:
            losses: Float tensor of shape `(T,)`.
            gramian: Float tensor of shape `(T, T)`.
        """
        if self.is_linear:
            # A weighted sum changes no state.
            yield
            return
        before = Snapshot(self.variables)
        yield
        finite = (ops.all(ops.isfinite(known)) for known in (losses, gramian))
        before.restore(where=ops.logical_not(ops.logical_and(*finite)))

    def aggregate(self, jacobian: Tensor, losses: Tensor = None) -> Tensor:
        """Combines task gradients into the direction on the shared variables.

        Args:
            jacobian: Float tensor of shape `(T, P)`, one gradient per task.
            losses: Float tensor of shape `(T,)`; ones by default.

        Returns:
            Float32 tensor of shape `(P,)`.
        """
        jacobian = ops.convert_to_tensor(jacobian, "float32")
        if losses is None:
            losses = ops.ones((jacobian.shape[0],))
        gramian = ops.matmul(jacobian, ops.transpose(jacobian))
        weights = self(losses, gramian)
        scale = self.measurement.direction_scale(weights, gramian)
        with self.combining(losses, gramian):
            return self.combine(jacobian, scale * weights)

    def _argument(self, name):
        if name in MEASURED:
            return getattr(self.measurement, name)
        return super()._argument(name)
