"""CVAT for images: kinds of shapes, order, groups, splits, and what cannot be used."""

from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pytest

from effps_solo.data.importers.classes import ClassList, Label
from effps_solo.data.importers.cvat import find
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Export

SIZE = (20, 30)
# The fields of CVAT's page "XML annotation format".
META = """<meta><task><id>1</id><name>t</name><size>1</size><mode>annotation</mode><labels>
<label><name>car</name><color>#00008e</color><type>any</type><attributes></attributes></label>
<label><name>road</name><color>#804080</color><type>any</type><attributes></attributes></label>
<label><name>pose</name><type>skeleton</type><attributes></attributes></label>
<label><name>1</name><type>points</type><attributes></attributes><parent>pose</parent></label>
</labels></task><dumped>2024-01-01 00:00:00+00:00</dumped></meta>"""
CLASSES = ClassList([{"name": "car", "isthing": 1}, {"name": "road", "isthing": 0}], "")


def image(shapes: str, name: str = "a.jpg", fields: str = "") -> str:
    size = f'width="{SIZE[1]}" height="{SIZE[0]}"'
    return f'<image id="0" name="{name}" {fields} {size}>{shapes}</image>'


def polygon(label: str, x0: int, y0: int, x1: int, y1: int, fields: str = "") -> str:
    points = f"{x0}.00,{y0}.00;{x1}.00,{y0}.00;{x1}.00,{y1}.00;{x0}.00,{y1}.00"
    return f'<polygon label="{label}" source="manual" occluded="0" points="{points}" {fields}></polygon>'


def document(*images: str, meta: str = META) -> str:
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{head}{meta}{''.join(images)}</annotations>"


@pytest.fixture
def load(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Export]:
    def run(shapes: str, text: Optional[str] = None) -> Export:
        write_image("images/a.jpg", *SIZE)
        (tmp_path / "annotations.xml").write_text(text or document(image(shapes)))
        return find(str(tmp_path))

    return run


def test_kinds_of_shapes(load: Any, draw: Any) -> None:
    shapes = [
        polygon("car", 1, 1, 5, 4),
        '<box label="car" xtl="10" ytl="2" xbr="16" ybr="4" z_order="0"></box>',
        '<box label="car" xtl="20" ytl="5" xbr="26" ybr="7" rotation="90.0" z_order="0"/>',
        '<mask label="car" rle="1, 1, 1, 3" left="2" top="10" width="3" height="2" z_order="0"/>',
        '<ellipse label="car" cx="15" cy="14" rx="8" ry="3" rotation="90" z_order="0"/>',
    ]
    export = load("".join(shapes))
    counted = export.count_labels()
    assert counted[0] == Label("car", 5, 1, color=[0, 0, 142])
    assert [(label.name, label.num_annotations) for label in counted[1:]] == [
        ("road", 0),
        ("pose", 0),
    ]
    ids, info, left_out = draw(export)
    expected = np.zeros(SIZE)
    expected[1:4, 1:5] = 1
    expected[2:4, 10:16] = 2
    expected[3:9, 22:24] = 3
    expected[10, 3], expected[11, 2:5] = 4, 4
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((x - 15) / 3) ** 2 + ((y - 14) / 8) ** 2 <= 1
    assert np.array_equal(np.where(ids == 5, 0, ids), np.where(ids == 5, 0, expected))
    assert ((ids == 5) != inside).sum() <= 4 and (ids == 5).sum() > 60
    assert len(info) == 5 and not left_out


def test_a_box_turns_clockwise(load: Any, draw: Any) -> None:
    """By 45 degrees, its right end goes down."""
    ids, _, _ = draw(load('<box label="car" xtl="5" ytl="9" xbr="25" ybr="11" rotation="45"/>'))
    assert ids[15, 20] and ids[5, 10] and not ids[15, 10] and not ids[5, 20]


def test_z_order_decides_what_lies_on_top(load: Any, draw: Any) -> None:
    """Then things lie over stuff, then what comes later."""
    shapes = [
        polygon("car", 0, 0, 10, 10, 'z_order="2"'),
        polygon("road", 0, 0, 30, 20, 'z_order="1"'),
        polygon("car", 20, 0, 30, 10, 'z_order="0"'),
        polygon("car", 5, 5, 15, 15, 'z_order="1"'),
        polygon("car", 10, 5, 20, 15, 'z_order="1"'),
    ]
    _, info, left_out = draw(load("".join(shapes)), classes=CLASSES)
    assert sorted(s["area"] for s in info) == [25, 100, 100, 600 - 225]
    assert left_out == {"covered entirely by others": 1}


def test_a_group_is_one_object(load: Any, draw: Any) -> None:
    shapes = [polygon("car", x, 0, x + 2, 2, 'group_id="7"') for x in (0, 4)]
    shapes += [polygon("road", 0, 10, 30, 20, 'group_id="7"')]
    shapes += [polygon("car", x, 0, x + 2, 2, 'group_id="0"') for x in (8, 12)]
    _, info, _ = draw(load("".join(shapes)), classes=CLASSES)
    assert sorted(s["area"] for s in info) == [4, 4, 8, 300]


