"""What is written to files: checkpoints, state and exported networks."""
