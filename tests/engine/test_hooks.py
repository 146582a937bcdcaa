"""What a training shows: pictures, speed, lines on the console, W&B."""

import importlib
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage, EventWriter

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.pictures import PredictionPictures
from effps_solo.engine.progress import ProgressPrinter, PromptWriter, Throughput
from effps_solo.engine.wandb_writer import WandbWriter

FAST = ["DATALOADER.NUM_WORKERS", "0", "SOLVER.CHECKPOINT_PERIOD", "1000"]
PICTURES = ["VIS_PERIOD", "2", "MODEL.OUTPUTS", "['panoptic_seg', 'sem_seg']"]


def trainer_without_evaluation(tiny_config: Path, *words: str) -> Trainer:
    trainer = Trainer(load_config(str(tiny_config), [*FAST, *words]))
    unwanted = ("EvalHook", "PeriodicCheckpointer")
    trainer._hooks = [h for h in trainer._hooks if type(h).__name__ not in unwanted]
    return trainer


def test_pictures_of_the_same_images_every_second_iteration_and_at_the_end(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_without_evaluation(tiny_config, *PICTURES, "SOLVER.MAX_ITER", "3")
    seen: List[Tuple[str, int, Any]] = []
    put = EventStorage.put_image

    def put_image(storage: EventStorage, name: str, picture: np.ndarray) -> None:
        seen.append((name, storage.iter, picture))
        put(storage, name, picture)

    monkeypatch.setattr(EventStorage, "put_image", put_image)
    trainer.train()
    names = ["predictions/0", "predictions/1"]
    assert [(name, i) for name, i, _ in seen] == [(n, i) for i in (1, 2) for n in names]
    for _, _, picture in seen:
        assert picture.shape == (3, 64, 96) and picture.dtype == np.uint8
    assert trainer.model.training and trainer.model.outputs == ("panoptic_seg", "sem_seg")
    assert trainer.storage._vis_data == []  # TensorBoard has them


def test_pictures_change_nothing_in_the_training(tiny_config: Path) -> None:
    states = []
    for words in ([], PICTURES):
        torch.manual_seed(0)
        trainer = trainer_without_evaluation(tiny_config, "SEED", "3", *words)
        trainer.train()
        states.append(trainer.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_few_images_spread_over_the_set(tiny_config: Path) -> None:
    words = [*PICTURES, "TEST.NUM_PICTURES", "1"]
    hooks = Trainer(load_config(str(tiny_config), words))._hooks
    (pictures,) = [hook for hook in hooks if isinstance(hook, PredictionPictures)]
    assert [x["file_name"].rsplit("/", 1)[1] for x in pictures.inputs] == ["0.png"]
    off = Trainer(load_config(str(tiny_config)))._hooks
    assert not [hook for hook in off if isinstance(hook, PredictionPictures)]


def test_no_pictures_without_panoptic_output(tiny_config: Path, caplog: Any) -> None:
    words = [*PICTURES[:2], "MODEL.OUTPUTS", "['sem_seg']"]
    hooks = Trainer(load_config(str(tiny_config), words))._hooks
    assert not [hook for hook in hooks if isinstance(hook, PredictionPictures)]
    assert "No pictures (VIS_PERIOD)" in caplog.text


def test_images_per_second() -> None:
    hook = Throughput(6)
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(storage=storage, iter=0)  # type: ignore
        hook.after_step()
        assert "images_per_second" not in storage.latest()  # no time yet
        storage.put_scalar("time", 1.5)
        hook.after_step()
        assert storage.latest()["images_per_second"] == (4.0, 0)
        storage.iter = hook.trainer.iter = 1
        hook.after_step()  # the time of the iteration before counts once
        assert storage.latest()["images_per_second"] == (4.0, 0)


def test_the_line_on_the_console(caplog: Any) -> None:
    caplog.set_level(logging.INFO, logger="effps_solo.engine.progress")
    printer = ProgressPrinter(max_iter=100)
    with EventStorage(39) as storage:
        printer.write()
        assert "iter: 39/100 (40%)" in caplog.text and "eta" not in caplog.text
        storage.put_scalars(total_loss=1.5, loss_mask=0.25, time=2.0, images_per_second=3.25)
        storage.put_scalar("lr", 0.001, smoothing_hint=False)
        caplog.clear()
        printer.write()
        line = caplog.records[-1].getMessage()
        assert line.startswith("eta: 0:02:00  iter: 39/100 (40%)  images/s: 3.25  ")
        assert "total_loss: 1.5  loss_mask: 0.25" in line and "lr: 0.001" in line
        caplog.clear()
        storage.iter = 100
        printer.write()
        assert not caplog.records


def test_a_run_shows_its_speed(tiny_config: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO, logger="effps_solo.engine.progress")
    start = time.perf_counter()
    trainer_without_evaluation(tiny_config, "SOLVER.MAX_ITER", "5").train()
    seconds = time.perf_counter() - start
    lines = [r.getMessage() for r in caplog.records if r.name == "effps_solo.engine.progress"]
    line = lines[-1]
    assert "iter: 4/5 (100%)" in line and "eta: 0:00:00" in line and "max_mem" in line
    speed = float(line.partition("images/s: ")[2].split()[0])
    assert speed > 2 * 1 / seconds
    assert '"images_per_second"' in (tmp_path / "output" / "metrics.json").read_text()


class FakeRun:
    def __init__(self) -> None:
        self.logged: List[Tuple[int, Dict[str, Any]]] = []
        self.finished = False

    def log(self, values: Dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


def fake_package(run: FakeRun, calls: List[Dict[str, Any]]) -> Any:
    def init(**kwargs: Any) -> FakeRun:
        calls.append(kwargs)
        return run

    return SimpleNamespace(init=init, Image=lambda pixels: ("image", pixels.shape))


def test_wandb_gets_scalars_and_pictures_once_and_in_order(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = FakeRun(), []  # type: ignore[var-annotated]
    monkeypatch.setitem(sys.modules, "wandb", fake_package(run, calls))
    words = [*PICTURES, "WANDB.ENABLED", "True", "SOLVER.MAX_ITER", "2"]
    trainer_without_evaluation(tiny_config, *words).train()
    assert calls[0]["project"] == "effps_solo" and calls[0]["name"] == "output"
    assert calls[0]["config"]["SOLVER"]["MAX_ITER"] == 2 and run.finished
    steps = [step for step, _ in run.logged]
    assert steps == sorted(set(steps))
    values = {name: value for _, found in run.logged for name, value in found.items()}
    assert values["predictions/0"] == ("image", (64, 96, 3)) and values["total_loss"] > 0


def test_wandb_writes_nothing_twice() -> None:
    run = FakeRun()
    writer = WandbWriter(run, None)
    with EventStorage() as storage:
        storage.put_scalar("loss", 1.0)
        writer.write()
        writer.write()
        storage.iter = 1
        storage.put_scalar("loss", 3.0)
        writer.write()
    assert run.logged == [(0, {"loss": 1.0}), (1, {"loss": 2.0})]  # the median


@pytest.mark.parametrize("problem", ["absent", "no account"])
def test_without_wandb_there_is_one_warning(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, problem: str
) -> None:
    real = importlib.import_module

    def import_module(name: str, package: Any = None) -> Any:
        if name != "wandb":
            return real(name, package)
        if problem == "absent":
            raise ModuleNotFoundError("No module named 'wandb'")
        return SimpleNamespace(init=lambda **kwargs: 1 / 0)

    monkeypatch.setattr("effps_solo.engine.wandb_writer.importlib.import_module", import_module)
    trainer_without_evaluation(tiny_config, "WANDB.ENABLED", "True").train()
    warnings = [r for r in caplog.records if "training goes on without" in r.getMessage()]
    assert len(warnings) == 1


def test_a_line_at_the_third_step_and_an_evaluation_written_at_once() -> None:
    class Writer(EventWriter):
        def __init__(self) -> None:
            self.seen: List[int] = []

        def write(self) -> None:
            self.seen.append(hook.trainer.iter)

    class Printer(Writer, ProgressPrinter):
        pass

    printer, writer = Printer(), Writer()
    hook = PromptWriter([printer, writer], eval_period=25)
    hook.trainer = SimpleNamespace(start_iter=10, max_iter=52, iter=10)  # type: ignore
    for hook.trainer.iter in range(10, 52):
        hook.after_step()
    assert writer.seen == [19, 24, 39, 49, 51]
    assert printer.seen == [12, *writer.seen]


def test_losses_of_validation_are_not_on_the_lines_of_training(caplog: Any) -> None:
    with EventStorage() as storage, caplog.at_level(logging.INFO):
        storage.put_scalars(total_loss=3.0, **{"validation/total_loss": 4.0})
        ProgressPrinter(9).write()
    assert "total_loss: 3" in caplog.text and "validation" not in caplog.text
