"""The arguments of `fit` for data that decide on their order themselves."""


def in_own_order(arguments):
    """Returns the arguments of `fit` for `ShuffledBatches`.

    Args:
        arguments: Dict of the arguments of `fit`.

    Raises:
        ValueError: If `steps_per_epoch` cuts an epoch short.
    """
    if arguments.get("steps_per_epoch") is not None:
        raise ValueError(
            "Expected no `steps_per_epoch` with `ShuffledBatches`, each epoch "
            "of which goes through all examples. Received: steps_per_epoch="
            f"{arguments['steps_per_epoch']}"
        )
    return {**arguments, "shuffle": False}


def check_with_sampler(arguments):
    """Raises a `ValueError` for what a `TaskSampler` has itself.

    Args:
        arguments: Dict of the arguments of `fit`.
    """
    for name in ("y", "batch_size", "sample_weight", "class_weight"):
        if arguments.get(name) is not None:
            raise ValueError(
                "Expected a `TaskSampler` to have all training data, and "
                f"no `{name}`. Received: {name}={arguments[name]}"
            )
    if arguments.get("validation_split"):
        raise ValueError(
            "Expected `validation_data` with a `TaskSampler`. Received: "
            f"validation_split={arguments['validation_split']}"
        )
