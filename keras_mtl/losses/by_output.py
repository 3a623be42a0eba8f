"""What is given for each output, as a dict or a list."""


def by_output(what, values, output_keys):
    """Sorts values that were given for the outputs into a dict.

    Args:
        what: What the values are ("labels", ...), for the error.
        values: Dict of output name to value, or a list or tuple with one value
            per output.
        output_keys: List of the names of the outputs.

    Returns:
        Dict of output name to value.

    Raises:
        ValueError: If it is neither a dict nor has one value per output.
    """
    if isinstance(values, dict):
        return values
    if isinstance(values, (list, tuple)) and len(values) == len(output_keys):
        return dict(zip(output_keys, values))
    if isinstance(values, (list, tuple)):
        received = f"{len(values)} values"
    else:
        received = getattr(values, "shape", values)
    raise ValueError(
        f"Expected {what} to be a dict or list with one entry per output, that "
        f"is for {list(output_keys)}. Received: {received}"
    )
