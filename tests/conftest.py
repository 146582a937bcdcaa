"""Set-up shared by all tests, and the option ``--strict-skips``."""

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

pytest_plugins = ["tests.pretended_gpu"]

# Detectron2 reads the data root when it is imported. Tests never see the data sets of the machine, except
# through the fixture data_root.
_USER_DATA_ROOT = os.environ.get("DETECTRON2_DATASETS")
_EMPTY_ROOT = tempfile.TemporaryDirectory(prefix="effps_solo_no_datasets_")
os.environ["DETECTRON2_DATASETS"] = _EMPTY_ROOT.name

Record = Dict[str, Any]
MISSING_PACKAGE = re.compile(r"could not import|No module named|not installed|missing package")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="a test or module that is skipped because a package is missing fails",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    _fail_on_missing_package(item.config, outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    outcome: Any = yield
    _fail_on_missing_package(collector.config, outcome.get_result())


def _fail_on_missing_package(config: pytest.Config, report: Any) -> None:
    if not config.getoption("--strict-skips") or report.outcome != "skipped":
        return
    if hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = str(report.longrepr[2])
    if MISSING_PACKAGE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"skipped for a missing package: {reason}"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and the workers of pytest-xdist do not fight for cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def data_root() -> Path:
    """The user's own DETECTRON2_DATASETS; the test is skipped without one."""
    root: Optional[str] = _USER_DATA_ROOT
    if not root or not Path(root).is_dir():
        pytest.skip("data set absent: DETECTRON2_DATASETS is not set to a folder")
    return Path(root)


@pytest.fixture
def project_root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def train() -> Callable[..., Record]:
    """The words of ``effps-solo train`` -> the results of a training or evaluation in this process."""
    from effps_solo.cli.train import add_arguments
    from effps_solo.cli.training import train

    def run(*words: str) -> Record:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return train(parser.parse_args(words))

    return run


@pytest.fixture
def clean_catalogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both catalogs are as before after the test; data sets are looked for in ``tmp_path``.

    But for those that Detectron2 registers while it is imported.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from effps_solo.data.datasets.families import FAMILIES

    before = [dict(catalog) for catalog in (DatasetCatalog, MetadataCatalog)]
    own = {f.dataset_name(split) for f in FAMILIES.values() if f.classes for split in f.splits}
    for name in list(MetadataCatalog):
        if name.startswith("street_scenes") or name in own:
            DatasetCatalog.pop(name, None)
            MetadataCatalog.pop(name)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    yield
    for catalog, entries in zip((DatasetCatalog, MetadataCatalog), before):
        catalog.clear()
        catalog.update(entries)


@pytest.fixture
def fresh_loggers() -> Iterator[None]:
    """What ``setup_logger`` of Detectron2 adds in a test writes where that test is captured."""
    import logging

    from detectron2.utils.logger import setup_logger

    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "effps_solo")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers.clear()
    setup_logger.cache_clear()
    yield
    for logger, (handlers, propagate) in zip(loggers, before):
        logger.handlers[:], logger.propagate = handlers, propagate
    setup_logger.cache_clear()


@pytest.fixture
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which a CPU works as other devices do, see effps_solo.modeling.execution."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        from effps_solo.modeling import execution

        name, original = "works_in_parts", execution.works_in_parts
        with monkeypatch.context() as patch:
            # Each module has imported the name.
            for module in list(sys.modules.values()):
                if vars(module).get(name) is original:
                    patch.setattr(module, name, lambda x: False)
            yield

    return context


