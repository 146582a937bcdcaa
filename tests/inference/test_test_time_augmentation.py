"""Test-time augmentation: its parts by hand, its symmetry to the bit, its limits."""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.predictor import Predictor
from effps_solo.inference.preparation import build_inference_model
from effps_solo.inference.test_time_augmentation import (
    Candidates,
    EfficientPSWithTTA,
    mean_masks,
    mean_support,
    scaled_image,
)
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.utils.errors import ConfigError
from tests.noise_statistics import take_statistics

MASK_RCNN = [
    "MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32",
    "MODEL.ROI_BOX_HEAD.FC_DIM", "32", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.05",
    "MODEL.RPN.POST_NMS_TOPK_TEST", "100",
]  # fmt: skip
HEURISTIC = ["MODEL.PANOPTIC_FUSION.NAME", "HeuristicFusion"]


def lively_model(tiny_config: Path, *words: str) -> EfficientPS:
    """An untrained network that sees many objects and every class in noise."""
    overrides = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05", *words]
    torch.manual_seed(0)
    model: EfficientPS = Trainer.build_model(load_config(str(tiny_config), overrides)).eval()
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            std = (2.0 / module.weight[0].numel()) ** 0.5
            torch.nn.init.normal_(module.weight, std=std)
    head = model.instance_head
    if hasattr(head, "grid_branches"):
        torch.nn.init.constant_(head.grid_branches.category_predictor.bias, -1.0)
    take_statistics(model)
    return model


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def segments(output: Dict[str, Any], mirrored: bool = False) -> List[Tuple[Any, ...]]:
    """(class, is a thing, score, pixels) of every segment, whatever its id, in some fixed order."""
    panoptic_seg, segments_info = output["panoptic_seg"]
    if mirrored:
        panoptic_seg = panoptic_seg.flip(-1)
    return sorted(
        (s["category_id"], s["isthing"], s["score"] if s["isthing"] else 0, pixels.tolist())
        for s in segments_info
        for pixels in [(panoptic_seg == s["id"]).flatten().nonzero().squeeze(1)]
    )


@pytest.mark.parametrize(
    "words, size, output_size",
    [
        ([], (64, 96), (64, 96)),
        ([], (64, 96), (43, 71)),
        ([], (50, 77), (50, 77)),
        (HEURISTIC, (60, 90), (60, 90)),
        (MASK_RCNN, (64, 96), (64, 96)),
    ],
)
@torch.inference_mode()
def test_a_mirrored_image_gives_the_mirrored_map_to_the_bit(
    tiny_config: Path, words: List[str], size: Any, output_size: Any
) -> None:
    """For any width: a multiple of 32, of 2, of nothing; and for an output of another size."""
    tta = EfficientPSWithTTA(lively_model(tiny_config, *words), scales=(0.75, 1.0))
    image = noise(*size)
    x = {"height": output_size[0], "width": output_size[1]}
    (plain,) = tta([{**x, "image": image}])
    (mirrored,) = tta([{**x, "image": image.flip(-1)}])
    assert segments(mirrored, mirrored=True) == segments(plain)
    assert plain["panoptic_seg"][0].shape == output_size
    assert any(s["isthing"] for s in plain["panoptic_seg"][1])
    torch.testing.assert_close(mirrored["sem_seg"].flip(-1), plain["sem_seg"], rtol=0, atol=1e-5)
    assert torch.equal(plain["instances"].scores, mirrored["instances"].scores)


@torch.inference_mode()
def test_without_the_mirrored_view_it_is_not_symmetric(tiny_config: Path) -> None:
    """That the test above can fail."""
    tta = EfficientPSWithTTA(lively_model(tiny_config), scales=(1.0,), flip=False)
    image = noise(64, 96)
    plain, mirrored = tta([{"image": image}, {"image": image.flip(-1)}])
    assert segments(mirrored, mirrored=True) != segments(plain)


