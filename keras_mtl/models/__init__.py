"""Networks of the papers, each an `(inputs, outputs)` pair of one graph."""

from keras_mtl.models.adv_mtl import adv_mtl
from keras_mtl.models.bert import bert
from keras_mtl.models.bert import minilm_preset
from keras_mtl.models.depth_loss import DepthLoss
from keras_mtl.models.glove import glove_embeddings
from keras_mtl.models.le_net import le_net
from keras_mtl.models.message_passing import message_passing
from keras_mtl.models.mpnn import mpnn
from keras_mtl.models.mtan_seg_net import mtan_seg_net
from keras_mtl.models.normal_loss import NormalLoss
from keras_mtl.models.scene_losses import scene_losses
from keras_mtl.models.seg_net import seg_net
from keras_mtl.models.segmentation_loss import SegmentationLoss
from keras_mtl.models.text_cnn import text_cnn

__all__ = [
    "DepthLoss",
    "NormalLoss",
    "SegmentationLoss",
    "adv_mtl",
    "bert",
    "glove_embeddings",
    "le_net",
    "message_passing",
    "minilm_preset",
    "mpnn",
    "mtan_seg_net",
    "scene_losses",
    "seg_net",
    "text_cnn",
]
