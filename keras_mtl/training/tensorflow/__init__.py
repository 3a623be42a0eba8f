"""Training steps, as only TensorFlow can say them."""
