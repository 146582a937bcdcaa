"""The HTML: self-contained, escaped, with the right numbers."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from PIL import Image

from effps_solo.evaluation.record import RECORD_NAME, EvaluationRecord, read_record
from effps_solo.report import open_run, write_comparison, write_report
from effps_solo.report.run import write_results
from effps_solo.utils.errors import UserError

WriteRun = Callable[..., Path]
Attributes = Dict[str, Any]
_UNCLOSED = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Tables as rows of texts, attributes of all elements; fails on elements that are not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: List[List[str]] = []
        self.elements: List[Tuple[str, Attributes]] = []
        self._open: List[str] = []
        self._in_row = False
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _UNCLOSED:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self._in_row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "tr":
            self._in_row = False

    def handle_data(self, data: str) -> None:
        if self._in_row and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    def row(self, name: str) -> List[str]:
        found, *_ = [row for row in self.rows if row and row[0] == name]
        return found

    def pictures(self) -> List[str]:
        return [attributes["alt"] for tag, attributes in self.elements if tag == "img"]


def assert_self_contained(page: Page) -> None:
    for tag, attributes in page.elements:
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
        assert tag not in ("script", "link", "iframe")
    assert "url(http" not in page.text and "@import" not in page.text


def test_report(write_run: WriteRun, tmp_path: Path) -> None:
    output = write_run("run")
    write_results({"sem_seg": {"mIoU": 61.5}}, output / "inference" / "street_val")
    write_report(open_run(output), tmp_path / "new" / "report.html", num_images=1)
    page = Page(tmp_path / "new" / "report.html")
    assert_self_contained(page)
    # Both images together: car found twice, false twice; persons found twice, missed twice.
    assert page.row("car")[2:] == ["66.7", "100.0", "66.7", "66.7", "100.0", "2", "2", "0"]
    assert page.row("person")[2:] == ["66.7", "100.0", "66.7", "66.7", "100.0", "2", "0", "2"]
    assert page.row("sky")[2:5] == ["–", "–", "–"]
    assert page.row("nothing")[1:] == ["", "1", "", ""]
    assert "61.5" in page.text and "mIoU" in page.text
    assert page.pictures() == 2 * ["image", "ground truth", "prediction", "verdicts"]
    # The names of the images are no markup.
    worst, best = re.findall(r"<h3>(.*)</h3>", page.text)
    assert worst.startswith("&lt;1&gt;.jpg: PQ 4") and best == "&lt;2&gt;.jpg: PQ 100.0"


def test_an_image_is_either_worst_or_best(write_run: WriteRun, tmp_path: Path) -> None:
    write_report(open_run(write_run("run")), tmp_path / "report.html", num_images=9)
    page = Page(tmp_path / "report.html")
    assert page.text.count("<h3>") == 2 and "Best images" not in page.text


def test_an_image_that_is_gone(write_run: WriteRun, tmp_path: Path) -> None:
    run = open_run(write_run("run"))
    (tmp_path / "1.jpg").unlink()
    (tmp_path / "2.png").write_bytes(b"")
    write_report(run, tmp_path / "report.html", num_images=1)
    page = Page(tmp_path / "report.html")
    assert page.pictures() == []
    assert f"{tmp_path / '1.jpg'} does not exist" in page.text
    assert f"{tmp_path / '2.png'} cannot be read" in page.text


def test_pictures_of_another_size_than_the_labels(write_run: WriteRun, tmp_path: Path) -> None:
    run = open_run(write_run("run"))
    Image.new("RGB", (7, 5)).save(tmp_path / "1.jpg")
    write_report(run, tmp_path / "report.html", num_images=1)
    assert "5x7 pixels, its segments 50x80" in Page(tmp_path / "report.html").text


def test_no_images(write_run: WriteRun, tmp_path: Path) -> None:
    output = write_run("run")
    record = read_record(output / "inference" / "street_val" / RECORD_NAME)
    empty = EvaluationRecord(record.data_set, record.classes, ())
    empty.write(output / "inference" / "street_val")
    write_report(open_run(output), tmp_path / "report.html", num_images=3)
    page = Page(tmp_path / "report.html")
    assert page.row("All")[2] == "–" and page.pictures() == []
    write_comparison(open_run(output), open_run(output), tmp_path / "two.html", num_images=3)
    assert Page(tmp_path / "two.html").row("All")[3] == "–"


def test_comparison(write_run: WriteRun, tmp_path: Path) -> None:
    first, second = open_run(write_run("old")), open_run(write_run("new", perfect=2))
    write_results({"sem_seg": {"mIoU": 61.5}}, second.folder)
    write_comparison(first, second, tmp_path / "two.html", num_images=5)
    page = Page(tmp_path / "two.html")
    assert_self_contained(page)
    assert page.row("person")[1:4] == ["66.7", "100.0", "+33.3"]
    assert page.row("sky")[1:] == ["–", "–", "–", "", ""]
    assert "61.5" not in page.text  # only one of them has it
    # Image 1 alone changed.
    assert page.pictures() == ["ground truth", first.name, second.name]
    assert "Images that gained most" in page.text and "lost most" not in page.text
    write_comparison(second, first, tmp_path / "back.html", num_images=5)
    assert Page(tmp_path / "back.html").row("person")[3] == "-33.3"


def test_runs_that_cannot_be_compared(write_run: WriteRun, tmp_path: Path) -> None:
    first, second = open_run(write_run("old")), open_run(write_run("new"))
    record = second.record
    fewer = EvaluationRecord(record.data_set, record.classes, record.images[:1])
    fewer.write(second.folder)
    with pytest.raises(UserError, match="not evaluated on the same images; 1 .* such as 2"):
        write_comparison(first, open_run(second.folder), tmp_path / "a.html", 1)
    EvaluationRecord(record.data_set, record.classes[:3], record.images).write(second.folder)
    with pytest.raises(UserError, match="differ in their classes"):
        write_comparison(first, open_run(second.folder), tmp_path / "a.html", 1)
