"""Checks of weightings, for those who write their own."""

from keras_mtl.testing.weighting_checks import check_weighting

__all__ = ["check_weighting"]
