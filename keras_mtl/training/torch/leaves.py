"""The leaf tensors of a record of PyTorch."""


def leaves_of(losses):
    """Finds the leaf tensors from which losses were computed.

    Each node of the record is visited twice, however many losses depend on it.

    Args:
        losses: List of `T` tensors.

    Returns:
        Tuple of the list of the leaves, and a list of a set for each loss, the
        `id` of each leaf that it depends on.
    """
    roots = [loss.grad_fn for loss in losses]
    # The bits of a node's mask are the losses that depend on it.
    masks = dict.fromkeys(filter(None, roots), 0)
    for i, root in enumerate(roots):
        if root is not None:
            masks[root] |= 1 << i
    reached = [
        {id(x)} if x.grad_fn is None and x.requires_grad else set()
        for x in losses
    ]
    leaves = {id(x): x for x in losses if x.grad_fn is None and x.requires_grad}
    for node in _from_losses(list(masks)):
        mask = masks[node]
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves[id(leaf)] = leaf
            for i, ids in enumerate(reached):
                if mask >> i & 1:
                    ids.add(id(leaf))
        for child, _ in node.next_functions:
            if child is not None:
                masks[child] = masks.get(child, 0) | mask
    return list(leaves.values()), reached


def _from_losses(roots):
    """Lists the nodes so that each comes before those that it depends on."""
    order, seen, stack = [], set(), [(root, False) for root in roots]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [
                (child, False)
                for child, _ in node.next_functions
                if child is not None and child not in seen
            ]
    return order[::-1]
