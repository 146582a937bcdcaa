"""Generated street scenes: deterministic, readable as Cityscapes, and as hard as intended."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.csHelpers import getCsFileInfo
from cityscapesscripts.helpers.labels import id2label, name2label
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.cityscapes_panoptic import load_cityscapes_panoptic
from panopticapi.utils import rgb2id

from effps_solo.street_scenes import MANIFEST, SetParameters, generate
from effps_solo.street_scenes.camera import Camera
from effps_solo.street_scenes.cityscapes_layout import UNFINISHED, image_files
from effps_solo.street_scenes.layers import draw_mask
from effps_solo.street_scenes.render import render
from effps_solo.street_scenes.scene import sample_scene
from effps_solo.street_scenes.statistics import ImageFigures, Thing, measure_image, summarise

SCRIPT = Path(__file__).parents[2] / "datasets" / "generate_street_scenes.py"
USUAL = SetParameters(num_train=24, num_val=16)
SMALL = SetParameters(num_train=3, num_val=2, height=96, width=192, seed=5)
THING_TRAIN_IDS = (11, 12, 13, 14, 15, 17, 18)


@pytest.fixture(scope="module")
def usual_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with the default settings but for the number of images."""
    root = tmp_path_factory.mktemp("street_scenes")
    assert generate(root, USUAL)
    return root


