"""Every command of the README and the pages, run as it is typed, one after the other.

The checkout that they run in is this one with small data, and with configs that train for two steps. Words
that stand for something are replaced (``STAND_INS``). The scripts of ``datasets/`` have tests of their own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("index", "training", "data", "planning", "deploy", "models")
    ),
    ROOT / "docs" / "weights.md",
]
_BLOCK = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
_COMMAND = re.compile(r"(export|make|docker|srun|\.venv/bin/\S+) ")
# What nobody can run here, and why.
NOT_RUN = {
    "make": "targets of the Makefile, which CI runs or which take minutes to hours",
    "docker": "needs a container engine",
    "srun": "needs a cluster; torchrun itself has tests in tests/engine",
    "export": "a line of the same script",
}
STAND_INS = {
    "CONFIG": "configs/quickstart/effps_lite0_solov2.yaml",
    "--num-gpus 8": "--num-processes 2",
    "--nproc-per-node 8": "--nproc-per-node 2",
    "ACCUMULATION_STEPS 16": "ACCUMULATION_STEPS 2",
    "--image-size 512 1024 --compare": "--image-size 128 256 --compare --runs 1 --backend torch onnx",
    "--minutes 30": "--minutes 0.1 --overwrite",
    "analyze": "analyze --image-size 64 128 --runs 1",
}
# check-dataset says with 3 that it found something to warn of.
STATUSES = {"check-dataset": (0, 3)}
TIMEOUT = 600  # seconds; the slowest take half a minute


def commands() -> List[Tuple[str, str]]:
    """(page, command line) of all that the pages show, each once."""
    found: Dict[str, str] = {}
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                command = " ".join(line.split("  #")[0].split())
                if _COMMAND.match(command):
                    found.setdefault(command, page.name)
    return [(page, command) for command, page in found.items()]


def test_the_pages_have_commands_and_few_are_left_out() -> None:
    words = [command.split()[0] for _, command in commands()]
    assert len(words) >= 30
    left_out = [word for word in words if word in NOT_RUN]
    assert set(left_out) == set(NOT_RUN) and len(left_out) <= 11
    assert {word for word in words if word.startswith(".venv")} == {
        ".venv/bin/python",
        ".venv/bin/pip",
        ".venv/bin/torchrun",
    }


def test_every_target_that_is_shown_is_one_of_the_makefile() -> None:
    for _, command in commands():
        if command.startswith("make "):
            subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like this checkout, with what the commands take for granted."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("effps_solo", "train_net.py", "datasets", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "configs", folder / "configs")
    shorten_configs(folder / "configs")
    for name in ("facades", "pedestrian_zone", "nuclei"):
        write_panoptic_set(folder / "data" / name)
    words = ["--num-train", "4", "--num-val", "2", "--height", "128", "--width", "256"]
    script = ROOT / "datasets" / "generate_street_scenes.py"
    output = ["--output", str(folder / "data" / "street_scenes")]
    subprocess.run([sys.executable, str(script), *words, *output], check=True, capture_output=True)
    write_inputs(folder)
    return folder


def shorten_configs(folder: Path) -> None:
    """Two steps on small crops, on the CPU, and no download."""
    short: Dict[str, Any] = {
        "SOLVER": {"MAX_ITER": 2, "IMS_PER_BATCH": 2, "WARMUP_ITERS": 0, "CHECKPOINT_PERIOD": 2},
        "INPUT": {"CROP_SIZE": [64, 128]},
        "DATALOADER": {"NUM_WORKERS": 0},
        "TEST": {"EVAL_PERIOD": 0},
    }
    b5 = {
        "MODEL": {"DEVICE": "cpu", "WEIGHTS": ""},
        "SOLVER": {"MAX_ITER": 1},
        "INPUT": {"CROP_SIZE": [64, 64]},
        "DATASETS": {
            "TRAIN": ["street_scenes_panoptic_train"],
            "TEST": ["street_scenes_panoptic_val"],
        },
    }
    any_classes = {
        "MODEL": {"SEM_SEG_HEAD": {"NUM_CLASSES": -1}, "INSTANCE_HEAD": {"NUM_CLASSES": -1}}
    }
    for name, changes in (
        ("quickstart/effps_lite0_solov2.yaml", [short]),
        ("facades/effps_lite0_solov2.yaml", [short, any_classes]),
        ("nuclei/effps_lite0_solov2.yaml", [short, any_classes]),
        ("pedestrian_zone/effps_lite0_solov2.yaml", [short, any_classes]),
        ("cityscapes/effps_b5_solov2.yaml", [short, b5]),
    ):
        path = folder / name
        config = yaml.safe_load(path.read_text())
        for change in changes:
            merge(config, change)
        path.write_text(yaml.safe_dump(config))
    path = folder / "comparison.yaml"
    table = yaml.safe_load(path.read_text())
    table["data sets"] = {"nuclei": {"configs": "nuclei", "seeds": [1]}}
    path.write_text(yaml.safe_dump(table))


def merge(config: Dict[str, Any], change: Dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            merge(config.setdefault(key, {}), value)
        else:
            config[key] = value


def write_panoptic_set(root: Path) -> None:
    """Two images a split in COCO panoptic layout: two cars on a road."""
    categories = [
        {"id": 1, "name": "road", "isthing": 0},
        {"id": 2, "name": "car", "isthing": 1},
    ]
    ids = np.full((128, 256), 1, dtype=np.uint8)
    ids[40:80, 20:90], ids[50:110, 120:220] = 2, 3
    info = [
        {"id": k, "category_id": min(k, 2), "iscrowd": 0, "area": int((ids == k).sum())}
        for k in (1, 2, 3)
    ]
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"panoptic_{split}").mkdir()
        images, annotations = [], []
        for number in range(2):
            name = f"{split}{number}.png"
            write_picture(root / split / name, seed=number + 2 * (split == "val"))
            Image.fromarray(np.dstack([ids, ids * 0, ids * 0])).save(
                root / f"panoptic_{split}" / name
            )
            images.append({"id": name, "file_name": name, "height": 128, "width": 256})
            annotations.append({"image_id": name, "file_name": name, "segments_info": info})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"panoptic_{split}.json").write_text(json.dumps(content))


def write_picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((256, 128)).save(path)


def write_inputs(folder: Path) -> None:
    """The images, annotations and weights that the commands name."""
    for name in ("my_images/a.png", "my_images/b.jpg", "more/c.jpg", "train/a.png"):
        write_picture(folder / name)
    clip = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (128, 64))
    for shade in (40, 80, 120):
        clip.write(np.full((64, 128, 3), shade, dtype=np.uint8))
    clip.release()
    write_labelme(folder / "raw")
    write_export(folder / "export")
    write_polygons(folder)
    write_coco(folder)
    network = timm.create_model("tf_efficientnet_b5", num_classes=1000)
    torch.save(network.state_dict(), folder / "published.pth")


def write_labelme(folder: Path) -> None:
    for number in range(4):
        write_picture(folder / f"{number}.png", seed=number)
        shapes = [
            {"label": "road", "shape_type": "polygon", "points": [[0, 64], [255, 64], [128, 127]]},
            {"label": "car", "shape_type": "rectangle", "points": [[20, 20], [80, 60]]},
        ]
        content = {
            "shapes": shapes,
            "imagePath": f"{number}.png",
            "imageHeight": 128,
            "imageWidth": 256,
        }
        (folder / f"{number}.json").write_text(json.dumps(content))


def write_export(folder: Path) -> None:
    """As Roboflow writes it."""
    names = ("shapes", "road", "sky", "car")
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    annotations = [
        {"id": k, "image_id": 0, "category_id": k, "segmentation": [[0, y, 255, y, 255, y + 30]]}
        for k, y in ((1, 60), (2, 0), (3, 50))
    ]
    for seed, split in enumerate(("train", "valid")):
        write_picture(folder / split / f"{split}.jpg", seed=seed)
        image = {"id": 0, "file_name": f"{split}.jpg", "height": 128, "width": 256}
        content = {"images": [image], "annotations": annotations, "categories": categories}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))


def write_polygons(folder: Path) -> None:
    write_picture(folder / "leftImg8bit/train/town/town_000000_000000_leftImg8bit.png")
    objects = [
        {"label": "road", "polygon": [[0, 64], [255, 64], [255, 127], [0, 127]]},
        {"label": "car", "polygon": [[20, 20], [80, 20], [80, 60], [20, 60]]},
    ]
    path = folder / "gtFine/train/town/town_000000_000000_gtFine_polygons.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"imgHeight": 128, "imgWidth": 256, "objects": objects}))


def write_coco(folder: Path) -> None:
    box = [20, 20, 60, 40]
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 5,
        "iscrowd": 0,
        "bbox": box,
        "area": 2400,
        "segmentation": [[20, 20, 80, 20, 80, 60, 20, 60]],
    }
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 128, "width": 256}],
        "annotations": [annotation],
        "categories": [{"id": 5, "name": "car"}],
    }
    (folder / "instances_train.json").write_text(json.dumps(content))
    (folder / "stuff_pngs").mkdir()
    Image.fromarray(np.full((128, 256), 7, dtype=np.uint8)).save(folder / "stuff_pngs" / "a.png")
    (folder / "stuff.yaml").write_text("- {name: road, isthing: 0, labels: [7]}\n")


@pytest.fixture(scope="module")
def shell(checkout: Path) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    """Type a command line in the checkout."""

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", command],
            cwd=checkout,
            env=environment(checkout),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    return run


def environment(checkout: Path) -> Dict[str, str]:
    # The project is that of the checkout, not one that this process was told of.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, "DETECTRON2_DATASETS": str(checkout / "data")}


def as_typed(command: str) -> str:
    for words, stand_in in STAND_INS.items():
        command = re.sub(rf"(?<![\w-]){words}(?!\S)", stand_in, command)
    return command


def runnable() -> Iterator[Any]:
    for page, command in commands():
        if command.split()[0] not in NOT_RUN and "effps_solo app" not in command:
            yield pytest.param(command, id=f"{page}: {command[len('.venv/bin/') :]}")


@pytest.mark.slow
@pytest.mark.parametrize("command", list(runnable()))
def test_a_command(
    command: str, checkout: Path, shell: Callable[[str], "subprocess.CompletedProcess[str]"]
) -> None:
    make_room(command, checkout)
    done = shell(as_typed(command))
    if "import-dataset" in command and "run it again" in done.stdout + done.stderr:
        done = shell(as_typed(command))  # the first run only lists the labels that it found
    name = command.split()[3] if " -m effps_solo " in command else ""
    assert done.returncode in STATUSES.get(name, (0,)), done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr


def make_room(command: str, checkout: Path) -> None:
    """Every import begins without a data set, every new training without the one before; a second
    evaluation compares with the first.
    """
    if "import-dataset" in command and "my_set" in command:
        shutil.rmtree(checkout / "my_set", ignore_errors=True)
    trains = "train_net.py" in command or "effps_solo train" in command
    if trains and "--resume" not in command and "--eval-only" not in command:
        (config,) = re.findall(r"--config-file (\S+)", as_typed(command))
        folder = yaml.safe_load((checkout / config).read_text())["OUTPUT_DIR"]
        shutil.rmtree((checkout / config).parent / folder, ignore_errors=True)
    second = checkout / "output" / "quickstart_long"
    if "quickstart_long" in command and not second.exists():
        shutil.copytree(checkout / "output" / "quickstart", second)


@pytest.mark.slow
def test_the_web_page(checkout: Path) -> None:
    (command,) = {command for _, command in commands() if command.endswith("effps_solo app")}
    words = command.split()
    server = subprocess.Popen(
        words, cwd=checkout, env=environment(checkout), stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.time() + 120
        while True:
            assert server.poll() is None and time.time() < deadline
            try:
                with urllib.request.urlopen("http://127.0.0.1:7860", timeout=5) as answer:
                    assert answer.status == 200 and b"<html" in answer.read()
                    break
            except OSError:
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait()
