from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import norm_of_all
from keras_mtl.backend.numerics import seed_generator
from keras_mtl.weightings.measurement import Measurement
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting
from keras_mtl.weightings.wrapper import Wrapper

# Changes of the parameters, or gradients, one for each variable.
Changes = Sequence[Tensor | None]


@register(
    "samo",
    package="keras_mtl",
    paper="Ban et al., SAMO: A Lightweight Sharpness-Aware Approach",
    year=2025,
    cost="T + 1 backward passes, 3 T + 1 forward passes",
    when="Training scores are good, test scores are not: flat minima.",
)
class SAMO(Wrapper):
    """SAMO: another method, on gradients from a little uphill of the weights.

    Sharpness-aware minimization takes the gradient where the loss near by is
    largest. Here each task has its own such place. Task i moves the shared
    parameters by ρ d / ‖d‖, with d_l = (1 − β) g_l + β s ‖g_l‖ z_l / ‖z_l‖ in
    each variable l: g is the gradient of the mean of the losses, z is standard
    normal, and s the sign of L_i(θ + μ z) − L_i(θ − μ z), so that s z is an
    estimate of the task's own gradient from two forward passes, of which
    nothing but the direction is used. The task's own parameters move by ρ along
    their gradient. The method inside gets the gradients of the tasks at these
    places, and its direction changes the parameters where they were.

    The first two of these passes are those of inference, the third is a pass
    of training with the dropout of the step. No pass but that of the step
    changes the statistics of batch normalization or counts as a step of the
    random numbers. Regularizers, `add_loss` and what an override of
    `compute_loss` adds have their gradients where the parameters are.

    The form is that of the official runs on CelebA: layers are variables, each
    task draws a z of its own, and μ is 0.01. Those on NYUv2 leave out the norms
    of the layers, and on QM9 the tasks' own parameters move by their gradient,
    whatever ρ is. The official code does not weigh the gradients of the tasks'
    own parameters: give MGDA, which does by default, `weigh_heads=False`.

    Args:
        weighting: The gradient-balancing method inside, or what
            `keras_mtl.weightings.get` takes. It compares the gradients of all
            shared parameters, in each step and on the whole batch. Its
            arguments (`max_norm`, `rescale`, ...) are those of the direction.
        rho: Length ρ of the step uphill. The official runs have 1e-3, and on
            QM9 1e-5 with β = 0.9.
        beta: Share β of the task's own direction, in [0, 1]. With 0 there is no
            z, and a step takes T + 1 forward passes.
        epsilon: μ, by how much z moves the parameters.
        seed: Integer or `None`, the seed of z.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If the method inside measures other gradients. In a step: if
            there are several replicas. In a loop of one's own: always, since
            its losses are those of one place.

    Example:

    >>> samo = keras_mtl.weightings.SAMO("mgda", rho=0.5, beta=0.0)
    >>> changes, _ = samo.perturb([np.array([3.0, 4.0])], [], None)
    >>> changes[0]
    [0.3, 0.4]

    Reference:
        - [Ban et al., 2025](https://arxiv.org/abs/2507.07883), in the form of
          the [official code](https://github.com/OptMN-Lab/SAMO), whose 1 − β
          is the paper's α.
    """

    # A method that needs no gradients is refused.
    needs_gradients = True
    perturbs = True

    def __init__(
        self,
        weighting: Any = "fairgrad",
        rho: float = 1e-3,
        beta: float = 0.5,
        epsilon: float = 0.01,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("scale_invariant", "floor"):
            if kwargs.get(name):
                raise ValueError(
                    f"`{name}` belongs to a loss balancing, such as that of "
                    f"SAMO([ScaleInvariant(), ...]). Received: "
                    f"{name}={kwargs[name]} for SAMO"
                )
        super().__init__(**kwargs)
        self.weighting = WEIGHTINGS.get(weighting, "weighting")
        _check_is_measured_at_once(self.weighting)
        self.rho = checks.positive("rho", rho)
        self.beta = checks.fraction("beta", beta)
        self.epsilon = checks.positive("epsilon", epsilon)
        self.seed = checks.seed("seed", seed)
        self.seed_generator = seed_generator(self.seed)

    def _parts(self) -> list[Weighting]:
        return [self.weighting]

    def call(self, losses: Tensor, gramian: Tensor = None) -> Tensor:
        # The part guards its own state, and this one has nothing but weights.
        weights = self.weighting(losses, gramian)
        self.task_weights.assign(weights)
        return weights

    def perturb(
        self,
        shared: Changes,
        own: Changes,
        change: Callable[[Changes], Tensor],
    ) -> tuple[list, list]:
        """Returns by how much a task moves the parameters.

        Args:
            shared: The gradients of the mean of the losses for the shared
                parameters, `None` for zeros.
            own: Those of the task's loss for its own parameters.
            change: Function of changes d of the shared parameters that returns
                L(θ + d) − L(θ − d), a scalar.

        Returns:
            Tuple of lists, the changes of the shared and of its own parameters.
        """
        directions = [self._global_part(g) for g in shared]
        if self.beta:
            directions = self._with_local_part(shared, directions, change)
        return self._of_length(directions), self._of_length(own)

    def _global_part(self, gradient):
        if gradient is None:
            return None
        return (1.0 - self.beta) * ops.cast(gradient, "float32")

    def _with_local_part(self, shared, directions, change):
        """Adds the direction of the task's own gradient, as it is estimated."""
        draws = [
            None
            if g is None
            else keras.random.normal(ops.shape(g), seed=self.seed_generator)
            for g in shared
        ]
        moves = [None if z is None else self.epsilon * z for z in draws]
        sign = ops.cast(ops.sign(change(moves)), "float32")
        return [
            None
            if z is None
            else d
            + self.beta * sign * (norm_of_all([g]) / norm_of_all([z])) * z
            for d, g, z in zip(directions, shared, draws)
        ]

    def _of_length(self, directions):
        """Returns directions at the length ρ together; zeros stay zeros."""
        norm = norm_of_all(directions)
        return [
            None
            if d is None
            else self.rho * (ops.cast(d, "float32") / ops.maximum(norm, TINY))
            for d in directions
        ]


def _check_is_measured_at_once(weighting):
    """Raises a `ValueError` for what cannot be had at several places."""
    if not weighting.needs_gradients or weighting.perturbs:
        raise ValueError(
            "Expected `weighting` to be a gradient-balancing method. "
            f"Received: weighting={weighting}"
        )
    measured = weighting.measurement
    if measured != Measurement(max_norm=measured.max_norm):
        raise ValueError(
            "Expected `weighting` to compare the gradients of all shared "
            "parameters in each step and on the whole batch, since each task "
            'has its own parameters: gradients="parameters", shared="auto", '
            "update_every=1, gramian_batch=1.0. Received: "
            f"weighting={weighting} with {measured}"
        )
