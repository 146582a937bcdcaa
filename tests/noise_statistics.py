"""Norms of an untrained network that normalise."""

import torch
from torch import nn

from effps_solo.modeling.meta_arch import EfficientPS


def take_statistics(model: EfficientPS) -> None:
    """Give the batch norms of the SOLOv2 head the statistics of noise; other heads stay as they are.

    Those of a new network are 0 and 1, with which random weights saturate every score.
    """
    head = model.instance_head
    if not hasattr(head, "grid_branches"):
        return
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 128, 192, generator=generator)
    norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        features = model.eval().backbone(images)
        head.train()(features, head.cells)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()
