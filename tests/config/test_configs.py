"""Every config loads, its data sets are known, and network, optimiser and transforms are built."""

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo import add_effps_solo_config
from effps_solo.config import load_config
from effps_solo.config.files import load_config_file
from effps_solo.data.augmentation import build_augmentations
from effps_solo.engine import Trainer

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(p for p in FOLDER.glob("*/*.yaml") if not p.name.startswith("Base"))
IDS = [str(path.relative_to(FOLDER)) for path in CONFIGS]


def read(path: Path) -> CfgNode:
    """The config without any registration."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    load_config_file(cfg, str(path))
    return cfg


def write_miniature(cfg: CfgNode, folder: Path) -> None:
    """A data set without images that has the number of classes which the config states."""
    count, things = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES
    categories = [
        {"id": 10 + i, "name": f"class {i}", "isthing": int(i < things)} for i in range(count)
    ]
    content: Dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    folder.mkdir()
    for split in cfg.DATASETS.PANOPTIC.SPLITS:
        name = cfg.DATASETS.PANOPTIC.PANOPTIC_JSON.format(split=split)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


@pytest.fixture
def load(clean_catalogs: None, tmp_path: Path) -> Any:
    """Load a config as the programs do; its own data set is a miniature in the data root."""

    def load_one(path: Path) -> CfgNode:
        plain = read(path)
        name = plain.DATASETS.PANOPTIC.NAME
        if name:
            assert plain.DATASETS.PANOPTIC.ROOT == ""  # no folder of one machine
            write_miniature(plain, tmp_path / name)
        return load_config(str(path), ["MODEL.DEVICE", "cpu"])

    return load_one


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_the_fusion_threshold_is_that_of_the_heads_scores(path: Path) -> None:
    """Those of SOLOv2 are lower than those of boxes."""
    cfg = read(path)
    expected = 0.2 if cfg.MODEL.INSTANCE_HEAD.NAME == "SOLOv2InstanceHead" else 0.5
    if cfg.MODEL.META_ARCHITECTURE == "EfficientPS" and cfg.MODEL.SEM_SEG_HEAD.NAME:
        assert cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH == expected


def test_there_are_configs() -> None:
    assert {path.parent.name for path in CONFIGS} >= {
        "ade20k",
        "cityscapes",
        "coco",
        "facades",
        "idd",
        "kitti",
        "nuclei",
        "pedestrian_zone",
        "quickstart",
        "vistas",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_it_loads_and_everything_is_built(load: Any, path: Path) -> None:
    cfg = load(path)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert name in DatasetCatalog
        assert MetadataCatalog.get(name).get("panoptic_json")
    model = Trainer.build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    optimizer = Trainer.build_optimizer(cfg, model)
    assert Trainer.build_lr_scheduler(cfg, optimizer) is not None
    assert build_augmentations(cfg, is_train=True)
    assert isinstance(build_augmentations(cfg, is_train=False), list)


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_what_belongs_together_agrees(path: Path) -> None:
    cfg = read(path)
    if "efficientnet" in cfg.MODEL.BACKBONE.NAME:
        name, _, _tag = cfg.MODEL.WEIGHTS.partition("imagenet://")[2].partition(".")
        assert name == cfg.MODEL.EFFICIENTNET.NAME
        assert cfg.MODEL.ROI_MASK_HEAD.CONV_DIM == cfg.MODEL.TWO_WAY_FPN.OUT_CHANNELS
    assert set(cfg.DATASETS.TRAIN).isdisjoint(cfg.DATASETS.TEST)
    solov2 = cfg.MODEL.SOLOV2
    levels = len(cfg.MODEL.INSTANCE_HEAD.IN_FEATURES)
    assert len(solov2.NUM_GRIDS) == len(solov2.SCALE_RANGES) == levels
    assert len(solov2.TEST_NUM_GRIDS) in (0, levels)
    ranges = solov2.SCALE_RANGES
    longest = {
        "scale_crop": max(cfg.INPUT.CROP_SIZE) * 2,
        "shortest_edge": cfg.INPUT.MAX_SIZE_TRAIN,
    }[cfg.INPUT.AUGMENTATION]
    assert ranges[0][0] <= 1 and ranges[-1][1] >= longest
    assert all(low[1] >= high[0] for low, high in zip(ranges, ranges[1:]))  # no size is left out
    assert all(size % 32 == 0 for size in cfg.INPUT.CROP_SIZE)
    assert all(step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS) or (
        cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"
    )


@pytest.mark.parametrize(
    ("name", "crop", "steps", "max_iter"),
    [
        ("kitti", (384, 1280), (16000, 22000), 25000),
        ("vistas", (1024, 1024), (144000, 176000), 192000),
        ("idd", (736, 1280), (108000, 130000), 144000),  # 720, rounded up
    ],
)
def test_crops_and_schedules_of_the_paper(
    name: str, crop: Tuple[int, int], steps: Tuple[int, int], max_iter: int
) -> None:
    """Mohan & Valada, IJCV 2021; the optimizer is not theirs, see the next test."""
    cfg = read(FOLDER / name / "effps_b5_solov2.yaml")
    assert (tuple(cfg.INPUT.CROP_SIZE), tuple(cfg.INPUT.SCALE_RANGE)) == (crop, (0.5, 2.0))
    solver = cfg.SOLVER
    assert (solver.STEPS, solver.MAX_ITER, solver.IMS_PER_BATCH) == (steps, max_iter, 16)


def test_published_networks_have_the_published_optimizer() -> None:
    """EfficientPS: SGD with 0.07 from a third of it; SOLOv2: 0.01; with the heads of both, AdamW."""
    expected = {
        "cityscapes/effps_b5_mask_rcnn": ("SGD", 0.07, 500, 0.3333),
        "cityscapes/effps_b5_mask_rcnn_released": ("SGD", 0.07, 500, 0.3333),
        "coco/solov2_r50_full": ("SGD", 0.01, 1000, 0.01),
    }
    for path in CONFIGS:
        solver = read(path).SOLVER
        found = (solver.OPTIMIZER, solver.BASE_LR, solver.WARMUP_ITERS, solver.WARMUP_FACTOR)
        published = expected.get(f"{path.parent.name}/{path.stem}")
        if published is None:
            assert solver.OPTIMIZER == "AdamW" and solver.WEIGHT_DECAY_BIAS == 0
        else:
            assert found == published
            assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS) == (1e-4, None)


def test_output_folders_differ() -> None:
    folders = [read(path).OUTPUT_DIR for path in CONFIGS]
    assert len(set(folders)) == len(folders)
    assert all(Path(folder).parent == FOLDER.parent / "output" for folder in folders)
