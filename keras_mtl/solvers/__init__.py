"""Solvers of the weightings: pure functions of `(T, T)` tensors."""

from keras_mtl.solvers.cagrad import conflict_averse
from keras_mtl.solvers.dual_cone import dual_cone_projection
from keras_mtl.solvers.fairgrad import fair_weights
from keras_mtl.solvers.nash import nash_bargaining
from keras_mtl.solvers.nonnegative import nonnegative_qp
from keras_mtl.solvers.pseudo_inverse import pseudo_solve
from keras_mtl.solvers.simplex import simplex_qp

__all__ = [
    "conflict_averse",
    "dual_cone_projection",
    "fair_weights",
    "nash_bargaining",
    "nonnegative_qp",
    "pseudo_solve",
    "simplex_qp",
]
