"""The traced graph against the model that it is made of."""

import contextlib
from fractions import Fraction
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import torch
from PIL import Image

from effps_solo.data.augmentation import RandomScale
from effps_solo.export import PanopticGraph
from effps_solo.export.graph import rows_by_id
from effps_solo.modeling.fusion.segments import SegmentTable
from effps_solo.modeling.meta_arch import EfficientPS

MakeModel = Callable[..., EfficientPS]
AsExported = Callable[[], Any]


def _segments(output: Tuple[torch.Tensor, ...]) -> List[Dict[str, Any]]:
    _, category_ids, scores, areas, valid = (x.tolist() for x in output)
    return [
        {"id": i + 1, "category_id": c, "score": pytest.approx(s, abs=1e-5), "area": a}
        for i, (c, s, a, v) in enumerate(zip(category_ids, scores, areas, valid))
        if v
    ]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["MODEL.PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS", "False"],
        ["MODEL.PANOPTIC_FUSION.INSTANCE_LOGIT_SCALE", "4.0", "TEST.DETECTIONS_PER_IMAGE", "7"],
        ["MODEL.SOLOV2.MIN_MASK_AREA", "9", "MODEL.SOLOV2.NMS_KERNEL", "linear"],
        ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.999"],
    ],
    ids=["default", "no void", "few, scaled", "large, linear", "nothing"],
)
@pytest.mark.parametrize(
    "sizes", [((64, 96), (64, 96)), ((50, 91), (50, 91)), ((50, 91), (70, 60))]
)
def test_it_gives_what_the_model_gives(
    lively_model: MakeModel,
    as_exported: AsExported,
    words: List[str],
    sizes: Tuple[Tuple[int, int], Tuple[int, int]],
) -> None:
    """In the form without loops, and run eagerly."""
    size, output_size = sizes
    model = lively_model(*words)
    graph = PanopticGraph(model, output_size)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator)
        height, width = output_size
        x = {"image": image.permute(2, 0, 1), "height": height, "width": width}
        with torch.inference_mode():
            expected, segments = model([x])[0]["panoptic_seg"]
            outputs = [graph(image)]
            with as_exported():
                outputs.append(graph(image))
        things = [s["id"] for s in segments if s.pop("isthing")]
        for output in outputs:
            assert output[0].dtype == torch.int32
            assert torch.equal(output[0], expected)
            assert _segments(output) == segments
        assert bool(things) == ("0.999" not in words)


@pytest.mark.parametrize("scale, share", [(Fraction(2), 0.0), (Fraction(3, 2), 0.15)])
@torch.inference_mode()
def test_images_enlarged_in_the_graph(
    lively_model: MakeModel, as_exported: AsExported, scale: Fraction, share: float
) -> None:
    """To the bit, but where Pillow rounds halves to either side: a ninth of noise 1.5 times as large."""
    model = lively_model()
    graph = PanopticGraph(model, scale=scale)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (64, 128, 3), dtype=torch.uint8, generator=generator)
    enlarged = graph._enlarged(image.float())
    size = (int(128 * scale), int(64 * scale))
    pillow = np.array(Image.fromarray(image.numpy()).resize(size, Image.Resampling.BILINEAR))
    difference = (enlarged - torch.from_numpy(pillow)).abs()
    odd = np.zeros((99, 103, 3), dtype=np.uint8)
    transform = RandomScale((float(scale), float(scale))).get_transform(odd)
    assert graph._enlarged(torch.from_numpy(odd).float()).shape[:2] == (
        transform.new_h,
        transform.new_w,
    )
    assert difference.max() <= 2 and (difference > 0).float().mean() <= share
    x = {"image": enlarged.permute(2, 0, 1), "height": 64, "width": 128}
    expected, segments = model([x])[0]["panoptic_seg"]
    assert expected.shape == (64, 128) and any(s["isthing"] for s in segments)
    for form in (contextlib.nullcontext, as_exported):
        with form():
            assert torch.equal(graph(image)[0], expected)


@pytest.mark.parametrize("lowest", ["0.0", "0.3"])
def test_nothing_passes_and_nothing_is_found(
    lively_model: MakeModel, as_exported: AsExported, lowest: str
) -> None:
    """The first candidate stays in the graph, whatever its score; it is no object."""
    model = lively_model("MODEL.PANOPTIC_FUSION.SCORE_THRESH", lowest)
    model.instance_head.decoder.score_thresh = 0.9999
    image = torch.randint(0, 256, (64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, segments = model([{"image": image.permute(2, 0, 1)}])[0]["panoptic_seg"]
        with as_exported():
            output = PanopticGraph(model, (64, 96))(image)
    assert not any(segment.pop("isthing") for segment in segments)
    assert torch.equal(output[0], expected) and _segments(output) == segments


def test_rows_by_id() -> None:
    table = SegmentTable(
        ids=torch.tensor([0, 1, 0, 2], dtype=torch.int32),
        category_ids=torch.tensor([5, 6, 7, 8]),
        isthing=torch.tensor([True, True, False, False]),
        scores=torch.tensor([0.1, 0.2, 0.3, 0.4]),
        areas=torch.tensor([0, 10, 1, 20]),
    )
    category_ids, scores, areas, valid = rows_by_id(table, 3)
    assert category_ids.tolist() == [6, 8, -1]
    assert scores.tolist() == pytest.approx([0.2, 0.4, 0.0])
    assert areas.tolist() == [10, 20, 0]
    assert valid.tolist() == [True, True, False]
