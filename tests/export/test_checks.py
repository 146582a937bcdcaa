"""What the export refuses, and that it does so before a network is built."""

from pathlib import Path
from typing import List

import pytest

from effps_solo.__main__ import main
from effps_solo.config import load_config
from effps_solo.export import check_formats, describe
from effps_solo.export.checks import check_exportable
from effps_solo.utils.errors import ConfigError


def test_formats() -> None:
    check_formats([Path("a.onnx"), Path("b.xml"), Path("c.pt2")])
    check_formats([Path("a.onnx"), Path("b.xml")], int8=True)
    with pytest.raises(ConfigError, match="--output b.engine: the name must end in .onnx, .xml"):
        check_formats([Path("a.onnx"), Path("b.engine")])


@pytest.mark.parametrize(
    "words, message",
    [
        (["MODEL.PANOPTIC_FUSION.NAME", "HeuristicFusion"], "PANOPTIC_FUSION.NAME is Heuristic"),
        (["MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead"], "INSTANCE_HEAD.NAME is MaskRCNN"),
        (["MODEL.INSTANCE_HEAD.NAME", "PublishedSOLOv2InstanceHead"], "published"),
        (["MODEL.SOLOV2.PARITY", "True"], "MODEL.SOLOV2.PARITY is True"),
        (["MODEL.SEM_SEG_HEAD.NAME", ""], "MODEL.SEM_SEG_HEAD.NAME is ''"),
    ],
)
def test_parts_that_cannot_be_exported(
    tiny_config: Path, words: List[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load_config(str(tiny_config), words)
    with pytest.raises(ConfigError, match=message):
        describe(cfg, (64, 96), "tiny.yaml")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr("effps_solo.inference.predictor.trained_model", never)
    command = ["export", "--config-file", str(tiny_config), "--output", "m.onnx", "--any-size"]
    assert main([*command, "--opts", *words]) == 2


def test_other_models(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    check_exportable(cfg)
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    with pytest.raises(ConfigError, match="META_ARCHITECTURE is PanopticFPN; only EfficientPS"):
        check_exportable(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = "EfficientPS", 0
    with pytest.raises(ConfigError, match="no classes of things"):
        check_exportable(cfg)
