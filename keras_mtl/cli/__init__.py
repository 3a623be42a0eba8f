"""What the commands of `keras-mtl` do; `keras_mtl_console` parses them."""

__all__ = []
