"""Circles that the decoding of SOLOv2 finds where they were put."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from effps_solo.benchmark.synthetic_objects import ObjectsJob, circles, stuff_bands
from effps_solo.config import load_config
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fresh_loggers")
SIZE = (256, 384)


def build(config: Path, *words: str) -> EfficientPS:
    many = ["TEST.DETECTIONS_PER_IMAGE", "400", "MODEL.OUTPUTS", "['panoptic_seg']"]
    model: EfficientPS = build_model(load_config(str(config), [*many, *words]))
    return model.eval()


@pytest.mark.parametrize("variant", ["efficient", "full"])
@torch.no_grad()
def test_masks_are_circles_around_the_cells(tiny_config: Path, variant: str) -> None:
    words = ["MODEL.SOLOV2.VARIANT", variant]
    head = build(tiny_config, *words).instance_head
    output = circles(head, 5, SIZE)
    cells = (output.category[0] > 0).any(dim=1).nonzero()[:, 0]
    assert len(cells) == 5 and (output.category > 0).sum() == 5
    masks = head.masks(output, head.test_cells).of(cells).logits() > 0
    # The Gaussians lie on the centres of pixels, the coordinates start at 0.
    offset = 0.5 if variant == "efficient" else 0.0
    y, x = (torch.arange(count) + offset for count in (64, 96))
    y, x = torch.meshgrid(y / 64, x / 64, indexing="ij")
    for cell, mask in zip(cells, masks):
        center = head.test_cells.centers[cell] * torch.tensor([384 / 256, 1.0])
        distance = torch.hypot(x - center[0], y - center[1])
        radius = distance[mask].max()
        assert 1 / 40 - 1 / 64 < radius < 1 / 12
        # All points as near as the farthest one of the mask belong to it.
        assert torch.equal(mask, distance < radius + 1e-4)
    whole = masks[2].sum() / 64**2  # the cell in the middle of the list lies inside of the image
    radius = math.sqrt(whole / math.pi)
    assert 1 / 45 < radius < 1 / 11


def test_objects_become_things(tiny_config: Path) -> None:
    job = ObjectsJob(build(tiny_config), SIZE, "cpu")
    found = {count: job.run(count) for count in (0, 1, 20)}
    assert [found[count]["things"] for count in (0, 1)] == [0, 1]
    assert 15 <= found[20]["things"] <= 20  # some lie on each other
    for answer in found.values():
        assert set(answer["stages"]) == {"decode", "fusion"} and answer["peak_memory_bytes"] > 1e8
        assert min(answer["stages"].values()) > 0


def test_stuff_takes_bands_of_rows(tiny_config: Path) -> None:
    model = build(tiny_config)
    winner = stuff_bands(model, (64, 96)).argmax(dim=0)
    first, second = model.label_space.stuff_ids
    assert (winner[:8] == first).all() and (winner[8:] == second).all()


def test_another_head(tiny_config: Path) -> None:
    model = build(tiny_config, "MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead")
    with pytest.raises(ConfigError, match="SOLOv2InstanceHead"):
        ObjectsJob(model, SIZE, "cpu")
