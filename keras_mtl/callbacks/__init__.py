"""Callbacks that watch a multi-task training, and that resume it."""

from keras_mtl.callbacks.backup_and_restore import BackupAndRestore
from keras_mtl.callbacks.delta_m import DeltaM
from keras_mtl.callbacks.gradient_cosines import GradientCosines
from keras_mtl.callbacks.task_report import TaskReport
from keras_mtl.callbacks.task_scores import TaskScores
from keras_mtl.callbacks.task_tensor_board import TaskTensorBoard

__all__ = [
    "BackupAndRestore",
    "DeltaM",
    "GradientCosines",
    "TaskReport",
    "TaskScores",
    "TaskTensorBoard",
]
