"""Trains one model with several weightings and seeds, and compares them."""

from keras_mtl.benchmarking.benchmark import benchmark
from keras_mtl.benchmarking.result import BenchmarkResult
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.single_task_result import SingleTaskResult

__all__ = [
    "BenchmarkResult",
    "Setting",
    "SingleTaskResult",
    "benchmark",
]
