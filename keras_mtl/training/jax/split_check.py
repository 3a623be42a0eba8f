import jax
from jax.interpreters import partial_eval


def check_split(split, run_heads, inputs):
    """Raises an error where the loss of a task depends on another's head.

    Args:
        split: `GraphSplit`.
        run_heads: Function of the inputs whose first output has the list of the
            losses.
        inputs: Tuple that begins with the list of the values of the trainable
            variables, and the dict of `(key, task)` to the copy of a boundary
            tensor.

    Raises:
        ValueError: If there is one.
    """
    if not split.has_code_around or split.is_checked:
        return

    def losses(*inputs):
        (losses, _), _ = run_heads(*inputs)
        return losses

    # What is left of the derivative is what a gradient passes through.
    _, derivative = jax.linearize(losses, *inputs)
    jaxpr = jax.make_jaxpr(derivative)(*inputs).jaxpr
    names = [*split.variables, *sorted(inputs[1])]
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
