"""The console command `keras-mtl`.

It stands beside the package, because `import keras_mtl` imports Keras, which
takes seconds: here, nothing does so before there is something to train or to
list.
"""

from keras_mtl_console.command import main

__all__ = ["main"]
