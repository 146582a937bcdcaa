"""The figures of the documentation, drawn from a set of three small scenes."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effps_solo.street_scenes.cityscapes_layout import SetParameters
from effps_solo.street_scenes.generate import generate


@pytest.mark.slow
def test_three_pictures(
    tmp_path: Path, project_root: Path, clean_catalogs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path / "street_scenes", SetParameters(1, 1, 128, 256, seed=3))
    script = str(project_root / "tools" / "draw_figures.py")
    monkeypatch.setattr(sys, "argv", [script, "--output", str(tmp_path / "new"), "--index", "0"])
    runpy.run_path(script, run_name="__main__")
    for name in ("grids", "masks", "fusion"):
        with Image.open(tmp_path / "new" / f"{name}.jpg") as picture:
            assert picture.width == 1050 and np.asarray(picture).std() > 20
