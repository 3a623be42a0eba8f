"""`python -m keras_mtl.cli` is `keras-mtl`, once Keras is imported."""

import sys

from keras_mtl_console import main

# A tool that imports all modules, such as one for documentation, runs nothing.
if __name__ == "__main__":
    sys.exit(main())
