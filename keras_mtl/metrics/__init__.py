"""Measures over all the tasks of a multi-task model, and those of NYUv2."""

from keras_mtl.metrics.delta_m import delta_m
from keras_mtl.metrics.mean_rank import mean_rank
from keras_mtl.metrics.median_angle import MedianAngle
from keras_mtl.metrics.pixel_mean import PixelMean
from keras_mtl.metrics.pixel_mean_iou import PixelMeanIoU
from keras_mtl.metrics.scene_metrics import scene_metrics
from keras_mtl.metrics.task_means import TaskMeans
from keras_mtl.metrics.task_variance import task_variance

__all__ = [
    "MedianAngle",
    "PixelMean",
    "PixelMeanIoU",
    "TaskMeans",
    "delta_m",
    "mean_rank",
    "scene_metrics",
    "task_variance",
]
