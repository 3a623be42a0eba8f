"""The ground floor: what is said for each backend apart, and for Keras."""
