"""The console command `keras-mtl`, whose entry is `keras_mtl.cli.main`."""

__all__ = []
