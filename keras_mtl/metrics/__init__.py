"""Measures over all the tasks of a multi-task model."""

from keras_mtl.metrics.delta_m import delta_m
from keras_mtl.metrics.mean_rank import mean_rank
from keras_mtl.metrics.task_means import TaskMeans
from keras_mtl.metrics.task_variance import task_variance

__all__ = ["TaskMeans", "delta_m", "mean_rank", "task_variance"]
