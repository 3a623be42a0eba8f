"""The table of methods, made from the registry."""

from keras_mtl import weightings
from keras_mtl.weightings.registry import WEIGHTINGS


def methods() -> list[dict[str, str]]:
    """Lists the methods of the registry.

    Returns:
        List of dicts with the entries `name`, `class`, `paper`, `year`, `kind`
        (loss or gradient balancing), `cost` and `needs`, all strings.
    """
    return [_describe(name) for name in weightings.names()]


def markdown_table() -> str:
    """Returns the methods as a table in Markdown."""
    rows = [list(method.values()) for method in methods()]
    header = list(methods()[0])
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _describe(name):
    weighting = weightings.get(name)
    cls, facts = type(weighting), WEIGHTINGS.facts(name)
    is_gradient = weighting.needs_gradients
    needs = {
        "positive losses": weighting.needs_positive_losses,
        "epochs": weighting.needs_epochs,
        "gradients": is_gradient,
    }
    passes = "T backward passes" if is_gradient else "1 backward pass"
    return {
        "name": f"`{name}`",
        "class": f"`{cls.__name__}`",
        "paper": facts["paper"] or "–",
        "year": str(facts["year"] or "–"),
        "kind": "gradient" if is_gradient else "loss",
        "cost": facts["cost"] or passes,
        "needs": ", ".join(need for need, is_so in needs.items() if is_so)
        or "–",
    }
