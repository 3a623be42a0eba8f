"""Solvers of the weightings: pure functions of `(T, T)` tensors."""

from keras_mtl.solvers.nash import nash_bargaining

__all__ = ["nash_bargaining"]
