"""Masks in windows on their way to the evaluators: the AP is that of whole masks."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.evaluation import build_evaluator, with_windowed_masks
from effps_solo.evaluation.masks import rle_in_frame, rles
from effps_solo.inference.predictor import Predictor
from effps_solo.modeling.postprocessing import WindowedMasks

Record = Dict[str, Any]


def _in_windows(masks: torch.Tensor) -> WindowedMasks:
    """Each in a window that is a little larger than the mask."""
    windows = []
    for mask in masks:
        points = mask.nonzero()
        (y0, x0), (y1, x1) = points.amin(dim=0).tolist(), points.amax(dim=0).tolist()
        windows.append((slice(max(y0 - 1, 0), y1 + 2), slice(max(x0 - 3, 0), x1 + 1)))
    parts = [mask[window] for mask, window in zip(masks, windows)]
    return WindowedMasks(windows, parts, (masks.shape[1], masks.shape[2]))


@pytest.mark.parametrize("layout", ["coco_name", "cityscapes_name"])
def test_ap_of_masks_in_windows(
    cfg: CfgNode,
    layout: str,
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> None:
    """Of objects that are found a little too far to the right, one of them not at all."""
    name: str = request.getfixturevalue(layout)
    cfg.MODEL.OUTPUTS = ["instances"]

    def predict(record: Record, windows: bool) -> Record:
        found: Instances = perfect(name, record)["instances"][1:]
        found.pred_masks = found.pred_masks.roll(1, dims=2)
        if windows:
            found.pred_masks = _in_windows(found.pred_masks)
        return {"instances": found}

    whole, windows = (
        evaluate(build_evaluator(cfg, name), name, lambda r: predict(r, in_windows))["segm"]
        for in_windows in (False, True)
    )
    assert windows == pytest.approx(whole, nan_ok=True) and 10 < whole["AP"] < 95


class _Collector(DatasetEvaluator):
    """Keeps what it sees."""

    def reset(self) -> None:
        self.outputs: List[Record] = []

    def process(self, inputs: List[Record], outputs: List[Record]) -> None:
        self.outputs += outputs

    def evaluate(self) -> Record:
        return {}


@pytest.mark.parametrize("augmented", [False, True])
def test_a_model_is_evaluated_with_masks_in_windows(
    tiny_config: Path, lively_weights: Path, augmented: bool
) -> None:
    words = ["MODEL.WEIGHTS", str(lively_weights), "DATALOADER.NUM_WORKERS", "0"]
    words += ["TEST.AUG.ENABLED", str(augmented), "TEST.AUG.SCALES", "(1.0,)"]
    cfg = load_config(str(tiny_config), words)
    model = Predictor(cfg).model
    results = Trainer.test(cfg, model)
    model.train()
    collector = _Collector()
    Trainer.test(cfg, model, [collector])
    assert all(module.training for module in model.modules())
    loader = Trainer.build_test_loader(cfg, "tiny_val")
    evaluator = Trainer.build_evaluator(cfg, "tiny_val")
    evaluator.reset()
    with torch.inference_mode():
        for inputs, output in zip(loader, collector.outputs):
            assert isinstance(output["instances"].pred_masks, WindowedMasks)
            assert len(output["instances"]) > 0
            evaluator.process(inputs, model.eval()(inputs))
    for task, scores in evaluator.evaluate().items():
        assert results[task] == pytest.approx(scores, nan_ok=True)
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}


def test_other_models_stay_as_they_are() -> None:
    model = torch.nn.Linear(1, 1)
    assert with_windowed_masks(model) is model


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_of_a_part(seed: int) -> None:
    """Against pycocotools on the whole frame; parts in the middle, at the borders, and the frame itself."""
    generator = np.random.default_rng(seed)
    height, width = size = (11, 13)
    top, left = ((0, 0), (3, 4), (6, 0), (0, 9))[seed % 4]
    shape = size if seed % 4 == 0 else (5, 4)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        mask = generator.random(shape) < share
        frame = np.zeros(size, dtype=np.uint8, order="F")
        frame[top : top + shape[0], left : left + shape[1]] = mask
        expected = mask_util.encode(frame)
        found = rle_in_frame(mask, (top, left), size)
        assert found == {"size": [height, width], "counts": expected["counts"].decode()}
        assert np.array_equal(mask_util.decode(found), frame)


def test_run_lengths_of_masks_and_windows() -> None:
    windows = [(slice(2, 5), slice(1, 4)), (slice(0, 7), slice(0, 6))]
    masks = WindowedMasks(windows, [torch.rand(3, 3) > 0.5, torch.rand(7, 6) > 0.5], (7, 6))
    assert rles(masks) == rles(masks.tensor()) and len(rles(masks)) == 2
    assert rles(torch.zeros(0, 4, 4, dtype=torch.bool)) == []
