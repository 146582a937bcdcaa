"""The models of the package, by name: found, described, and right on their samples."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from effps_solo.checkpoint.checkpointer import checkpoint_classes
from effps_solo.checkpoint.model_folder import is_model_folder
from effps_solo.config import load_config
from effps_solo.inference.load import load
from effps_solo.utils.errors import UserError
from effps_solo.utils.packaged import located_model, located_weights, packaged_models

NAMES = ("facades", "nuclei", "street_scenes")


def test_each_is_a_small_model_folder_with_a_card_and_a_sample() -> None:
    assert tuple(packaged_models()) == NAMES
    for folder in packaged_models().values():
        assert is_model_folder(folder)
        card = (folder / "README.md").read_text()
        assert all(words in card for words in ("| licence |", "| trained on |", "PQ", "sample.jpg"))
        assert (folder / "model.safetensors").stat().st_size <= 8 * 2**20
        weights = yaml.safe_load((folder / "config.yaml").read_text())["MODEL"]["WEIGHTS"]
        assert weights == ""


def test_a_path_that_exists_comes_before_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located_model("nuclei") == packaged_models()["nuclei"]
    assert located_model("other") == Path("other")
    (tmp_path / "nuclei").mkdir()
    assert located_model("nuclei") == Path("nuclei")


def test_weights_by_name() -> None:
    assert located_weights("") == ""
    assert located_weights("imagenet://tf_efficientnet_lite0") == "imagenet://tf_efficientnet_lite0"
    weights = load_config("", ["MODEL.WEIGHTS", "package://nuclei"]).MODEL.WEIGHTS
    assert [one.name for one in checkpoint_classes(weights)] == ["nucleus", "background"]
    with pytest.raises(UserError, match="'package://nucleus', .* did you mean 'nuclei'"):
        load_config("", ["MODEL.WEIGHTS", "package://nucleus"])


@pytest.mark.parametrize(
    "name, thing, at_least", [("nuclei", "nucleus", 35), ("facades", "window", 10)]
)
def test_it_sees_in_the_sample_what_a_person_sees(name: str, thing: str, at_least: int) -> None:
    result = load(name, device="cpu")(packaged_models()[name] / "sample.jpg")
    assert Counter(s.category for s in result.segments)[thing] >= at_least