@pytest.fixture
def as_exported(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which everything works as in an exported graph."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        import torch

        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            yield

    return context


@pytest.fixture
def perfect() -> Callable[[str, Record], Record]:
    """(data set, record) -> the ground truth as the model's output."""
    return _perfect


def _perfect(name: str, record: Record) -> Record:
    import numpy as np
    import torch
    from detectron2.data import MetadataCatalog
    from detectron2.structures import BitMasks, Instances
    from PIL import Image

    metadata = MetadataCatalog.get(name)
    things = set(metadata.thing_dataset_id_to_contiguous_id.values())
    with Image.open(record["pan_seg_file_name"]) as image:
        rgb = torch.from_numpy(np.array(image)).int()
    ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    segments = [
        {"id": s["id"], "category_id": s["category_id"], "isthing": s["category_id"] in things}
        for s in record["segments_info"]
    ]
    sem_seg = torch.zeros(len(metadata.stuff_classes), *ids.shape)
    for segment in segments:
        sem_seg[segment["category_id"]][ids == segment["id"]] = 1
    objects = [
        s for s in record["segments_info"] if s["category_id"] in things and not s["iscrowd"]
    ]
    masks = torch.stack([ids == -1, *(ids == s["id"] for s in objects)])[1:]
    instances = Instances(tuple(ids.shape))
    instances.scores = torch.linspace(0.5, 1, len(objects))
    instances.pred_classes = torch.tensor([s["category_id"] for s in objects], dtype=torch.int64)
    instances.pred_masks = masks
    instances.pred_boxes = BitMasks(masks).get_bounding_boxes()
    return {"panoptic_seg": (ids, segments), "sem_seg": sem_seg, "instances": instances}


@pytest.fixture
def evaluate() -> Callable[..., Dict[str, Dict[str, float]]]:
    """Run an evaluator over a data set with the outputs of a function of the record."""
    from detectron2.data import DatasetCatalog

    def run(evaluator: Any, name: str, predict: Callable[[Record], Record]) -> Dict[str, Any]:
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            evaluator.process([record], [predict(record)])
        results: Dict[str, Any] = evaluator.evaluate()
        return results

    return run


TINY_CATEGORIES = (
    {"id": 21, "name": "road", "isthing": 0},
    {"id": 7, "name": "person", "isthing": 1},
    {"id": 90, "name": "sky", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
)
# Category id, colour and rows x columns of the segments of the two 64x96 images.
TINY_SEGMENTS = (
    (
        (90, (120, 170, 230), slice(0, 28), slice(0, 96)),
        (21, (90, 80, 90), slice(28, 64), slice(0, 96)),
        (3, (200, 30, 30), slice(24, 52), slice(4, 40)),
        (3, (30, 40, 190), slice(20, 56), slice(56, 88)),
    ),
    (
        (90, (120, 170, 230), slice(0, 36), slice(0, 96)),
        (21, (90, 80, 90), slice(36, 64), slice(0, 96)),
        (7, (230, 200, 40), slice(8, 60), slice(12, 40)),
        (3, (200, 30, 30), slice(28, 56), slice(52, 92)),
    ),
)


def _tiny_image(index: int) -> Any:
    """(picture, segment ids, segments_info) of one image of the tiny set."""
    import numpy as np

    noise = np.random.default_rng(index).integers(-12, 13, (64, 96, 3))
    picture, ids = np.zeros((64, 96, 3), dtype=np.int64), np.zeros((64, 96), dtype=np.int64)
    for number, (_, color, rows, columns) in enumerate(TINY_SEGMENTS[index], 1):
        picture[rows, columns], ids[rows, columns] = color, 300 * number
    info = [
        {"id": 300 * number, "category_id": category, "iscrowd": 0}
        for number, (category, *_) in enumerate(TINY_SEGMENTS[index], 1)
    ]
    for segment in info:
        segment["area"] = int((ids == segment["id"]).sum())
    return np.clip(picture + noise, 0, 255).astype(np.uint8), ids, info


@pytest.fixture
def tiny_set(tmp_path: Path, clean_catalogs: None) -> Path:
    """Two images with large rectangles in COCO panoptic layout, the same as train and val.

    Four classes, things (car, person) neither first nor in one piece. Returns the root.
    """
    import numpy as np
    from PIL import Image

    root = tmp_path / "tiny"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        images, annotations = [], []
        for index in range(len(TINY_SEGMENTS)):
            picture, ids, info = _tiny_image(index)
            Image.fromarray(picture).save(root / split / f"{index}.png")
            rgb = np.stack([ids % 256, ids // 256, ids * 0], -1).astype(np.uint8)
            Image.fromarray(rgb).save(root / f"panoptic_{split}" / f"{index}.png")
            images.append({"id": index, "file_name": f"{index}.png", "height": 64, "width": 96})
            annotations.append(
                {"image_id": index, "file_name": f"{index}.png", "segments_info": info}
            )
        content = {"images": images, "annotations": annotations, "categories": TINY_CATEGORIES}
        (root / f"panoptic_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def tiny_config(tiny_set: Path, tmp_path: Path, project_root: Path) -> Path:
    """A config file of a small network for ``tiny_set``; OUTPUT_DIR is ``tmp_path``/output."""
    path = tmp_path / "tiny.yaml"
    path.write_text(f"""
_BASE_: {project_root}/configs/Base-EffPS-Lite0.yaml
MODEL:
  WEIGHTS: ""
  TWO_WAY_FPN: {{OUT_CHANNELS: 32}}
  SEM_SEG_HEAD: {{CONVS_DIM: 32, NUM_CLASSES: 4}}
  INSTANCE_HEAD: {{NUM_CLASSES: 2}}
  SOLOV2:
    CHANNELS: 32
    KERNEL_DIM: 32
    MASK_CHANNELS: 64
    NUM_CONVS: 1
    NUM_GRIDS: [[16, 24], [12, 18], [8, 12], [6, 9], [4, 6]]
    SCALE_RANGES: [[1, 16], [8, 32], [16, 64], [32, 128], [64, 1000]]
  PANOPTIC_FUSION: {{STUFF_AREA_FRACTION: 0.0}}
DATASETS:
  PANOPTIC: {{NAME: tiny, ROOT: {tiny_set}}}
  TRAIN: ("tiny_train",)
  TEST: ("tiny_val",)
INPUT: {{CROP_SIZE: [64, 96], SCALE_RANGE: [1.0, 1.0], RANDOM_FLIP: none}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 2, WARMUP_ITERS: 1, CHECKPOINT_PERIOD: 1000}}
OUTPUT_DIR: {tmp_path}/output
""")
    return path


@pytest.fixture
def lively_weights(tiny_config: Path, tmp_path: Path) -> Path:
    """Weights for ``tiny_config`` whose scores and masks are random but spread widely, so that it finds
    things without training."""
    import torch

    from effps_solo.config import load_config
    from effps_solo.engine import Trainer
    from tests.noise_statistics import take_statistics

    torch.manual_seed(0)
    model = Trainer.build_model(load_config(str(tiny_config)))
    for name, parameter in model.instance_head.named_parameters():
        if "category_predictor" in name or "kernel_predictor" in name:
            bias = 0.0 if "category" in name else 1.0
            with torch.no_grad():
                parameter.normal_(std=2.0) if parameter.dim() > 1 else parameter.fill_(bias)
    take_statistics(model)
    path = tmp_path / "lively.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def other_classes(tiny_set: Path, tmp_path: Path) -> Callable[..., List[str]]:
    """``other_classes(*categories)``: KEY VALUE ... for a copy of ``tiny_set`` whose JSONs list these.

    A category is (dataset id, name, isthing); all ids of the tiny set must be among them.
    """

    def make(*categories: Tuple[int, str, int]) -> List[str]:
        name = f"other{len(list(tmp_path.glob('other*')))}"
        root = tmp_path / name
        shutil.copytree(tiny_set, root)
        for split in ("train", "val"):
            path = root / f"panoptic_{split}.json"
            keys = ("id", "name", "isthing")
            content = json.loads(path.read_text())
            content["categories"] = [dict(zip(keys, category)) for category in categories]
            path.write_text(json.dumps(content))
        words = ["DATASETS.PANOPTIC.NAME", name, "DATASETS.PANOPTIC.ROOT", str(root)]
        words += ["DATASETS.TRAIN", f"('{name}_train',)", "DATASETS.TEST", f"('{name}_val',)"]
        counts = ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "-1", "MODEL.INSTANCE_HEAD.NUM_CLASSES", "-1"]
        return [*words, *counts]

    return make


@pytest.fixture
def lively_model(tiny_config: Path, lively_weights: Path, tmp_path: Path) -> Path:
    """The model folder of ``lively_weights``; of its data nothing is known any more."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from effps_solo.inference.model_config import read_model_config
    from effps_solo.inference.pack import pack

    cfg = read_model_config(tiny_config, ["MODEL.WEIGHTS", str(lively_weights)])
    pack(cfg, tmp_path / "moved" / "model")
    for name in ("tiny_train", "tiny_val"):
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)
    return tmp_path / "moved" / "model"
