"""Images by the names that annotations give them."""

import unicodedata
from pathlib import Path
from typing import Any, Callable

import pytest

from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.image_index import ImageIndex, common_folder

Touch = Callable[..., None]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def run(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return run


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("b/x.jpg", "b/x.jpg"),
        ("./b//x.jpg", "b/x.jpg"),
        ("b\\x.jpg", "b/x.jpg"),
        ("C:\\data\\photo.png", "a/photo.png"),
        ("/data/photo.png", "a/photo.png"),
        ("../photo.png", "a/photo.png"),
        ("images/photo.png", "a/photo.png"),
        ("photo.jpeg", "a/photo.png"),
        ("PHOTO.PNG", "a/photo.png"),
        ("case/Y.jpg", "case/Y.jpg"),
        ("case/y.jpg", "case/y.jpg"),
        ("two.png", "two.png"),
        ("b/two.jpg", "two.jpg"),
        (unicodedata.normalize("NFC", "café.jpg"), unicodedata.normalize("NFD", "café.jpg")),
        ("地面.jpg", "地面.jpg"),
    ],
)
def test_names_with_a_suffix(tmp_path: Path, touch: Touch, name: str, found: str) -> None:
    touch("a/photo.png", "a/x.jpg", "b/x.jpg", "case/y.jpg", "case/Y.jpg", "two.jpg", "two.png")
    touch(unicodedata.normalize("NFD", "café.jpg"), "地面.jpg")
    assert ImageIndex(str(tmp_path)).find_file(name, "c.json") == str(tmp_path / found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.jpg", r"c.json: several images \(.*a/x.jpg, .*b/x.jpg\) named 'x.jpg'"),
        ("none.jpg", "c.json: no image named 'none.jpg' in .*; check --images"),
        ("", "no image named"),
        ("..", "no image named"),
        ("a\0b.jpg", "no image named"),
        ("a/", "no image named"),
    ],
)
def test_names_of_none_or_several(tmp_path: Path, touch: Touch, name: str, message: str) -> None:
    touch("a/x.jpg", "b/x.jpg")
    with pytest.raises(SourceError, match=message):
        ImageIndex(str(tmp_path)).find_file(name, "c.json")


def test_names_without_a_suffix(tmp_path: Path, touch: Touch) -> None:
    touch("a/1.jpg", "a/2.0_leftImg8bit.png", "b/3.jpg", "b/3.png")
    index = ImageIndex(str(tmp_path))
    for stem, found in (("a/1", "a/1.jpg"), ("b/1", "a/1.jpg"), ("a/2.0", "a/2.0_leftImg8bit.png")):
        assert index.find(stem, "x.json") == str(tmp_path / found)
    assert index.at("a/1") == str(tmp_path / "a/1.jpg")
    assert index.at("b/1") is None and index.at("b/3") is None
    with pytest.raises(SourceError, match="x.json: several images"):
        index.find("b/3", "x.json")


def test_a_folder_without_images(tmp_path: Path, touch: Touch) -> None:
    touch("a.txt")
    for folder in (str(tmp_path), "nowhere"):
        with pytest.raises(SourceError, match=f"--images '{folder}' is no folder with images"):
            ImageIndex(folder).find("a", "x.json")


def test_what_is_no_image_of_the_user(tmp_path: Path, touch: Touch) -> None:
    touch("a.jpg", "__MACOSX/a.jpg", "._a.jpg", ".hidden/a.jpg", "panoptic_train/a.png")
    touch(".panoptic_train.journal", "panoptic_val/b.png", "linked.txt")
    index = ImageIndex(str(tmp_path))
    assert index.find("x/a", "a.json") == str(tmp_path / "a.jpg")
    assert index.find("b", "b.json") == str(tmp_path / "panoptic_val" / "b.png")


def test_folders_that_are_links(tmp_path: Path, touch: Touch) -> None:
    touch("photos/a.jpg", "data/x.txt")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "data" / "link" / "round").symlink_to(tmp_path / "data")
    assert ImageIndex(str(tmp_path / "data")).find("a", "x") == str(tmp_path / "data/link/a.jpg")


def test_a_folder_above_all(tmp_path: Path, monkeypatch: Any) -> None:
    root = str(tmp_path)
    assert common_folder([f"{root}/a/1.jpg", f"{root}/a/b/2.jpg"], f"{root}/a") == f"{root}/a"
    assert common_folder([f"{root}/a/1.jpg", f"{root}/b/2.jpg"], f"{root}/a") == root
    assert common_folder([], f"{root}/a") == f"{root}/a"
    assert common_folder([f"{root}/aa/1.jpg"], f"{root}/a") == root
