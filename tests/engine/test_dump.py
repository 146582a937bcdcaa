"""A step on disk: everything comes back as it was."""

from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Boxes, Instances

from effps_solo.config import load_config
from effps_solo.data.object_masks import ObjectMasks
from effps_solo.engine import Trainer
from effps_solo.engine.dump import ForwardPass, StepDump, load_dump, save_dump
from effps_solo.modeling.instance_head import StepTotals


def same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, Boxes):
        return same(first.tensor, second.tensor)
    if isinstance(first, ObjectMasks):
        return same(first.objects, second.objects) and same(first.ids, second.ids)
    if isinstance(first, Instances):
        fields = same(first.get_fields(), second.get_fields())
        return fields and tuple(first.image_size) == tuple(second.image_size)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[k], second[k]) for k in first)
    return bool(first == second)


def test_a_batch_of_the_mapper_survives(tiny_config: Path, tmp_path: Path) -> None:
    batch = next(iter(Trainer.build_train_loader(load_config(str(tiny_config)))))
    assert {"image", "sem_seg", "instances", "instance_ignore", "file_name"} <= set(batch[0])
    assert batch[0]["instances"].has("gt_masks") and len(batch[0]["instances"]) > 0
    totals = StepTotals(torch.tensor([5, 3]), 4)
    passes = [ForwardPass(batch, totals, {"loss": 0.1}), ForwardPass([], None, {})]
    dump = StepDump(7, (1, 2, 3), {"weight": torch.rand(2)}, passes)
    path = str(tmp_path / "dump.pth")
    save_dump(dump, path)
    loaded = load_dump(path)
    assert loaded.iteration == 7 and loaded.seed_key == (1, 2, 3)
    assert same(loaded.model, dump.model)
    assert all(same(a, b) for a, b in zip(loaded.passes[0].batch, batch))
    found = loaded.passes[0].totals
    assert found is not None and found.counts.tolist() == [5, 3] and found.num_parts == 4
    assert loaded.passes[0].losses == {"loss": 0.1}
    assert loaded.passes[1].batch == [] and loaded.passes[1].totals is None


def test_what_else_is_in_a_record_survives(tmp_path: Path) -> None:
    batch = [{"camera": ([1.0, 2.0], {"f": 3}), "none": (), "name": ("Image", 5)}]
    path = str(tmp_path / "dump.pth")
    save_dump(StepDump(0, (), {}, [ForwardPass(batch, None, {})]), path)
    assert load_dump(path).passes[0].batch == batch
