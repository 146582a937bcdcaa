"""Every family from its download to results."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.config import load_config
from effps_solo.data.checks.report import as_text, exit_status
from effps_solo.data.checks.run import check_datasets
from effps_solo.data.checks.sources import counts_from_config, sources_from_config
from effps_solo.data.datasets.families import FAMILIES, Family
from effps_solo.data.datasets.prepare import main
from effps_solo.data.datasets.registration import check_dataset_available
from effps_solo.engine import Trainer
from effps_solo.evaluation import build_evaluator
from effps_solo.structures.panoptic_png import read_segment_ids

Record = Dict[str, Any]
PANOPTIC = [f"{key}{suffix}" for suffix in ("", "_th", "_st") for key in ("PQ", "SQ", "RQ")]
# A network that trains two steps on a miniature in a moment.
TINY: List[str] = [
    *("MODEL.WEIGHTS", "", "MODEL.TWO_WAY_FPN.OUT_CHANNELS", "32"),
    *("MODEL.SEM_SEG_HEAD.CONVS_DIM", "32", "MODEL.SOLOV2.CHANNELS", "32"),
    *("MODEL.SOLOV2.KERNEL_DIM", "32", "MODEL.SOLOV2.MASK_CHANNELS", "32"),
    *("MODEL.SOLOV2.NUM_CONVS", "1", "INPUT.CROP_SIZE", "(64, 96)"),
    *("MODEL.SOLOV2.NUM_GRIDS", "[[16, 24], [12, 18], [8, 12], [6, 9], [4, 6]]"),
    *("MODEL.SOLOV2.SCALE_RANGES", "[[1, 16], [8, 32], [16, 64], [32, 128], [64, 1000]]"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "1"),
]


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest, write_miniature: Callable[[str], Path]) -> Family:
    """A family whose miniature lies in the data root, prepared."""
    name: str = request.param
    write_miniature(name)
    assert main([name], ["--workers", "1"]) == 0
    return FAMILIES[name]


@pytest.fixture
def cfg(family: Family, tmp_path: Path, project_root: Path) -> CfgNode:
    """Trains on the first split and evaluates on the second."""
    train, val = map(family.dataset_name, family.splits)
    words = ["DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{val}',)"]
    words += ["OUTPUT_DIR", str(tmp_path / "output")]
    return load_config(str(project_root / "configs" / "Base-EffPS-Lite0.yaml"), [*TINY, *words])


def test_annotations_show_what_was_drawn(
    family: Family,
    cfg: CfgNode,
    region_map: Callable[[int, int], np.ndarray],
    expected: Callable[..., Dict[int, Tuple[str, bool]]],
) -> None:
    for name in map(family.dataset_name, family.splits):
        check_dataset_available(name)
        names = MetadataCatalog.get(name).thing_classes
        records = DatasetCatalog.get(name)
        assert len({record["image_id"] for record in records}) == len(records) == 2
        for record in records:
            assert Path(record["file_name"]).is_file()
            ids = read_segment_ids(record["pan_seg_file_name"])
            segments = {s["id"]: s for s in record["segments_info"]}
            top = region_map(*ids.shape)
            wanted = expected(family, *ids.shape)
            assert len(segments) == len(wanted)
            for region, (class_name, is_crowd) in wanted.items():
                (segment_id,) = np.unique(ids[top == region])
                segment = segments[int(segment_id)]
                assert names[segment["category_id"]] == class_name
                assert segment["iscrowd"] == is_crowd
                rows, columns = np.nonzero(top == region)
                assert segment["area"] == len(rows) == (ids == segment_id).sum()
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert segment["bbox"] == box
            assert not ids[~np.isin(top, list(wanted))].any()


def test_the_doctor_finds_nothing(family: Family, cfg: CfgNode) -> None:
    sources = sources_from_config(cfg)
    assert [source.name for source in sources] == [*map(family.dataset_name, family.splits)]
    checked = check_datasets(
        sources, expected=counts_from_config(cfg), num_workers=1, show_progress=False
    )
    assert exit_status(checked) == 0, as_text(checked, 0)
    # Four classes of many.
    assert {f.kind for dataset in checked for f in dataset.findings} == {"class-never-occurs"}


def test_ground_truth_is_perfect(
    family: Family, cfg: CfgNode, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    (name,) = cfg.DATASETS.TEST
    results = evaluate(build_evaluator(cfg, name), name, lambda record: perfect(name, record))
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}
    assert [results["panoptic_seg"][key] for key in PANOPTIC] == pytest.approx([100.0] * 9)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100.0)
    assert results["segm"]["AP"] == pytest.approx(100.0)


@pytest.mark.usefixtures("fresh_loggers")
def test_two_training_steps(family: Family, cfg: CfgNode, tmp_path: Path) -> None:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    results = trainer._last_eval_results
    assert {"panoptic_seg", "sem_seg", "segm"} == set(results)
    assert 0 <= results["panoptic_seg"]["PQ"] <= 100
    assert (tmp_path / "output" / "model_final.pth").is_file()
