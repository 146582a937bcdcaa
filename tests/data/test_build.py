"""From a config to the training loader."""

import itertools
from collections import Counter
from pathlib import Path
from typing import List

import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm

from effps_solo.config import load_config
from effps_solo.data.annotations_mapper import AnnotationsDatasetMapper
from effps_solo.data.build import (
    batch_size_per_process,
    build_test_loader,
    build_train_loader,
    build_train_mapper,
    evenly_spread,
    sampler_factory,
)
from effps_solo.data.copy_paste import CopyPaste
from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.mapper import PanopticDatasetMapper
from effps_solo.utils.errors import ConfigError


def test_the_mapper_follows_the_annotation(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    panoptic = build_train_mapper(cfg, DatasetCatalog.get(cfg.DATASETS.TRAIN[0]))
    assert isinstance(panoptic, PanopticDatasetMapper) and panoptic.paste is None
    cfg.INPUT.COPY_PASTE_OBJECTS = 2
    pasting = build_train_mapper(cfg, DatasetCatalog.get(cfg.DATASETS.TRAIN[0]))
    assert isinstance(pasting.paste, CopyPaste) and pasting(
        DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]
    )
    cfg.INPUT.COPY_PASTE_OBJECTS = 0
    separate = build_train_mapper(cfg, [{"annotations": [], "sem_seg_file_name": "labels.png"}])
    assert isinstance(separate, AnnotationsDatasetMapper)


def test_images_with_rare_classes_are_repeated(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    sampler = sampler_factory(cfg, records)(1)
    assert isinstance(sampler, RepeatFactorTrainingSampler)
    classes = [{s["category_id"] for s in record["segments_info"]} for record in records]
    frequency = Counter(c for found in classes for c in found)
    rarest = [min(frequency[c] for c in found) / len(records) for found in classes]
    repeats = sampler._int_part + sampler._frac_part
    assert repeats.tolist() == pytest.approx([f**-0.5 for f in rarest])
    annotated = [{"annotations": record["segments_info"]} for record in records]
    other = sampler_factory(cfg, annotated)(1)
    assert (other._int_part + other._frac_part).tolist() == repeats.tolist()


@pytest.mark.parametrize(
    "name, kind",
    [
        ("TrainingSampler", TrainingSampler),
        ("RandomSubsetTrainingSampler", RandomSubsetTrainingSampler),
    ],
)
def test_samplers_by_name_and_seed(tiny_config: Path, name: str, kind: type) -> None:
    cfg = load_config(str(tiny_config), ["DATALOADER.SAMPLER_TRAIN", name])
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.5
    make = sampler_factory(cfg, [{}] * 40)

    def start(seed: int) -> List[int]:
        return list(itertools.islice(make(seed), 100))

    assert isinstance(make(1), kind)
    assert start(1) == start(1) != start(2)
    assert len(set(start(1))) == (40 if kind is TrainingSampler else 20)


def test_unknown_sampler(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["DATALOADER.SAMPLER_TRAIN", "Sampler"])
    with pytest.raises(
        ConfigError, match="SAMPLER_TRAIN is 'Sampler'; choose one of TrainingSampler"
    ):
        build_train_loader(cfg)


def test_the_seed_of_the_config_or_one_of_its_own(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["SEED", "17"])
    assert build_train_loader(cfg).seed == 17
    cfg.SEED = -1
    seeds = {build_train_loader(cfg).seed for _ in range(3)}
    assert len(seeds) == 3 and min(seeds) >= 0


def test_grouping_by_orientation(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    assert build_train_loader(cfg).stream.groups is None
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = True
    assert build_train_loader(cfg).stream.groups == [0, 0]  # 64 x 96 both


def test_batches_that_cannot_be_shared(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = load_config(str(tiny_config), ["SOLVER.IMS_PER_BATCH", "6"])
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    assert batch_size_per_process(cfg) == 3
    for steps in (2, 0):
        cfg.SOLVER.ACCUMULATION_STEPS = steps
        with pytest.raises(ConfigError, match="IMS_PER_BATCH is 6; .* 2 .processes. times"):
            batch_size_per_process(cfg)


def test_a_part_of_a_test_set_is_spread_evenly(tiny_config: Path) -> None:
    records = [{"image_id": i} for i in range(9)]
    spread = lambda limit: [r["image_id"] for r in evenly_spread(records, limit)]  # noqa: E731
    assert spread(0) == spread(9) == spread(100) == list(range(9))
    assert spread(1) == [0] and spread(2) == [0, 8] and spread(3) == [0, 4, 8]
    assert evenly_spread([], 3) == []
    cfg = load_config(str(tiny_config), ["TEST.MAX_IMAGES", "1", "DATALOADER.NUM_WORKERS", "1"])
    loader = build_test_loader(cfg, "tiny_val", mapper=dict)
    assert [x["image_id"] for batch in loader for x in batch] == [0]
    assert len(loader) == 1
    with pytest.raises(DatasetError, match="'nowhere' is not registered"):
        build_test_loader(cfg, "nowhere", mapper=dict)


def test_images_without_objects_are_left_out_of_instance_segmentation(
    tiny_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = load_config(str(tiny_config), ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", "True"])
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    for segment in records[0]["segments_info"]:
        segment.update(iscrowd=1)
    DatasetCatalog[cfg.DATASETS.TRAIN[0]] = lambda: records
    assert len(build_train_loader(cfg).dataset.records) == 2  # the semantic head learns from both
    cfg.MODEL.SEM_SEG_HEAD.NAME = ""
    caplog.set_level("INFO", "effps_solo")
    assert len(build_train_loader(cfg).dataset.records) == 1
    assert "1 of 2 images hold no object" in caplog.text
    for segment in records[1]["segments_info"]:
        segment.update(isthing=False)
    with pytest.raises(ConfigError, match="none of the 2 images .*FILTER_EMPTY_ANNOTATIONS"):
        build_train_loader(cfg)
