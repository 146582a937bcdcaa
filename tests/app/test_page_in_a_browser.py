"""The page in a real browser. Screenshots are left in the folder EFFPS_SOLO_SCREENSHOTS, if it is set."""

import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator, List, TypeVar

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from effps_solo.app.page import serve  # noqa: E402
from effps_solo.app.session import Limits, Session  # noqa: E402
from effps_solo.inference.load import SAMPLE_IMAGE, load  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PORT = 7899
URL = f"http://127.0.0.1:{PORT}"
SECONDS = 60
CLASSES = {c.name: c.isthing for c in load().classes}
THINGS = {name for name, isthing in CLASSES.items() if isthing}
T = TypeVar("T")


@pytest.fixture(scope="module")
def page() -> Iterator[None]:
    """The model of the package beside itself, asking for more confidence."""
    models = {"first": load(), "second": load()}
    page = serve(Session(models, Limits(megapixels=1.0)), "127.0.0.1", PORT, block=False)
    yield
    page.close()


@pytest.fixture
def browser(page: None) -> Iterator[Callable[[], webdriver.Chrome]]:
    """Opens the page in a new browser."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("missing package: chromium and chromium-driver")
    opened: List[webdriver.Chrome] = []

    def start() -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(word)
        options.add_argument("--window-size=1300,1400")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        opened.append(webdriver.Chrome(options, webdriver.ChromeService(driver)))
        opened[-1].get(URL)
        find(opened[-1], "#upload input[type=file]")
        return opened[-1]

    yield start
    for number, one in enumerate(opened):
        folder = os.environ.get("EFFPS_SOLO_SCREENSHOTS")
        if folder:
            one.save_screenshot(os.path.join(folder, f"page_{number}.png"))
        one.quit()


def wait(browser: webdriver.Chrome, condition: Callable[[], T], what: str) -> T:
    """Until ``condition`` is true; elements may be replaced meanwhile."""
    waiting = WebDriverWait(browser, SECONDS, ignored_exceptions=[WebDriverException])
    return waiting.until(lambda _: condition(), f"{what} did not come")


def find(browser: webdriver.Chrome, selector: str) -> Any:
    return wait(browser, lambda: browser.find_element(By.CSS_SELECTOR, selector), selector)


def source(browser: webdriver.Chrome, number: int = 0) -> str:
    """URL of a picture; "" when there is none."""
    found = browser.find_elements(By.CSS_SELECTOR, f"#overlay{number} img")
    return str(found[0].get_attribute("src")) if found else ""


def upload(browser: webdriver.Chrome, path: Path) -> None:
    find(browser, "#upload input[type=file]").send_keys(str(path))


def new_source(browser: webdriver.Chrome, old: str, number: int = 0) -> str:
    def changed() -> str:
        now = source(browser, number)
        return now if now != old else ""

    return wait(browser, changed, "a new picture")


def classes_in_table(browser: webdriver.Chrome, number: int = 0) -> List[str]:
    """Of the rows that are in sight."""
    lines = find(browser, f"#table{number}").text.splitlines()
    return [line for line in lines if line in CLASSES]


def text_of(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.TAG_NAME, "body").text)


def test_a_visit(browser: Callable[[], webdriver.Chrome], tmp_path: Path) -> None:
    one = browser()
    upload(one, SAMPLE_IMAGE)
    first = new_source(one, "")
    new_source(one, "", 1)
    with urllib.request.urlopen(first) as answer:
        overlay = np.asarray(Image.open(answer))
    assert overlay.shape[1] == 512 and overlay.shape[0] > 256  # with the legend
    assert {"person", "car", "truck"} <= set(wait(one, lambda: classes_in_table(one), "the table"))

    # A click in the middle of the car.
    image = find(one, "#overlay0 img")
    scale = image.size["width"] / overlay.shape[1]
    offset = [(150 - overlay.shape[1] / 2) * scale, (140 - overlay.shape[0] / 2) * scale]
    ActionChains(one).move_to_element_with_offset(image, *map(int, offset)).click().perform()
    wait(one, lambda: "car (an object), score 0." in find(one, "#details0").text, "the class")

    # Only things that the model is sure of; the overlay is drawn anew.
    number = find(one, "#confidence input[type=number]")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("0.75", Keys.TAB)
    second = new_source(one, first)
    wait(one, lambda: set(classes_in_table(one)) & THINGS == {"person"}, "fewer things")
    find(one, "#labels input[type=checkbox]").click()
    third = new_source(one, second)
    with urllib.request.urlopen(third) as answer:
        assert np.asarray(Image.open(answer)).shape == (256, 512, 3)  # without the legend

    links = one.find_elements(By.CSS_SELECTOR, "#downloads a[href]")
    targets = {str(link.get_attribute("href")) for link in links}
    (panoptic,) = [t for t in targets if t.endswith("sample_1_panoptic.json")]
    with urllib.request.urlopen(panoptic) as answer:
        content = json.load(answer)
    assert len(content["annotations"][0]["segments_info"]) > 5
    assert sum(t.endswith(".png") for t in targets) == 4
    assert hosts(one) == {f"127.0.0.1:{PORT}"}


def hosts(browser: webdriver.Chrome) -> set:
    """Whom the page asked for anything."""
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    urls = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    return {url.split("/")[2] for url in urls if url.startswith(("http", "ws"))}


def test_bad_files_get_a_message_and_the_server_lives(
    browser: Callable[[], webdriver.Chrome], tmp_path: Path
) -> None:
    corrupt, large, huge = (tmp_path / n for n in ("corrupt.png", "large.png", "huge.png"))
    corrupt.write_bytes(SAMPLE_IMAGE.read_bytes()[:40])
    Image.new("RGB", (1200, 1000)).save(large)
    huge.write_bytes(bytes(25_000_000))
    one = browser()
    for path, message in (
        (corrupt, "corrupt.png cannot be read as an image"),
        (large, "large.png has 1200x1000 pixels"),
        (huge, "exceed the maximum allowed size"),
    ):
        upload(one, path)
        wait(one, lambda: message in text_of(one), message)
        assert not source(one)
        one.refresh()
        find(one, "#upload input[type=file]")
    upload(one, SAMPLE_IMAGE)
    assert new_source(one, "")


def test_nothing_but_uploads_and_results_can_be_read(page: None) -> None:
    for path in ("/etc/passwd", os.path.abspath(__file__)):
        with pytest.raises(urllib.error.HTTPError) as info:
            urllib.request.urlopen(f"{URL}/gradio_api/file={path}")
        assert info.value.code in (403, 404)


def test_two_users_at_once(browser: Callable[[], webdriver.Chrome], tmp_path: Path) -> None:
    mirrored = tmp_path / "mirrored.png"
    Image.open(SAMPLE_IMAGE).transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((0, 0, 300, 200)).save(
        mirrored
    )
    users = [browser(), browser()]
    for user, path in zip(users, (SAMPLE_IMAGE, mirrored)):
        upload(user, path)
    widths = []
    for user in users:
        with urllib.request.urlopen(new_source(user, "")) as answer:
            widths.append(np.asarray(Image.open(answer)).shape[1])
        wait(user, lambda: "person" in classes_in_table(user), "the table")
    assert widths == [512, 300]
