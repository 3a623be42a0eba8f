"""The benchmarks' networks in PyTorch, and their training step with TorchJD."""

import networks
import torch
from torch import nn
from torchjd import aggregation
from torchjd.autojac import jac_to_grad
from torchjd.autojac import mtl_backward

AGGREGATORS = {
    "mgda": aggregation.MGDA,
    "upgrad": aggregation.UPGrad,
    "dualproj": aggregation.DualProj,
    "cagrad": lambda: aggregation.CAGrad(c=0.4),
    "pcgrad": aggregation.PCGrad,
    "imtl_g": aggregation.IMTLG,
    "fairgrad": lambda: aggregation.FairGrad(alpha=1.0),
}


def aggregator(method, num_tasks):
    """Returns TorchJD's aggregator for one of our names."""
    if method == "nash_mtl":
        return aggregation.NashMTL(n_tasks=num_tasks)
    return AGGREGATORS[method]()


def trunk(kind, width=512):
    """The trunk of `networks.mlp` or `networks.cnn`, and its output's size."""
    if kind == "mlp":
        sizes = [64, width, width, width, width]
        layers = [
            layer
            for a, b in zip(sizes, sizes[1:])
            for layer in (nn.Linear(a, b), nn.ReLU())
        ]
        return nn.Sequential(*layers), width
    channels, layers = 3, []
    for filters in networks.FILTERS:
        convolution = nn.Conv2d(channels, filters, 3, stride=2, padding=1)
        layers += [convolution, nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten()), channels * 4 * 4


def backward_of(method, num_tasks, shared, is_ours):
    """Returns a function of losses and features that sets all gradients."""
    if is_ours:
        import keras_mtl

        weighting = keras_mtl.weightings.get(method)
        return lambda losses, _: keras_mtl.loops.backward(losses, weighting)
    if method == "equal":
        return lambda losses, _: sum(losses).backward()
    combine = aggregator(method, num_tasks)

    def backward(losses, features):
        mtl_backward(losses, features=features)
        jac_to_grad(shared, combine)

    return backward


def training_step(kind, method, num_tasks, batch_size, is_ours=False):
    """Returns a function that takes one training step on fixed data.

    Args:
        is_ours: Whether `keras_mtl.loops.backward` takes the place of TorchJD.
    """
    torch.manual_seed(0)
    shared, size = trunk(kind)
    heads = [
        nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 1))
        for _ in range(num_tasks)
    ]
    x, y = networks.data(networks.SHAPES[kind], batch_size, num_tasks)
    x = torch.tensor(x)
    if kind == "cnn":
        x = x.permute(0, 3, 1, 2).contiguous()
    y = [torch.tensor(values) for values in y.values()]
    parameters = [*shared.parameters()]
    for head in heads:
        parameters += head.parameters()
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    backward = backward_of(method, num_tasks, [*shared.parameters()], is_ours)
    loss = nn.MSELoss()

    def step():
        features = shared(x)
        losses = [loss(head(features), t) for head, t in zip(heads, y)]
        backward(losses, features)
        optimizer.step()
        optimizer.zero_grad()

    return step
