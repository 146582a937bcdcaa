"""Decoding and fusion of synthetic objects, whose number is known. A job of a worker.

The dense outputs of the instance head are replaced by ones that say: circles here and there. All
that follows is the model's own.
"""

import math
from typing import Tuple

import torch

from effps_solo.modeling.instance_head.solov2 import SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.output import SOLOv2Output
from effps_solo.modeling.instance_head.solov2.position_prior import NUM_PARAMETERS, PEAK_LOGIT
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.upsampling import STRIDE, stride4_size
from effps_solo.utils.errors import ConfigError

from .measure import peak_memory
from .stages import Scopes, clock
from .torch_backends import open_config, open_predictor
from .worker import Answer, Job, Task

MAX_OBJECTS = 400
_NO, _YES = -10.0, 3.0  # class logits
_STUFF_LOGIT = 3.0
_RADII = (1 / 40, 1 / 12)  # of the circles, in heights of the image
_EDGE = 8.0  # mask logit in the middle of a circle
_LENGTHS = 17.0  # of a kernel times that of the features, in the model of the package


class ObjectsJob(Job):
    """Decode and fuse as many objects as asked for."""

    def __init__(self, model: EfficientPS, image_size: Tuple[int, int], device: str) -> None:
        """
        Raises:
            ConfigError: the model has no SOLOv2 head.
        """
        if not isinstance(getattr(model, "instance_head", None), SOLOv2InstanceHead):
            raise ConfigError("only SOLOv2InstanceHead can be given synthetic objects")
        self.model, self.image_size, self.device = model, image_size, device
        self.scopes = Scopes(clock(device))
        self.semantic_logits = stuff_bands(model, image_size)

    @torch.inference_mode()
    def run(self, number: int) -> Answer:
        """{"stages": {"decode", "fusion"} in seconds, "things", "peak_memory_bytes"} of ``number``
        objects.
        """
        head, fusion = self.model.instance_head, self.model.fusion
        output = circles(head, number, self.image_size)
        head.forward = lambda features, cells: output
        with self.scopes.scope("decode"):
            instances = head.inference({}, [self.image_size], min_score=fusion.thresholds.score)[0]
        with self.scopes.scope("fusion"):
            _, segments = fusion(self.semantic_logits, instances, self.image_size)
        return {
            "stages": self.scopes.take(),
            "things": sum(s["isthing"] for s in segments),
            "peak_memory_bytes": peak_memory(self.device),
        }


def circles(head: SOLOv2InstanceHead, count: int, image_size: Tuple[int, int]) -> SOLOv2Output:
    """Dense outputs of which the decoding makes ``count`` candidates with circles for masks.

    At most as many as there are cells. A head with a position prior makes the circles of Gaussians, as
    a trained one does; the published head of features that hold coordinates.
    """
    centers = head.test_cells.centers
    generator = torch.Generator().manual_seed(0)
    cells = torch.linspace(0, len(centers) - 1, count).round().long().unique()
    cells = cells[torch.randperm(len(cells), generator=generator)].to(centers.device)

    category = centers.new_full((1, len(centers), head.num_classes), _NO)
    order = torch.arange(len(cells), device=centers.device)
    category[0, cells, order % head.num_classes] = _YES - order / MAX_OBJECTS

    low, high = _RADII
    radius = low + (high - low) * torch.rand(len(cells), generator=generator).to(centers)
    kernels = centers.new_zeros(
        1, len(centers), head.kernel_dim + head.has_position_prior * NUM_PARAMETERS
    )
    features = centers.new_zeros(1, head.kernel_dim, *stride4_size(image_size))
    output = SOLOv2Output(category, kernels, features)
    draw = _draw_gaussians if head.has_position_prior else _draw_by_coordinates
    draw(head, cells, radius, output)
    return output


def _draw_gaussians(
    head: SOLOv2InstanceHead, cells: torch.Tensor, radius: torch.Tensor, output: SOLOv2Output
) -> None:
    """Priors that are 0 at ``radius``. Features and kernels are as long as those of a trained network,
    for their lengths bound where masks can lie, but at right angles: their product is 0.
    """
    output.mask_features[0, 0] = 1.0
    output.kernels[0, cells, 1] = _LENGTHS
    deviation = radius * STRIDE * output.mask_features.shape[2] / math.sqrt(2 * _EDGE)
    log_extents = (deviation / head.test_cells.extents[cells]).log()
    prior = output.kernels[0, :, head.kernel_dim :]
    prior[cells, 2:4] = log_extents[:, None]
    prior[cells, 4] = _EDGE - PEAK_LOGIT


def _draw_by_coordinates(
    head: SOLOv2InstanceHead, cells: torch.Tensor, radius: torch.Tensor, output: SOLOv2Output
) -> None:
    """The features are x, y, x^2 + y^2 and 1, in heights of the image, of which a dynamic kernel makes
    edge * (1 - ((x - cx)^2 + (y - cy)^2) / r^2).
    """
    height, width = output.mask_features.shape[2:]
    axes = (torch.arange(length, device=radius.device) / height for length in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    output.mask_features[0, :4] = torch.stack([x, y, x.square() + y.square(), torch.ones_like(x)])
    sharpness = _EDGE / radius.square()
    centers = head.test_cells.centers[cells]
    cx, cy = (centers * centers.new_tensor([width / height, 1.0])).T
    rest = radius.square() - cx.square() - cy.square()
    output.kernels[0, cells, :4] = sharpness[:, None] * torch.stack(
        [2 * cx, 2 * cy, -torch.ones_like(cx), rest], dim=1
    )


def stuff_bands(model: EfficientPS, image_size: Tuple[int, int]) -> torch.Tensor:
    """(C, h4, w4) semantic logits: one band of rows for each stuff class, no class of things."""
    height, width = stride4_size(image_size)
    space = model.label_space
    logits = torch.zeros(space.num_classes, height, width, device=model.device)
    for number, category in enumerate(space.stuff_ids):
        first, last = (height * k // len(space.stuff_ids) for k in (number, number + 1))
        logits[category, first:last] = _STUFF_LOGIT
    return logits


def open_job(task: Task) -> ObjectsJob:
    """Of a task of kind objects."""
    limit = str(MAX_OBJECTS)
    cfg = open_config(task, "TEST.DETECTIONS_PER_IMAGE", limit, "MODEL.SOLOV2.NMS_PRE", limit)
    model = open_predictor(cfg, task.allow_unsafe).model
    return ObjectsJob(model, task.image_size, cfg.MODEL.DEVICE)
