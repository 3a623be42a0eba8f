"""Trains one model with several weightings and seeds, and compares them."""

from keras_mtl.benchmarking.benchmark import benchmark
from keras_mtl.benchmarking.result import BenchmarkResult

__all__ = ["BenchmarkResult", "benchmark"]
