import sys

from keras_mtl_console.command import main

# A tool that imports all modules, such as one for documentation, runs nothing.
if __name__ == "__main__":
    sys.exit(main())
