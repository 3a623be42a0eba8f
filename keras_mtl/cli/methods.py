"""The table of methods, made from the registry."""

from keras_mtl import weightings


def methods():
    """Lists the methods of the registry.

    Returns:
        List of dicts with the entries `name`, `class`, `paper`, `year`, `kind`
        (loss or gradient balancing), `cost` and `needs`, all strings.
    """
    return [_describe(name) for name in weightings.names()]


def markdown_table():
    """Returns the methods as a table in Markdown."""
    rows = [list(method.values()) for method in methods()]
    header = list(methods()[0])
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _describe(name):
    weighting = weightings.get(name)
    cls = type(weighting)
    needs = {
        "positive losses": cls.needs_positive_losses,
        "epochs": weighting.needs_epochs,
        "gradients": cls.needs_gradients,
    }
    return {
        "name": f"`{name}`",
        "class": f"`{cls.__name__}`",
        "paper": cls.paper,
        "year": str(cls.year or "–"),
        "kind": "gradient" if cls.needs_gradients else "loss",
        "cost": cls.cost,
        "needs": ", ".join(need for need, is_so in needs.items() if is_so)
        or "–",
    }
