"""Labels without what training needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from effps_solo.inference.labels import FORMATS
from effps_solo.inference.labels.build import build_label_writer

_PROGRAM = """
import sys
for name in ("torch", "detectron2", "pycocotools", "timm"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from effps_solo.inference.labels.build import build_label_writer
from effps_solo.inference.pseudo_labels import void_unsure
from effps_solo.inference.result import PanopticResult
from effps_solo.inference.writer import PanopticWriter
from effps_solo.structures.classes import PanopticClass

folder, classes = Path(sys.argv[1]), (PanopticClass("car", True, 26, (0, 0, 142)),)
ids = np.ones((5, 6), dtype=np.int32)
ids[2, 3] = 0
info = [{"id": 1, "category_id": 0, "isthing": True, "score": 0.5}]
result = PanopticResult.from_prediction(np.zeros((5, 6, 3), np.uint8), ids, info, classes)
for name in ("labelme", "coco", "cvat"):
    labels = build_label_writer(name, folder, classes, 1.0)
    writer = PanopticWriter(folder, classes, label_writer=labels)
    writer.add(Path("a.jpg"), void_unsure(result, 0.4))
    writer.close()
"""


def test_an_exported_model_is_enough(tmp_path: Path, project_root: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    result = subprocess.run(command, cwd=project_root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert {"labelme", "instances.json", "annotations.xml"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("name", FORMATS)
def test_names(name: str, tmp_path: Path) -> None:
    writer = build_label_writer(name, tmp_path, (), 0)
    assert type(writer).__name__.lower() == f"{name}writer"
