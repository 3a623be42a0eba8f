"""The losses of the tasks, with labels that may be missing."""
