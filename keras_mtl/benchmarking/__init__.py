"""Trains one model with several weightings and seeds, and compares them."""

from keras_mtl.benchmarking.benchmark import benchmark
from keras_mtl.benchmarking.relative_times import relative_times
from keras_mtl.benchmarking.result import BenchmarkResult
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.single_task import single_task
from keras_mtl.benchmarking.single_task_result import SingleTaskResult
from keras_mtl.benchmarking.tuning import tune
from keras_mtl.benchmarking.tuning_result import TuningResult

__all__ = [
    "BenchmarkResult",
    "Setting",
    "SingleTaskResult",
    "TuningResult",
    "benchmark",
    "relative_times",
    "single_task",
    "tune",
]
