"""The console command `keras-mtl`."""