def test_shapes_without_an_area_are_counted(load: Any, draw: Any) -> None:
    shapes = [
        polygon("car", 0, 0, 2, 2),
        '<polyline label="car" points="1,1;2,2;3,3"/>',
        '<points label="car" points="1,1"/>',
        '<skeleton label="pose"><points label="1" points="1,1"/></skeleton>',
        '<cuboid label="car" xtl1="1" ytl1="1"/>',
        '<tag label="car" source="manual"></tag>',
        '<tag label="car"></tag>',
        '<polygon label="" points="1,1;5,1;5,5"/>',
        '<polygon label="car" points="1,1;5,1"/>',
        '<polygon label="car" points=""/>',
        '<mask label="car" rle="4" left="2" top="2" width="2" height="2"/>',
    ]
    _, info, left_out = draw(load("".join(shapes)), classes=CLASSES)
    kinds = {"polyline": 1, "points": 1, "skeleton": 1, "cuboid": 1, "tag": 2}
    assert len(info) == 1 and left_out == {
        **{f"of the kind '{kind}', which has no area": n for kind, n in kinds.items()},
        "without a label": 1,
        "of less than three points": 2,
        "without a pixel in the image": 1,
    }


def test_subsets_are_splits(tmp_path: Path, write_image: Any) -> None:
    """Exports of projects have a folder of images for each; names may come twice."""
    for folder in ("Train", "Validation"):
        write_image(f"images/{folder}/a.jpg", *SIZE)
    shapes = polygon("car", 0, 0, 2, 2)
    images = [image(shapes, "a.jpg", f'subset="{s}"') for s in ("Train", "Validation")]
    (tmp_path / "annotations.xml").write_text(document(*images))
    found = {k: [i.image for i in v] for k, v in find(str(tmp_path)).splits.items()}
    assert found == {
        "train": [str(tmp_path / "images/Train/a.jpg")],
        "val": [str(tmp_path / "images/Validation/a.jpg")],
    }
    (tmp_path / "annotations.xml").write_text(document(images[1], image(shapes, "Train/a.jpg")))
    assert sorted(find(str(tmp_path)).splits) == ["", "val"]


def test_several_files(tmp_path: Path, write_image: Any, draw: Any) -> None:
    for task in ("train", "val"):
        write_image(f"{task}/images/a.jpg", *SIZE)
        shapes = image(polygon("car", 0, 0, 2 if task == "val" else 3, 2))
        (tmp_path / task / "annotations.xml").write_text(document(shapes))
    (tmp_path / "other.xml").write_text("<annotation><object/></annotation>")
    export = find(str(tmp_path))
    assert list(export.splits) == ["train", "val"]
    assert [draw(export, k)[1][0]["area"] for k in (0, 1)] == [6, 4]
    assert export.count_labels()[0].num_annotations == 2


def test_an_image_without_shapes(load: Any, draw: Any) -> None:
    assert draw(load(""), classes=CLASSES)[1:] == ([], {})


def test_images_elsewhere(tmp_path: Path, write_image: Any) -> None:
    write_image("photos/deep/a.jpg", *SIZE)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "job.xml").write_text(document(image("", "a.jpg")))
    export = find(str(tmp_path / "x" / "job.xml"), str(tmp_path / "photos"))
    assert export.splits[""][0].image == str(tmp_path / "photos" / "deep" / "a.jpg")


MASK = '<mask label="car" left="2" top="2" width="{}" height="{}" rle="{}"/>'


@pytest.mark.parametrize(
    "shape, message",
    [
        (MASK.format(3, 2, "1, 4"), "shape 1 .mask.: its run lengths sum to 5, its box has 3x2"),
        (MASK.format(40, 2, "1, 79"), "its mask has 40x2 pixels, its image 30x20"),
        (MASK.format(-2, -2, "1, 3"), "its mask has -2x-2 pixels"),
        (MASK.format(2, 2, "a"), "no numbers"),
        (MASK.format("", 2, "4"), "its width is '' instead of a number"),
        (MASK.format(2, 2, "-1, 5"), "damaged"),
        ('<box label="car" xtl="1" ytl="1" xbr="inf" ybr="4"/>', "its xbr is 'inf'"),
        ('<box label="car" xtl="1" ytl="1" xbr="9e9" ybr="4"/>', "far outside"),
        ('<polygon label="car" points="1,1;2,2;3"/>', "odd number"),
        ('<polygon label="car" points="1,1;2,2;nan,3"/>', "no finite number"),
        ('<polygon label="car" points="1,1;2,x;3,3"/>', "is no number"),
        (polygon("car", 0, 0, 2, 2, 'z_order="top"'), "its z_order is 'top'"),
    ],
)
def test_shapes_that_cannot_be_meant(shape: str, message: str, load: Any, draw: Any) -> None:
    export = load(shape)
    with pytest.raises(SourceError, match=message):
        draw(export, classes=CLASSES)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "text, message",
    [
        (document().replace("\n", f"\n{BOMB}"), "has a DOCTYPE"),
        (document(image(""))[:-20], "cannot be read as XML"),
        (document(), "no images of CVAT"),
        (document('<track id="0" label="car"><box frame="0"/></track>'), "CVAT for images 1.1"),
        (document(image("", "b.jpg")), "annotations.xml: no image named 'b.jpg'"),
    ],
)
def test_files_that_cannot_be_used(text: str, message: str, load: Any) -> None:
    with pytest.raises(SourceError, match=message):
        load("", text)


def test_another_size_is_refused(load: Any, draw: Any) -> None:
    text = document(image("").replace('width="30"', 'width="31"'))
    with pytest.raises(SourceError, match="made for 31x20 pixels"):
        draw(load("", text), classes=CLASSES)
