import sys

from keras_mtl.cli.main import main

sys.exit(main())
