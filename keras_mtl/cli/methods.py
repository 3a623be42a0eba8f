"""The list and the table of methods, made from the registry."""

import textwrap

from keras_mtl import weightings
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl.weightings.wrapper import Wrapper

# The kinds, with what the list says of them.
KINDS = {
    "loss": "Loss balancing looks at the task losses. A step costs what it "
    "costs in plain training: one backward pass, unless noted.",
    "gradient": "Gradient balancing also looks at the gradients of the T "
    "tasks. A step costs T backward passes, unless noted, or one "
    'through the shared layers with gradients="features".',
    "wrapper": "Wrappers change what another method does. (A name like "
    "igb_v1+nash_mtl chains a loss balancing and a gradient balancing.)",
}
PASSES = {"loss": "1 backward pass", "gradient": "T backward passes"}


def methods(
    kind: str | None = None, cost: str | None = None, needs: str | None = None
) -> list[dict[str, str]]:
    """Lists the methods of the registry.

    Args:
        kind: `"loss"`, `"gradient"` or `"wrapper"`, for the methods of that
            kind alone.
        cost: `"1"` for those of one backward pass a step, `"T"` for the others.
        needs: `"positive losses"`, `"epochs"` or `"gradients"`, for those that
            need it; `"none"` for those that need none of them.

    Returns:
        List of dicts with the entries `name`, `when` to use it, `class`,
        `paper`, `year`, `kind`, `cost` and `needs`, all strings.
    """
    return [
        row
        for row in map(_describe, weightings.names())
        if kind in (None, row["kind"])
        and cost in (None, "1" if row["cost"].startswith("1 ") else "T")
        and (needs is None or needs in _needs_of(row))
    ]


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Returns methods as a table in Markdown."""
    header = {"name": "name", "when": "when to use it", "class": "class"}
    lines = [
        [header.get(key, key) for key in rows[0]],
        ["---"] * len(rows[0]),
        *(_in_code(row).values() for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listing(rows: list[dict[str, str]], width: int = 80) -> str:
    """Returns methods as text, by kind.

    Args:
        rows: What `methods` returned.
        width: Length of the longest line.
    """
    blocks = []
    for kind, about in KINDS.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        if of_kind:
            entries = "\n".join(_entry(row, width) for row in of_kind)
            blocks.append(f"{textwrap.fill(about, width)}\n\n{entries}")
    return "\n\n".join(blocks)


def _entry(row, width):
    """Returns when to use a method, and below that where it is from."""
    name = f"{row['name']:<18}  "
    when = textwrap.fill(
        row["when"], width, initial_indent=name, subsequent_indent=20 * " "
    )
    source = [row["class"], row["paper"], row["year"]]
    facts = [", ".join(fact for fact in source if fact != "–")]
    if row["cost"] != PASSES.get(row["kind"]):
        facts.append(f"Costs {row['cost']}")
    needs = [x for x in _needs_of(row) if x not in ("none", "gradients")]
    if needs:
        facts.append(f"Needs {' and '.join(needs)}")
    indent = {"initial_indent": 4 * " ", "subsequent_indent": 4 * " "}
    return f"{when}\n{textwrap.fill('. '.join(facts), width, **indent)}"


def _in_code(row):
    """Marks what is code in Markdown."""
    return {**row, "name": f"`{row['name']}`", "class": f"`{row['class']}`"}


def _needs_of(row):
    return ["none"] if row["needs"] == "–" else row["needs"].split(", ")


def _describe(name):
    weighting = weightings.get(name)
    cls, facts = type(weighting), WEIGHTINGS.facts(name)
    kind = "gradient" if weighting.needs_gradients else "loss"
    needs = {
        "positive losses": weighting.needs_positive_losses,
        "epochs": weighting.needs_epochs,
        "gradients": weighting.needs_gradients,
    }
    return {
        "name": name,
        "when": facts["when"] or "–",
        "class": cls.__name__,
        "paper": facts["paper"] or "–",
        "year": str(facts["year"] or "–"),
        "kind": "wrapper" if issubclass(cls, Wrapper) else kind,
        "cost": facts["cost"] or PASSES[kind],
        "needs": ", ".join(need for need, is_so in needs.items() if is_so)
        or "–",
    }
