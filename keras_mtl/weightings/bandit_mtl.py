import math
from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.exponentiated_gradient import MIN_LOG_P
from keras_mtl.solvers.exponentiated_gradient import exponentiated_gradient_step
from keras_mtl.solvers.kl_ball import project_onto_kl_ball
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The largest lead of one task's gain. More would take many batches to forget.
MAX_GAIN = 10.0


@register(
    "bandit_mtl",
    package="keras_mtl",
    paper="Mao et al., Bandit-based Multi-task Learning (BanditMTL)",
    year=2021,
    when="No task should fall far behind. Losses of one scale.",
)
class BanditMTL(Weighting):
    """BanditMTL: an adversarial bandit weights the tasks.

    The player chooses probabilities p that make Σ p L large, at most `rho` away
    from equal ones in the Kullback-Leibler divergence; the network makes it
    small. At its largest, Σ p L is about the mean loss plus sqrt(2 ρ variance
    between the tasks), see `keras_mtl.metrics.task_variance`; the paper omits
    the 2. After each step, p takes a step of mirror gradient ascent: q = p
    exp(η L) is projected to the nearest p that the constraint allows, which is
    q^(1 / (1 + λ)), normalized.

    The weights are T p, with p from before the step's losses, so that `rho=0`
    is equal weighting. The paper minimizes Σ p L / T: its weights are smaller
    by the constant factor T², which only scales the learning rate, and with
    Adam not even that. A task without a label in the batch (loss 0) keeps its
    p: the others share what is left, and then all are projected.

    Args:
        rho: Largest divergence ρ of p from equal probabilities, in nats. From
            log T on, that is, by default for up to three tasks, the constraint
            never binds, and p may leave all weight to one task.
        eta: Step size η_p of p, in units of 1 / loss: the paper's losses are at
            most 1.
        **kwargs: See `Weighting` (`scale_invariant`, and `floor` with it).

    Example:

    >>> bandit = keras_mtl.weightings.BanditMTL(eta=1.0)
    >>> bandit(np.log([3.0, 9.0]))
    [1.0, 1.0]
    >>> bandit(np.array([1.0, 1.0]))
    [0.5, 1.5]

    Reference:
        - [Mao et al., 2021](https://aclanthology.org/2021.acl-long.428/),
          Algorithms 1 and 2, equations 5 to 8. The f(λ) of equation 7 is the
          divergence of p minus ρ.
    """

    def __init__(
        self, rho: float = 1.2, eta: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rho = checks.non_negative("rho", rho)
        self.eta = checks.positive("eta", eta)

    def build_state(self, num_tasks: int) -> None:
        uniform = keras.initializers.Constant(-math.log(num_tasks))
        self.log_p = self.add_state((num_tasks,), uniform, "log_p")

    def compute_weights(self, losses: Tensor) -> Tensor:
        log_p = ops.convert_to_tensor(self.log_p)
        p = ops.exp(log_p)
        labelled = ops.not_equal(losses, 0.0)
        gains = _limited(self.eta * losses, labelled)
        log_q = exponentiated_gradient_step(log_p, gains, labelled)
        log_p = project_onto_kl_ball(log_q, self.rho)
        self.log_p.assign(ops.maximum(log_p, MIN_LOG_P))
        return self.num_tasks * p


def _limited(gains, labelled):
    """Bounds the largest gain by the second one."""
    if gains.shape[0] == 1:
        return gains
    # A task without a label does not count, as the others' smallest gain.
    known = ops.where(labelled, gains, ops.min(gains))
    second = ops.sort(known)[-2]
    return ops.minimum(gains, second + MAX_GAIN)