def fingerprints(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def load_script():
    spec = importlib.util.spec_from_file_location("generate_street_scenes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_point_on_the_ground_is_projected_by_hand():
    camera = Camera(width=512, height=256, focal=500.0, eye=2.0, horizon=100.0, center=256.0)
    pixels = camera.project(np.array([[1.0, 0.0, 10.0], [0.0, 2.0, 7.0]]))
    np.testing.assert_allclose(pixels, [[306.0, 200.0], [256.0, 100.0]])
    x, z = camera.ground_points(np.array([[200.0]]), np.array([[306.0]]))
    assert (x.item(), z.item()) == pytest.approx((1.0, 10.0))


def test_every_worker_count_gives_the_same_bytes(tmp_path: Path):
    for name, workers in (("one", 1), ("two", 2)):
        assert generate(tmp_path / name, SMALL, workers)
    first, second = fingerprints(tmp_path / "one"), fingerprints(tmp_path / "two")
    # 5 files an image, a panoptic PNG each, a panoptic JSON a split, the manifest
    assert len(first) == 5 * 6 + 2 + 1
    assert first == second


def test_images_depend_on_seed_split_and_index_only(tmp_path: Path):
    longer = SetParameters(num_train=4, num_val=2, height=96, width=192, seed=5)
    other = SetParameters(num_train=3, num_val=2, height=96, width=192, seed=6)
    for name, parameters in (("a", SMALL), ("longer", longer), ("other", other)):
        generate(tmp_path / name, parameters)
    pictures = {
        name: [image_files(tmp_path / name, "train", i)[0].read_bytes() for i in range(3)]
        for name in ("a", "longer", "other")
    }
    assert pictures["a"] == pictures["longer"]
    assert not set(pictures["a"]) & set(pictures["other"])
    val = {image_files(tmp_path / "a", "val", i)[0].read_bytes() for i in range(2)}
    assert not val & set(pictures["a"])


def test_a_finished_set_is_left_alone(tmp_path: Path):
    assert generate(tmp_path, SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not generate(tmp_path, SMALL)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_set_is_completed(tmp_path: Path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    generate(whole, SMALL)
    generate(broken, SMALL)
    (broken / MANIFEST).rename(broken / UNFINISHED)
    kept = image_files(broken, "train", 0)[0]
    stamp = kept.stat().st_mtime_ns
    for path in image_files(broken, "train", 1)[2:] + image_files(broken, "val", 0):
        path.unlink()
    (broken / "gtFine" / "cityscapes_panoptic_val.json").unlink()
    assert generate(broken, SMALL)
    assert fingerprints(broken) == fingerprints(whole)
    assert kept.stat().st_mtime_ns == stamp


def test_another_set_is_only_replaced_when_asked(tmp_path: Path):
    other = SetParameters(num_train=1, num_val=1, height=96, width=192, seed=5)
    generate(tmp_path, SMALL)
    with pytest.raises(FileExistsError, match="--overwrite"):
        generate(tmp_path, other)
    assert generate(tmp_path, other, overwrite=True)
    assert len(list((tmp_path / "leftImg8bit" / "train").rglob("*.png"))) == 1


def test_a_folder_of_someone_else_is_never_touched(tmp_path: Path):
    picture = tmp_path / "leftImg8bit" / "train" / "aachen" / "a_leftImg8bit.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a real picture")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="holds no set of street scenes"):
            generate(tmp_path, SMALL, overwrite=overwrite)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [picture]


@pytest.mark.parametrize(
    "parameters, word",
    [
        (SetParameters(num_train=0), "num_train is 0"),
        (SetParameters(height=8), "height and width are 8 and 512"),
        (SetParameters(seed=-1), "seed is -1"),
    ],
)
def test_impossible_parameters_are_named(tmp_path: Path, parameters: SetParameters, word: str):
    with pytest.raises(ValueError, match=word):
        generate(tmp_path / "new", parameters)
    assert not (tmp_path / "new").exists()


def test_the_script_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture):
    script = load_script()
    options = ["--output", str(tmp_path / "set"), "--num-train", "1", "--num-val", "1"]
    options += ["--height", "96", "--width", "192", "--num-workers", "1"]
    assert script.main([*options, "--statistics"]) == 0
    assert "things per image" in capsys.readouterr().out
    assert script.main(options) == 0
    assert "is there already" in capsys.readouterr().out
    assert script.main([*options, "--seed", "3"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_default_folder_is_below_the_data_root(monkeypatch: pytest.MonkeyPatch):
    script = load_script()
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    assert script.default_output() == Path("/data/street_scenes")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert script.default_output() == Path("datasets/street_scenes")


def test_detectron2_loads_it_as_cityscapes(usual_set: Path):
    metadata = MetadataCatalog.get("cityscapes_fine_panoptic_train")
    ids = {
        "thing_dataset_id_to_contiguous_id": metadata.thing_dataset_id_to_contiguous_id,
        "stuff_dataset_id_to_contiguous_id": metadata.stuff_dataset_id_to_contiguous_id,
    }
    for split, number in (("train", USUAL.num_train), ("val", USUAL.num_val)):
        truth = usual_set / "gtFine" / f"cityscapes_panoptic_{split}"
        images = usual_set / "leftImg8bit" / split
        records = load_cityscapes_panoptic(str(images), str(truth), f"{truth}.json", ids)
        assert len(records) == number
        for record in records:
            assert_maps_agree(record)


def assert_maps_agree(record: dict) -> None:
    """Checks that semantic, panoptic and listed segments of an image tell the same."""
    picture = cv2.imread(record["file_name"])
    semantic = cv2.imread(record["sem_seg_file_name"], cv2.IMREAD_UNCHANGED)
    panoptic = rgb2id(cv2.imread(record["pan_seg_file_name"])[..., ::-1])
    assert picture.shape[:2] == semantic.shape == panoptic.shape == (256, 512)
    expected = np.full(semantic.shape, 255)
    for segment in record["segments_info"]:
        inside = panoptic == segment["id"]
        assert segment["area"] == inside.sum()
        expected[inside] = segment["category_id"]
    np.testing.assert_array_equal(semantic, expected)
    assert (panoptic[semantic == 255] == 0).all()


def test_names_and_values_are_those_of_cityscapes(usual_set: Path):
    for index in range(USUAL.num_val):
        picture, polygons, label_ids, train_ids, instance_ids = image_files(usual_set, "val", index)
        assert getCsFileInfo(str(picture)).sequenceNb == "000000"
        record = json.loads(polygons.read_text())
        assert (record["imgHeight"], record["imgWidth"]) == (256, 512)
        for entry in record["objects"]:
            assert entry["label"].removesuffix("group") in name2label
            points = np.array(entry["polygon"])
            assert len(points) >= 3 and points.min() >= 0
            assert points[:, 0].max() < 512 and points[:, 1].max() < 256
        labels = cv2.imread(str(label_ids), cv2.IMREAD_UNCHANGED)
        instances = cv2.imread(str(instance_ids), cv2.IMREAD_UNCHANGED)
        assert (labels.dtype, instances.dtype) == (np.uint8, np.uint16)
        np.testing.assert_array_equal(
            np.where(instances < 1000, instances, instances // 1000), labels
        )
        known = np.array([id2label[value].trainId for value in range(34)])
        expected = cv2.imread(str(train_ids), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(known[labels], expected)


def test_no_pixel_of_an_object_is_painted_outside_its_label():
    """Paints the scene with one object less: only pixels of that object's label may change much."""
    changed = checked = 0
    for index in range(10):
        scene = sample_scene(0, "train", index, 256, 512)
        scene.softness, scene.gain = 1e-3, 0.0  # neither blur nor noise
        full = render(scene)
        signs = [poly for label, poly in full.objects if label == "traffic sign"]
        kinds = [k for k, item in enumerate(scene.items) if item.kind == "traffic sign"]
        posts = [poly for label, poly in full.objects if label == "pole"]
        if not signs:
            continue
        removed = [scene.items[k] for k in kinds]
        scene.items = [item for item in scene.items if item not in removed]
        less = render(scene)
        allowed = np.zeros((256, 512), bool)
        for polygon in signs + posts:
            allowed |= draw_mask(polygon, 512, 256)
        difference = np.abs(full.rgb.astype(int) - less.rgb).max(axis=2)
        above = difference[: int(scene.camera.horizon)]  # below it shadows change too
        assert (above[~allowed[: len(above)]] == 0).all()
        changed += int((above > 0).sum())
        checked += 1
    assert checked >= 3 and changed > 200


def test_the_default_scenes_are_hard_enough(usual_set: Path):
    images = [
        measure_image(usual_set, split, index)
        for split in ("train", "val")
        for index in range(USUAL.count(split))
    ]
    figures = summarise(images)
    assert figures["things per image"] >= 6
    assert 0.30 <= figures["things below 32x32 px"] <= 0.55
    assert 0.10 <= figures["things below 16x16 px"] <= 0.25
    assert 0.25 <= figures["things partly hidden"] <= 0.55
    assert 0.02 <= figures["void pixels"] <= 0.12
    assert 0.03 <= figures["thing pixels in groups"] <= 0.2
    assert figures["smallest longer side, px"] >= 10
    present = set().union(*(image.classes for image in images))
    assert present >= set(range(11)), "a stuff class never occurs"
    assert present >= set(THING_TRAIN_IDS), "a thing class never occurs"
    largest = max(thing.height for image in images for thing in image.things)
    assert largest >= 128


def test_the_default_size_is_at_least_256_by_512():
    usual = SetParameters()
    assert (usual.height, usual.width) >= (256, 512) and usual.num_train >= 400


def test_some_scenes_have_no_thing_at_all():
    kinds = {"person", "rider", "car", "truck", "bus", "motorcycle", "bicycle"}
    empty = sum(
        not any(item.kind in kinds for item in sample_scene(0, "train", i, 256, 512).items)
        for i in range(300)
    )
    assert 3 <= empty <= 25


def test_figures_are_counted_by_hand():
    things = [
        Thing("car", 2000, 2000, 60, 40),
        Thing("person", 900, 1200, 25, 60),
        Thing("person", 100, 105, 6, 20),
        Thing("bus", 3000, 3500, 60, 60),
    ]
    figures = summarise(
        [ImageFigures(things, {11, 13, 15}, 0.1, 1500), ImageFigures([], {0}, 0.0, 0)]
    )
    assert figures["things per image"] == 2
    assert figures["things below 32x32 px"] == 0.5
    assert figures["things below 16x16 px"] == 0.25
    assert figures["things partly hidden"] == 0.5
    assert figures["void pixels"] == 0.05
    assert figures["thing pixels in groups"] == 0.2
    assert figures["images without things"] == 0.5
    assert figures["smallest longer side, px"] == 20
    assert summarise([])["things per image"] == 0


def read_pixels(root: Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (x, y, r, g, b) in 0..1 and the train ids of some evaluated pixels."""
    features, classes = [], []
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:256, 0:512]
    for index in range(USUAL.count(split)):
        files = image_files(root, split, index)
        rgb = cv2.imread(str(files[0]))[..., ::-1] / 255.0
        labels = cv2.imread(str(files[3]), cv2.IMREAD_UNCHANGED)
        stacked = np.dstack([columns / 512, rows / 256, rgb]).reshape(-1, 5)
        chosen = rng.permutation(np.flatnonzero(labels.ravel() != 255))[:count]
        features.append(stacked[chosen])
        classes.append(labels.ravel()[chosen])
    return np.concatenate(features), np.concatenate(classes)


def mean_recall(predicted: np.ndarray, truth: np.ndarray, classes: tuple[int, ...]) -> float:
    return float(np.mean([(predicted[truth == k] == k).mean() for k in classes if k in truth]))


def class_means(features: np.ndarray, classes: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Classifies by the nearest mean of a class in standardised features."""
    scale = features.std(axis=0)
    known = np.unique(classes)
    means = np.stack([features[classes == k].mean(axis=0) for k in known]) / scale
    distance = np.linalg.norm(unseen[:, None] / scale - means[None], axis=2)
    return known[distance.argmin(axis=1)]


def lookup_table(features: np.ndarray, classes: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Classifies by the class that fills a bin of place and colour most, for its frequency."""
    bins = np.array([3, 6, 5, 5, 5])

    def cell(points: np.ndarray) -> np.ndarray:
        digits = np.minimum((points * bins).astype(int), bins - 1)
        return np.ravel_multi_index(tuple(digits.T), tuple(bins))

    votes = np.zeros((int(bins.prod()), 19))
    np.add.at(votes, (cell(features), classes), 1.0)
    votes /= np.maximum(votes.sum(axis=0), 1.0)
    return votes[cell(unseen)].argmax(axis=1)


@pytest.mark.parametrize("classify", [class_means, lookup_table])
def test_place_and_colour_give_no_thing_away(usual_set: Path, classify):
    known = read_pixels(usual_set, "train", 4000)
    unseen, truth = read_pixels(usual_set, "val", 2000)
    predicted = classify(*known, unseen)
    things = mean_recall(predicted, truth, THING_TRAIN_IDS)
    assert things < 0.3
    per_class = [mean_recall(predicted, truth, (k,)) for k in THING_TRAIN_IDS]
    assert max(per_class) < 0.75
