import jax
from jax.interpreters import partial_eval


def check_split(split, run_heads, trainable, copies):
    """Raises an error where the loss of a task depends on another's head.

    Args:
        split: `GraphSplit`.
        run_heads: Function of the next two, whose first output has the list of
            the losses.
        trainable: List of the values of the trainable variables.
        copies: Dict of `(key, task)` to the copy of a boundary tensor.

    Raises:
        ValueError: If there is one.
    """
    if not split.has_code_around or split.is_checked:
        return

    def losses(trainable, copies):
        (losses, _), _ = run_heads(trainable, copies)
        return losses

    # What is left of the derivative is what a gradient passes through.
    _, derivative = jax.linearize(losses, trainable, copies)
    jaxpr = jax.make_jaxpr(derivative)(trainable, copies).jaxpr
    names = [*split.variables, *sorted(copies)]
    for task in split.tasks:
        chosen = [task == other for other in split.tasks]
        _, used = partial_eval.dce_jaxpr(jaxpr, chosen)
        foreign_variables, foreign_copies = split.foreign([task])
        foreign = {*map(id, foreign_variables), *foreign_copies}
        reached = [name for name, is_used in zip(names, used) if is_used]
        reached = [x for x in reached if _key(x) in foreign]
        split.check([task], reached)
    split.is_checked = True


def _key(name):
    return name if isinstance(name, tuple) else id(name)
