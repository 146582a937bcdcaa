"""From file and overrides to a config with registered data sets."""

from pathlib import Path
from typing import Tuple

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from effps_solo.config import check_device, load_config
from effps_solo.utils.errors import ConfigError, UserError


def test_no_file_gives_the_defaults(clean_catalogs: None) -> None:
    cfg = load_config("")
    assert cfg.SOLVER.OPTIMIZER == "SGD" and cfg.MODEL.INSTANCE_HEAD.NAME == "SOLOv2InstanceHead"
    assert "street_scenes_panoptic_val" in DatasetCatalog
    assert not cfg.is_frozen()


def test_overrides_win_over_the_file_and_its_base(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["SOLVER.MAX_ITER", "7", "INPUT.CROP_SIZE", "(32, 64)"])
    assert cfg.SOLVER.MAX_ITER == 7 and cfg.INPUT.CROP_SIZE == (32, 64)
    assert cfg.SOLVER.IMS_PER_BATCH == 2  # the file
    assert cfg.SOLVER.OPTIMIZER == "AdamW"  # its base


def test_the_data_set_of_the_config_is_registered(tiny_config: Path) -> None:
    load_config(str(tiny_config))
    assert MetadataCatalog.get("tiny_val").thing_classes == ["person", "car", "road", "sky"]
    assert len(DatasetCatalog.get("tiny_train")) == 2


def test_overrides_come_before_registration(tiny_config: Path) -> None:
    with pytest.raises(UserError, match="DATASETS.TEST names 'tiny_vall'.*tiny_val"):
        load_config(str(tiny_config), ["DATASETS.TEST", "('tiny_vall',)"])


@pytest.mark.parametrize(
    ("semantic", "instance", "expected"), [(-1, -1, (4, 2)), (9, -1, (9, 2)), (-1, 0, (4, 0))]
)
def test_class_counts_of_the_data(
    tiny_config: Path, semantic: int, instance: int, expected: Tuple[int, int]
) -> None:
    words = ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(semantic)]
    words += ["MODEL.INSTANCE_HEAD.NUM_CLASSES", str(instance)]
    model = load_config(str(tiny_config), words).MODEL
    assert (model.SEM_SEG_HEAD.NUM_CLASSES, model.INSTANCE_HEAD.NUM_CLASSES) == expected


def test_void_is_that_of_the_data_set(clean_catalogs: None) -> None:
    DatasetCatalog.register("own", list)
    MetadataCatalog.get("own").set(
        thing_dataset_id_to_contiguous_id={1: 0},
        stuff_dataset_id_to_contiguous_id={2: 1},
        ignore_label=99,
    )
    words = ["DATASETS.TRAIN", "('own',)", "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE"]
    words += ["EfficientPS", "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"]
    head = build_model(load_config("", words)).sem_seg_head
    target = torch.full((1, 16, 16), 99)
    assert head.losses(torch.randn(1, 2, 4, 4), target)["loss_sem_seg"] == 0
    assert load_config("").MODEL.SEM_SEG_HEAD.IGNORE_VALUE == 255  # no data set


def test_descriptions_are_seen_from_the_config_file(
    tiny_config: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny_set / "set.yaml").write_text("name: tiny")
    inline = f"PANOPTIC: {{NAME: tiny, ROOT: {tiny_set}}}"
    text = tiny_config.read_text()
    assert inline in text
    tiny_config.write_text(text.replace(inline, "DESCRIPTIONS: [tiny/set.yaml]"))
    monkeypatch.chdir(tiny_set)
    cfg = load_config(str(tiny_config))
    assert cfg.DATASETS.DESCRIPTIONS == (str(tiny_set / "set.yaml"),)
    saved = tiny_set / "saved" / "config.yaml"  # as training writes it
    saved.parent.mkdir()
    saved.write_text(cfg.dump())
    assert load_config(str(saved)).DATASETS == cfg.DATASETS


def test_descriptions_of_the_command_line_are_seen_from_the_current_folder(
    tiny_config: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny_set / "set.yaml").write_text("name: other")
    monkeypatch.chdir(tiny_set.parent)
    for path in ("tiny/set.yaml", "$TINY/set.yaml"):
        monkeypatch.setenv("TINY", "tiny")
        words = ["DATASETS.DESCRIPTIONS", f"('{path}',)", "DATASETS.TEST", "('other_val',)"]
        cfg = load_config(str(tiny_config), words)
        assert cfg.DATASETS.DESCRIPTIONS == (str(tiny_set / "set.yaml"),)


def test_class_counts_without_a_data_set(clean_catalogs: None) -> None:
    model = load_config("").MODEL
    assert (model.SEM_SEG_HEAD.NUM_CLASSES, model.INSTANCE_HEAD.NUM_CLASSES) == (-1, -1)


def test_unknown_keys(tiny_config: Path) -> None:
    with pytest.raises(ConfigError, match="SOLVER.MAXITER.*did you mean 'SOLVER.MAX_ITER'"):
        load_config(str(tiny_config), ["SOLVER.MAXITER", "7"])
    tiny_config.write_text("MODEL: {SOLOV3: {}}\n")
    with pytest.raises(ConfigError, match="tiny.yaml': unknown key 'MODEL.SOLOV3'"):
        load_config(str(tiny_config))


def test_code_in_the_file_is_refused_unless_allowed(tmp_path: Path, clean_catalogs: None) -> None:
    path, trace = tmp_path / "hostile.yaml", tmp_path / "trace"
    path.write_text(f"OUTPUT_DIR: !!python/object/apply:os.system ['touch {trace}']\n")
    with pytest.raises(ConfigError, match="refused"):
        load_config(str(path))
    assert not trace.exists()
    with pytest.raises(ConfigError, match="OUTPUT_DIR"):  # it ran, and gave a number
        load_config(str(path), allow_unsafe=True)
    assert trace.exists()


def test_missing_gpu_is_named(clean_catalogs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = load_config("", ["MODEL.DEVICE", "cuda"])
    with pytest.raises(ConfigError, match="MODEL.DEVICE is 'cuda'.*add MODEL.DEVICE cpu"):
        check_device(cfg)
    cfg.MODEL.DEVICE = "cpu"
    check_device(cfg)


def test_weights_of_classes_by_name(tiny_config: Path) -> None:
    """Things come first: person and car, then road and sky."""
    words = ["MODEL.CLASS_WEIGHTS", "[['sky', 3], ['car', 0.5]]"]
    cfg = load_config(str(tiny_config), words)
    assert cfg.MODEL.SEM_SEG_HEAD.CLASS_WEIGHTS == [1.0, 0.5, 1.0, 3.0]
    assert cfg.MODEL.INSTANCE_HEAD.CLASS_WEIGHTS == [1.0, 0.5]
    model = build_model(cfg)
    assert model.instance_head.class_weights == [1.0, 0.5]
    assert load_config(str(tiny_config)).MODEL.SEM_SEG_HEAD.CLASS_WEIGHTS == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[['skyy', 2.0]]", "names the class 'skyy'; did you mean 'sky'"),
        ("[['xxxx', 2.0]]", "there are person, car, road, sky"),
        ("[['sky', 0]]", "gives sky the weight 0; give a positive number"),
        ("[['sky', 'much']]", "gives sky the weight 'much'"),
        ("['sky', 2.0]", "holds 'sky'; write pairs"),
    ],
)
def test_weights_that_cannot_be_meant(tiny_config: Path, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(str(tiny_config), ["MODEL.CLASS_WEIGHTS", value])
