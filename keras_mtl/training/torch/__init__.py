"""Training steps, as only PyTorch can say them."""