@torch.inference_mode()
def test_semantic_logits_are_the_mean_over_the_views(tiny_config: Path) -> None:
    model = lively_model(tiny_config)
    tta = EfficientPSWithTTA(model, scales=(1.0,))
    image = noise(64, 96)
    plain, mirrored = model([{"image": image}, {"image": image.flip(-1)}])
    expected = (plain["sem_seg"] + mirrored["sem_seg"].flip(-1)) / 2
    (result,) = tta([{"image": image}])
    torch.testing.assert_close(result["sem_seg"], expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_one_plain_view_is_the_model_itself(tiny_config: Path) -> None:
    model = lively_model(tiny_config, "TEST.DETECTIONS_PER_IMAGE", "1")
    tta = EfficientPSWithTTA(model, scales=(1.0,), flip=False)
    (expected,) = model([{"image": noise(64, 96)}])
    (result,) = tta([{"image": noise(64, 96)}])
    assert len(result["instances"]) == len(expected["instances"]) == 1
    torch.testing.assert_close(result["instances"].scores, expected["instances"].scores)
    assert torch.equal(result["instances"].pred_masks, expected["instances"].pred_masks)
    assert segments(result) == segments(expected)


@pytest.mark.parametrize(
    "words", [[], HEURISTIC, MASK_RCNN], ids=["default", "paste", "Mask R-CNN"]
)
@torch.inference_mode()
def test_the_views_are_merged_alike_in_both_forms(
    tiny_config: Path, all_at_once: Callable[[], Any], words: List[str]
) -> None:
    """One after the other, and all at once as on other devices."""
    tta = EfficientPSWithTTA(lively_model(tiny_config, *words), scales=(0.75, 1.0))
    x = {"image": noise(60, 90), "height": 80, "width": 75}
    (parts,) = tta([x])
    with all_at_once():
        (whole,) = tta([x])
    torch.testing.assert_close(whole["sem_seg"], parts["sem_seg"])
    found, same = parts["instances"], whole["instances"]
    assert len(found) == len(same) > 0
    torch.testing.assert_close(same.scores, found.scores)
    assert torch.equal(same.pred_classes, found.pred_classes)
    # Sums in another order may tip a pixel on a border.
    assert (same.pred_masks != found.pred_masks).float().mean() < 1e-4
    assert (whole["panoptic_seg"][0] != parts["panoptic_seg"][0]).float().mean() < 1e-3
    assert any(s["isthing"] for s in parts["panoptic_seg"][1])


def test_mean_masks_in_both_forms(all_at_once: Callable[[], Any]) -> None:
    """Worked by hand: two equal masks and a smaller one; and of no object."""
    found, same = candidates(), SAME[[0, 4]]
    for form in (contextlib.nullcontext, all_at_once):
        with form():
            masks = mean_masks(found, same)
            assert mean_masks(found, same[:0]).shape == (0, 8, 12)
        assert masks.shape == (2, 8, 12)
        assert masks[0, 3, 3].item() == pytest.approx(4 * (0.8 + 0.6 + 0.7 - 0.5) / 2.6)
        assert masks[0, 0, 0].item() == pytest.approx(4.0)
        torch.testing.assert_close(masks[1], found.masks[4])


def test_low_precision_does_not_blur_mean_masks(all_at_once: Callable[[], Any]) -> None:
    """In bf16 logits of 4 are rounded to 1 / 64."""
    found = candidates()
    found = found._replace(masks=found.masks + torch.linspace(0, 0.01, 12))
    expected = mean_masks(found, SAME)
    with all_at_once(), torch.autocast("cpu", torch.bfloat16):
        masks = mean_masks(found, SAME)
    assert masks.dtype == torch.float32
    torch.testing.assert_close(masks, expected)


def square(size: int, row: int, column: int) -> torch.Tensor:
    mask = torch.full((8, 12), -4.0)
    mask[row : row + size, column : column + size] = 4.0
    return mask


def candidates() -> Candidates:
    """Two views of two scales. A: four views of an object; B: one view; C: another class over A."""
    masks = [square(4, 0, 0)] * 3 + [square(3, 0, 0), square(4, 4, 6), square(4, 0, 0)]
    return Candidates(
        scores=torch.tensor([0.8, 0.6, 0.7, 0.5, 0.9, 0.3]),
        classes=torch.tensor([1, 1, 1, 1, 1, 0]),
        views=torch.tensor([0, 1, 2, 3, 2, 1]),
        masks=torch.stack(masks),
    )


# The square of 3 x 3 has IoU 9/16 with those of 4 x 4.
SAME = torch.block_diag(torch.ones(4, 4), torch.eye(2)).bool()


def test_support_worked_by_hand() -> None:
    support = mean_support(candidates(), SAME, num_scales=2, views_per_scale=2)
    everyone = (0.8 + 0.6 + 0.7 + 0.5) / 4
    assert support.tolist() == pytest.approx([everyone] * 4 + [0.9 / 4, 0.3 / 4])


def test_the_best_support_of_a_view_counts_once() -> None:
    found = candidates()._replace(views=torch.tensor([0, 0, 0, 3, 2, 1]))
    support = mean_support(found, SAME, num_scales=2, views_per_scale=2)
    assert support[0].item() == pytest.approx((0.8 + 0.5) / 4)


def test_merged_instances_worked_by_hand(tiny_config: Path) -> None:
    model = lively_model(tiny_config)
    tta = EfficientPSWithTTA(model, scales=(1.0, 2.0), nms_kernel="linear", min_score=0.06)
    merged = tta._merge(candidates())
    # Equal masks leave a factor of 0 to the worse ones; 0.5: 1 - 9/16.
    assert merged.image_size == (32, 48)
    assert merged.scores.tolist() == pytest.approx([0.65, 0.65 * 7 / 16, 0.9 / 4, 0.3 / 4])
    assert merged.thing_index.tolist() == [1, 1, 1, 0]
    # Both instances of the first object have the mean of its masks: three in four, by score more.
    assert merged.pred_boxes.tensor.tolist() == [
        [0, 0, 16, 16], [0, 0, 16, 16], [24, 16, 40, 32], [0, 0, 16, 16],
    ]  # fmt: skip
    masks = merged.mask_source.stride4_logits((8, 12))
    assert masks[0, 3, 3].item() == pytest.approx(4 * (0.8 + 0.6 + 0.7 - 0.5) / 2.6)
    assert masks[0, 2, 2].item() == pytest.approx(4.0) and masks[2, 4, 6].item() == 4.0
    tta.max_detections = 1
    assert tta._merge(candidates()).scores.tolist() == pytest.approx([0.65])


def test_only_the_best_candidates_stay() -> None:
    best = candidates().best(2)
    assert best.scores.tolist() == pytest.approx([0.9, 0.8]) and best.views.tolist() == [2, 0]
    assert best.masks[0, 4, 6] == 4.0 and best.classes.tolist() == [1, 1]
    assert len(candidates().best(6).scores) == 6
    none = candidates().best(0)
    assert none.joined(candidates()).scores.tolist() == candidates().scores.tolist()


def test_scaled_images() -> None:
    image = noise(10, 15)
    assert scaled_image(image, 1.0) is image
    assert scaled_image(image, 1.5).shape == (3, 15, 22)
    assert scaled_image(image, 0.01).shape == (3, 1, 1)
    assert torch.allclose(scaled_image(torch.full((3, 8, 8), 7), 0.5), torch.tensor(7.0))


@torch.inference_mode()
def test_nothing_to_see(tiny_config: Path) -> None:
    """No instance in any view; and a model without a semantic head."""
    model = lively_model(tiny_config)
    model.instance_head.decoder.score_thresh = 1.0
    (result,) = EfficientPSWithTTA(model, scales=(0.5, 1.0))([{"image": noise(64, 96)}])
    assert len(result["instances"]) == 0 and result["panoptic_seg"][0].shape == (64, 96)
    assert all(not s["isthing"] for s in result["panoptic_seg"][1])
    things = lively_model(
        tiny_config, "MODEL.SEM_SEG_HEAD.NAME", "", "MODEL.OUTPUTS", "['instances']"
    )
    (result,) = EfficientPSWithTTA(things, scales=(0.5, 1.0))([{"image": noise(64, 96)}])
    assert set(result) == {"instances"} and len(result["instances"]) > 0


def test_from_config_and_in_the_predictor(tiny_config: Path, tmp_path: Path) -> None:
    cfg = load_config(str(tiny_config))
    model = Trainer.build_model(cfg)
    path = str(tmp_path / "model.pth")
    torch.save({"model": model.state_dict()}, path)
    assert build_inference_model(cfg, model) is model
    words = ["TEST.AUG.ENABLED", "True", "TEST.AUG.SCALES", "(0.5, 1.0)", "MODEL.WEIGHTS", path]
    predictor = Predictor(load_config(str(tiny_config), words))
    assert isinstance(predictor.model, EfficientPSWithTTA)
    assert predictor.model.scales == (0.5, 1.0) and predictor.model.flip
    assert not predictor.model.model.training
    output = predictor(noise(40, 60).permute(1, 2, 0).numpy())
    assert output["panoptic_seg"][0].shape == (40, 60)


def test_mistakes(tiny_config: Path) -> None:
    words = ["TEST.AUG.ENABLED", "True", "TEST.AUG.SCALES", "(1.0, 0.0)"]
    cfg = load_config(str(tiny_config), words)
    with pytest.raises(ConfigError, match="TEST.AUG.SCALES is .*0.0.*positive"):
        build_inference_model(cfg, Trainer.build_model(cfg))
    with pytest.raises(ConfigError, match="META_ARCHITECTURE EfficientPS, not Linear"):
        build_inference_model(cfg, torch.nn.Linear(1, 1))


PEAK_OF_AN_IMAGE = """
import re, sys, torch
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.test_time_augmentation import EfficientPSWithTTA
torch.set_num_threads(1)
def memory(what):
    with open("/proc/self/status") as file:
        return int(re.search(what + r":\\s+(\\d+)", file.read()).group(1))
torch.manual_seed(0)
model = Trainer.build_model(load_config(sys.argv[1])).eval()
for module in model.modules():
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.normal_(module.weight, std=(2.0 / module.weight[0].numel()) ** 0.5)
model.instance_head.decoder.score_thresh = model.instance_head.decoder.update_thresh = 0.0
scales = [float(scale) for scale in sys.argv[2:]]
tta = EfficientPSWithTTA(model, scales=scales, flip=len(scales) > 1)
merge = tta._merge
tta._merge = lambda found: print(len(found.scores)) or merge(found)
image = torch.randint(0, 256, (3, 320, 640), dtype=torch.uint8)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak of building the model
before = memory("VmRSS")
with torch.inference_mode():
    tta([{"image": image}])
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to tell a peak")
def test_all_views_take_at_most_twice_the_memory_of_the_largest(
    tiny_config: Path, project_root: Path
) -> None:
    results = []
    for scales in (["2.0"], ["0.75", "1.0", "1.5", "2.0"]):
        run = subprocess.run(
            [sys.executable, "-c", PEAK_OF_AN_IMAGE, str(tiny_config), *scales],
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        )
        results.append([int(word) for word in run.stdout.split()])
    (found, largest), (found_by_all, everything) = results
    assert found_by_all >= 200 > found  # many masks to keep
    assert everything <= 2 * largest, (everything, largest)
