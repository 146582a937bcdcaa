"""Nested scopes, worked out by hand, and the stages of real models."""

from pathlib import Path
from typing import Dict, Iterator, List

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from effps_solo.benchmark.stages import STAGES, Scopes, wrap_stages
from effps_solo.config import load_config
from effps_solo.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def readings(values: List[float]) -> Iterator[float]:
    yield from values


def test_every_moment_belongs_to_the_innermost_scope() -> None:
    clock = readings([0, 1, 3, 7, 15, 31])
    scopes = Scopes(lambda: next(clock))
    with scopes.scope("outer"):  # from 0
        with scopes.scope("inner"):  # from 1
            with scopes.scope("outer"):  # from 3 to 7
                pass
        # "inner" ended at 15, "outer" ends at 31
    assert scopes.take() == {"outer": 1 + 4 + 16, "inner": 2 + 8}
    assert scopes.take() == {}


def test_nothing_counts_between_scopes() -> None:
    clock = readings([0, 1, 100, 102])
    scopes = Scopes(lambda: next(clock))
    with scopes.scope("a"):
        pass
    with scopes.scope("b"):
        pass
    assert scopes.take() == {"a": 1, "b": 2}


def test_a_scope_ends_where_its_method_raises() -> None:
    class Owner:
        def fail(self) -> None:
            raise RuntimeError

    clock = readings([0, 1, 5, 7])
    owner, scopes = Owner(), Scopes(lambda: next(clock))
    scopes.wrap(owner, "fail", "failing")
    with scopes.scope("around"):
        with pytest.raises(RuntimeError):
            owner.fail()
    assert scopes.take() == {"around": 1 + 2, "failing": 4}


def stages_of(config: Path, words: List[str]) -> Dict[str, float]:
    torch.manual_seed(0)
    cfg = load_config(str(config), ["MODEL.OUTPUTS", "['panoptic_seg']", *words])
    predictor = Predictor(cfg, model=build_model(cfg))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected, segments = predictor.panoptic(image)
    scopes = Scopes(lambda: 0.0)
    wrap_stages(scopes, predictor.model)
    with scopes.scope("preprocess"):
        found, same_segments = predictor.panoptic(image)
    assert np.array_equal(found, expected) and same_segments == segments
    return scopes.take()


def test_stages_of_solov2(tiny_config: Path) -> None:
    assert set(stages_of(tiny_config, [])) == set(STAGES) - {"load", "draw"}


def test_stages_of_mask_rcnn(tiny_config: Path) -> None:
    words = ["MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead"]
    assert set(stages_of(tiny_config, words)) == set(STAGES) - {"load", "draw"}
