import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from keras_mtl.datasets import nyuv2
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder
from keras_mtl.datasets.tfds_builders.multi_task_builder import label_or_missing


@dataclasses.dataclass
class Nyuv2MtlConfig(tfds.core.BuilderConfig):
    """Which split it is.

    Args:
        split: See `keras_mtl.datasets.nyuv2.load_data`.
        validation: See `keras_mtl.datasets.nyuv2.load_data`.
        seed: See `keras_mtl.datasets.nyuv2.load_data`.
    """

    split: str = "igb"
    validation: int | None = None
    seed: int = 0


class Nyuv2Mtl(MultiTaskBuilder):
    """NYUv2: segmentation, depth and surface normals of indoor scenes.

    An example is an `image`, in [0, 1], and for each of its pixels the class of
    13 (`segmentation`), the `depth` in metres and the unit vector `normal`; NaN
    where a pixel has no label.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download NYUv2 as MTAN preprocessed it, from the page
    https://github.com/lorenmt/mtan, and extract it so that `manual_dir/nyuv2/`
    has the files `{train,val}/{image,label,depth,normal}/<i>.npy`.
    """
    FOLDER = "nyuv2"
    HOMEPAGE = "https://github.com/lorenmt/mtan"
    BUILDER_CONFIGS = [
        Nyuv2MtlConfig(
            name="igb", description="795 / 197 / 457 images, of Dai et al."
        ),
        Nyuv2MtlConfig(
            name="mtan",
            description="716 / 79 / 654 images, with the test of Liu et al.",
            split="mtan",
        ),
    ]

    def _features(self) -> tuple[dict, dict]:
        # The files say how large the images are.
        size = None, None
        return {"image": _pixels(*size, 3)}, {
            "segmentation": _pixels(*size),
            "depth": _pixels(*size, 1),
            "normal": _pixels(*size, 3),
        }

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return nyuv2.load_data(
            folder, config.validation, seed=config.seed, split=config.split
        )


def _pixels(*shape):
    return label_or_missing(shape, encoding=tfds.features.Encoding.ZLIB)
