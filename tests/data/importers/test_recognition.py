"""What files look like: those that a reader takes, and those that need another export."""

from pathlib import Path

import pytest
from PIL import Image

from effps_solo.data.importers.recognition import recognize

POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.5\n"
CVAT = '<annotations><version>1.1</version><meta/><{} id="0" name="a.jpg"></{}></annotations>'


@pytest.mark.parametrize(
    "name, text, what",
    [
        ("a.txt", POLYGON, "yolo-seg"),
        ("data.yaml", "train: images/train\nnc: 1\nnames: [car]\n", "yolo-seg"),
        ("a.txt", "0 0.5 0.5 0.2 0.2\n", "YOLO boxes"),
        ("annotations.xml", CVAT.format("image", "image"), "cvat"),
        ("annotations.xml", CVAT.format("track", "track"), "CVAT XML of videos"),
        ("a.xml", "<annotation><object></object></annotation>", "boxes in Pascal VOC's XML"),
        ("VOC2012/Annotations/a.xml", "<annotation><object></object></annotation>", "mask-pairs"),
        ("semantic/a.txt", "a", "mask-pairs"),
        ("readme.txt", "hello\n", None),
    ],
)
def test_what_files_look_like(name: str, text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if what == "mask-pairs":
        folder = "semantic" if name.startswith("semantic") else "VOC2012/SegmentationClass"
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("L", (3, 2)).save(tmp_path / folder / "a.png")
    seen = recognize(str(tmp_path))
    assert what in ((None,) if seen is None else (seen[1].format, seen[1].what))
