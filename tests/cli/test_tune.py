"""The command ``tune`` on a tiny set: what it says and writes is what an evaluation finds."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog

from effps_solo.__main__ import main
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.model_config import with_trained_weights
from effps_solo.inference.predictor import Predictor
from effps_solo.report import open_run, write_reports
from effps_solo.report.run import TUNING_NAME
from effps_solo.structures.panoptic_png import encode_segment_ids, read_segment_ids

pytestmark = pytest.mark.usefixtures("fresh_loggers")
KEYS = ("SCORE_THRESH", "OVERLAP_THRESH", "STUFF_AREA_FRACTION")


@pytest.fixture
def six_images(tiny_set: Path) -> None:
    """Each validation image three times, all road where no thing is."""
    file = tiny_set / "panoptic_val.json"
    content = json.loads(file.read_text())
    images, annotations = [], []
    for number in range(6):
        image, annotation = (content[key][number % 2] for key in ("images", "annotations"))
        name = f"copy{number}.png"
        shutil.copy(tiny_set / "val" / image["file_name"], tiny_set / "val" / name)
        ids = read_segment_ids(str(tiny_set / "panoptic_val" / annotation["file_name"]))
        sky, road, *things = annotation["segments_info"]
        ids[ids == sky["id"]] = road["id"]
        png_file = tiny_set / "panoptic_val" / name
        png_file.write_bytes(encode_segment_ids(ids))
        info = [{**road, "area": road["area"] + sky["area"]}, *things]
        images.append({**image, "id": number, "file_name": name})
        annotations.append({"image_id": number, "file_name": name, "segments_info": info})
    for annotation in content["annotations"]:
        (tiny_set / "panoptic_val" / annotation["file_name"]).unlink()
    file.write_text(json.dumps({**content, "images": images, "annotations": annotations}))


@pytest.fixture
def sees_road(tiny_config: Path, lively_weights: Path) -> Path:
    """Weights that see road everywhere, and things at random, of which they are not sure."""
    load_config(str(tiny_config))
    road = MetadataCatalog.get("tiny_val").stuff_classes.index("road")
    state = torch.load(lively_weights)
    bias = [name for name in state["model"] if name.startswith("sem_seg_head.predictor")][-1]
    assert state["model"][bias].shape == (4,)
    state["model"][bias][road] = 4.0
    for name, values in state["model"].items():
        if "category_predictor" in name:
            values *= 0.1  # scores around one half
    torch.save(state, lively_weights)
    return lively_weights


def test_the_written_config_has_the_quality_that_is_told(
    tiny_config: Path, sees_road: Path, six_images: None, capsys: pytest.CaptureFixture
) -> None:
    output = tiny_config.parent / "output"
    output.mkdir()
    shutil.copy(sees_road, output / "model_final.pth")
    keep = ["MODEL.OUTPUTS", "['panoptic_seg']"]
    cfg = load_config(str(tiny_config), keep)
    with_trained_weights(cfg)
    write_reports(cfg, Trainer.test(cfg, Predictor(cfg).model))

    assert main(["tune", "--config-file", str(tiny_config)]) == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in KEYS) and "Chosen on one half" in printed
    written = tiny_config.with_name("tiny_tuned.yaml")
    predict, pack = (printed.splitlines()[k].strip() for k in (-3, -1))
    program = f"{sys.executable} -m effps_solo"
    assert predict == f"{program} predict --config-file {written} --input IMAGES"
    assert pack == f"{program} pack --config-file {written}"

    (folder,) = (output / "inference").iterdir()
    tuning = open_run(folder).tuning
    assert tuning is not None and tuning.num_images == 6
    assert tuning.pq_current == pytest.approx(open_run(folder).results["panoptic_seg"]["PQ"])
    report = (folder / "report.html").read_text()
    assert 'id="thresholds"' in report and tuning.sentences()[-1] in report

    cfg = load_config(str(written), keep)
    with_trained_weights(cfg)
    node = cfg.MODEL.PANOPTIC_FUSION
    found = (node.SCORE_THRESH, node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION)
    assert found == tuple(vars(tuning.chosen).values())
    assert tuning.chosen != tuning.current  # things at random hide the road
    result = Trainer.test(cfg, Predictor(cfg).model)["panoptic_seg"]["PQ"]
    assert result == pytest.approx(tuning.pq_chosen, abs=1e-9)
    assert result > tuning.pq_current
    # Again, over the file that it wrote; a report that is there is no need.
    shutil.rmtree(output / "inference")
    assert main(["tune", "--config-file", str(tiny_config)]) == 0


def test_two_images_are_too_few(
    tiny_config: Path, lively_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The config stays as it is; the new one stands for itself in another folder."""
    written = tmp_path / "elsewhere" / "mine.yaml"
    words = ["MODEL.WEIGHTS", str(lively_weights), "MODEL.DEVICE", "cpu"]
    words += ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.44"]
    arguments = ["--config-file", str(tiny_config), "--output", str(written), "--opts", *words]
    assert main(["tune", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "2 images are too few" in printed
    assert "--input IMAGES --opts MODEL.DEVICE cpu\n" in printed
    cfg, before = load_config(str(written)), load_config(str(tiny_config))
    assert cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH == 0.44
    before.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.44
    assert cfg.MODEL.PANOPTIC_FUSION == before.MODEL.PANOPTIC_FUSION
    assert cfg.MODEL.WEIGHTS == str(lively_weights)
    assert (tmp_path / "output" / TUNING_NAME).is_file()
    assert re.match(r"# Written by effps-solo tune for \S+lively.pth", written.read_text())


def test_descriptions_are_found_from_another_folder(
    tiny_config: Path, tiny_set: Path, lively_weights: Path, tmp_path: Path
) -> None:
    (tiny_set / "set.yaml").write_text("name: tiny\n")
    text = tiny_config.read_text()
    inline = f"PANOPTIC: {{NAME: tiny, ROOT: {tiny_set}}}"
    assert inline in text
    tiny_config.write_text(text.replace(inline, "DESCRIPTIONS: [tiny/set.yaml]"))
    written = tmp_path / "elsewhere" / "mine.yaml"
    words = ["--output", str(written), "--opts", "MODEL.WEIGHTS", str(lively_weights)]
    assert main(["tune", "--config-file", str(tiny_config), *words]) == 0
    assert load_config(str(written)).DATASETS.DESCRIPTIONS == (str(tiny_set / "set.yaml"),)


def test_mistakes(
    tiny_config: Path, lively_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["tune", "--config-file", str(tiny_config)]
    assert main(arguments) == 2
    assert "model_final.pth" in capsys.readouterr().err
    mine = tmp_path / "tiny_tuned.yaml"
    mine.write_text("# my own\n")
    assert main(arguments) == 2
    assert "not written by tune" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tiny_config)]) == 2
    assert "not written by tune" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "x.txt")]) == 2
    assert "must end in .yaml" in capsys.readouterr().err
    mine.unlink()
    without = ["MODEL.SEM_SEG_HEAD.NAME", "", "MODEL.OUTPUTS", "['instances']"]
    weights = ["MODEL.WEIGHTS", str(lively_weights)]
    assert main([*arguments, "--opts", *without, *weights]) == 2
    assert "no fusion to tune" in capsys.readouterr().err
    assert main([*arguments, "--opts", "DATASETS.TEST", "()", *weights]) == 2
    assert "DATASETS.TEST is empty" in capsys.readouterr().err
    assert not mine.exists()
