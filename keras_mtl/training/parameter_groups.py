"""Which shared variables a weighting weighs together."""

from keras_mtl.training.measured_variables import measured_variables


def parameter_groups(variables, groups):
    """Returns the number of the group of each variable, from 0 on.

    Args:
        variables: List of variables.
        groups: As of `GroupedWeighting`.
    """
    if groups == "model":
        return [0] * len(variables)
    if groups == "variable":
        return list(range(len(variables)))
    numbers = {}
    # The path of a variable is that of its layer, and its own name.
    layers = [v.path.rpartition("/")[0] or v.path for v in variables]
    return [numbers.setdefault(layer, len(numbers)) for layer in layers]


def check_are_one_group(weighting):
    """Raises a `ValueError` for groups where no graph tells the layers.

    Args:
        weighting: `Weighting`.
    """
    if weighting.needs_gradients and weighting.groups != "model":
        name = type(weighting).__name__
        raise ValueError(
            "Expected a weighting that weighs all shared variables together: "
            "which ones are shared is only known when losses that any code "
            f'computes were traced. Type `keras_mtl.weightings.{name}(groups="'
            f'model")`. Received: {weighting} with groups={weighting.groups!r}'
        )


def shapes_for(weighting, tasks, split):
    """Returns the shapes for which a model builds a weighting.

    Args:
        weighting: `Weighting`.
        tasks: List of the names of the tasks.
        split: `GraphSplit` or `LossSplit`, or `None` without gradient
            balancing.

    Raises:
        ValueError: If the weighting is in use for other groups, or no graph
            tells them.
    """
    shapes = [(len(tasks),)]
    if not weighting.needs_gradients or weighting.groups == "model":
        return shapes
    if split.is_of_losses:
        check_are_one_group(weighting)
    variables = measured_variables(split, weighting)
    number = 1 + max(parameter_groups(variables, weighting.groups))
    if weighting.built and weighting.num_groups != number:
        raise ValueError(
            f"Expected a weighting for the {number} groups of shared variables "
            f"that the model has (groups={weighting.groups!r}). Received: "
            f"{weighting}, in use for {weighting.num_groups}. Make a new one "
            "after layers were frozen or set free."
        )
    return [*shapes, (number, len(tasks), len(tasks))]
