"""Training steps, as only JAX can say them."""
