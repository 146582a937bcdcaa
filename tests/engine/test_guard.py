"""Losses and gradients that are no numbers: report, dump, replay, and steps that are left out."""

import logging
import math
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional
from unittest import mock

import pytest
import torch
from detectron2.utils.events import get_event_storage
from torch import nn

from effps_solo.__main__ import main
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.dump import load_dump
from effps_solo.engine.guard import NonFiniteError, NonFiniteGuard
from effps_solo.engine.replay import Replay
from effps_solo.modeling.precision import Precision
from effps_solo.utils.errors import CheckpointError

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tiny_config: Path, tmp_path: Path) -> MakeTrainer:
    """``make_trainer(poison, KEY, VALUE, ...)``: no hooks; ``poison(image)`` after some calls."""

    def make(bad_steps: List[int], *overrides: str) -> Trainer:
        words = ["SEED", "3", "SOLVER.MAX_ITER", "4", "SOLVER.WARMUP_ITERS", "0", *overrides]
        trainer = Trainer(load_config(str(tiny_config), words))
        (tmp_path / "output").mkdir(exist_ok=True)
        trainer._hooks.clear()
        mapper = trainer.data_loader.dataset.mapper
        calls: List[None] = []

        def poisoned(record: Dict[str, Any]) -> Dict[str, Any]:
            mapped = mapper(record)
            calls.append(None)
            if (len(calls) - 1) // 2 in bad_steps:  # two images a step
                mapped["image"] = mapped["image"].float()
                mapped["image"][0, 20, 30] = math.nan
            return mapped

        trainer.data_loader.dataset.mapper = poisoned
        return trainer

    return make


def state_of(trainer: Trainer) -> Dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_a_bad_loss_ends_the_run_and_says_what_it_was(
    make_trainer: MakeTrainer, tiny_set: Path, tmp_path: Path
) -> None:
    trainer = make_trainer([2])
    with pytest.raises(NonFiniteError) as info:
        trainer.train()
    text = str(info.value)
    assert text.startswith("iteration 2 has a loss that is not finite: loss_")
    assert all(f"{name} nan" in text for name in ("loss_sem_seg", "loss_category", "loss_mask"))
    assert all(str(tiny_set / "train" / f"{i}.png") in text for i in (0, 1))
    path = tmp_path / "output" / "nonfinite_0000002_rank0.pth"
    assert f"dump {path}" in text and "replay" in text and "SOLVER.MAX_NONFINITE_STEPS" in text
    dump = load_dump(str(path))
    assert dump.iteration == 2 and dump.seed_key == (3, 2, 0)
    assert [len(each.batch) for each in dump.passes] == [2]
    assert all(math.isnan(value) for value in dump.passes[0].losses.values())
    # Weights and statistics of the dump, and of the trainer, are those before the step.
    assert all(torch.equal(dump.model[k], v) for k, v in state_of(trainer).items())
    assert all(v.isfinite().all() for v in dump.model.values())


def test_steps_that_are_left_out(
    make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trainer = make_trainer([1, 2], "SOLVER.MAX_NONFINITE_STEPS", "2", "SOLVER.MAX_ITER", "3")
    trainer.iter = trainer.start_iter = 0
    seen = []
    run_step = trainer.run_step

    def spied() -> None:
        run_step()
        seen.append(state_of(trainer))

    trainer.run_step = spied
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert all(torch.equal(seen[0][k], seen[2][k]) for k in seen[0])
    assert all(v.isfinite().all() for v in seen[0].values())
    texts = [r.getMessage() for r in caplog.records if "not finite" in r.getMessage()]
    assert ["Left out: step 1 of 2" in texts[0], "Left out: step 2 of 2" in texts[1]] == [True] * 2
    assert len(list((tmp_path / "output").glob("nonfinite_*.pth"))) == 2
    assert trainer._trainer.guard.num_skipped == 2
    # The optimiser did not move either.
    steps = {int(s["step"]) for s in trainer.optimizer.state_dict()["state"].values()}
    assert steps == {1}


def test_one_too_many(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer([0, 1, 3], "SOLVER.MAX_NONFINITE_STEPS", "2")
    with pytest.raises(NonFiniteError, match="iteration 3 .*now 2"):
        trainer.train()


def test_a_bad_micro_batch(make_trainer: MakeTrainer) -> None:
    """Its forerunner's gradients are forgotten; the dump holds both."""
    keys = ("SOLVER.ACCUMULATION_STEPS", "2", "SOLVER.MAX_NONFINITE_STEPS", "1")
    trainer = make_trainer([1], *keys, "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2")
    mapper = trainer.data_loader.dataset.mapper
    calls: List[None] = []

    def only_second(record: Dict[str, Any]) -> Dict[str, Any]:
        mapped = mapper(record)
        calls.append(None)
        if len(calls) == 3:  # the first of the second step
            mapped["image"] = mapped["image"].nan_to_num(0.0)
        return mapped

    trainer.data_loader.dataset.mapper = only_second
    trainer.train()
    assert all(p.grad is None for p in trainer.model.parameters())
    dump = load_dump(str(Path(trainer.cfg.OUTPUT_DIR) / "nonfinite_0000001_rank0.pth"))
    finite = [all(map(math.isfinite, each.losses.values())) for each in dump.passes]
    assert finite == [True, False]
    assert all(each.totals.num_parts == 2 for each in dump.passes if each.totals)


def test_a_bad_gradient_and_its_replay_to_the_bit(
    make_trainer: MakeTrainer, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer([])
    bias = trainer.model.sem_seg_head.predictor.bias
    before = state_of(trainer)
    bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NonFiniteError, match="iteration 0 has a gradient that is not finite"):
        trainer.train()
    assert all(torch.equal(before[k], v) for k, v in state_of(trainer).items())
    path = Path(trainer.cfg.OUTPUT_DIR) / "nonfinite_0000000_rank0.pth"
    recorded = load_dump(str(path)).passes[0].losses
    words = ["replay", "--config-file", str(tiny_config), "--input", str(path)]
    assert main(words) == 0
    output = capsys.readouterr().out
    for name, value in recorded.items():
        assert f"  {name} {value:.9g} (recorded {value:.9g})" in output
    assert "not finite: none" in output and "a gradient that is not finite: 0" in output


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_gradients_of_which_one_value_is_bad(bad: Optional[float], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    guard = NonFiniteGuard(model, output_dir=str(tmp_path))
    assert guard.accepts_gradients(), "none at all"
    model[0].weight.grad = torch.full((3, 2), 1e18)
    model[1].bias.grad = torch.tensor([1e-30 if bad is None else bad])
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    expected = all(math.isfinite(value) for g in gradients for value in g.flatten().tolist())
    skip = mock.Mock(return_value=False)
    guard._skip = skip
    assert guard.accepts_gradients() == expected == (not skip.called)


def test_replay_finds_the_first_bad_module(
    make_trainer: MakeTrainer, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NonFiniteError):
        make_trainer([0]).train()
    path = Path(tiny_config.parent) / "output" / "nonfinite_0000000_rank0.pth"
    assert main(["replay", "--config-file", str(tiny_config), "--input", str(path)]) == 0
    output = capsys.readouterr().out
    assert "finite: backbone.bottom_up.conv_stem\n" in output
    assert "loss_mask nan (recorded nan)" in output and "  backbone.bottom_up.conv_stem" in output


def test_replay_of_something_else(
    make_trainer: MakeTrainer, tiny_config: Path, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(NonFiniteError):
        make_trainer([0]).train()
    path = str(tmp_path / "output" / "nonfinite_0000000_rank0.pth")
    words = ["replay", "--config-file", str(tiny_config), "--input"]
    assert main([*words, path, "--opts", "MODEL.SOLOV2.CHANNELS", "64"]) == 2
    assert "not of the config's model" in capsys.readouterr().err
    torch.save({"model": {}}, tmp_path / "a.pth")
    assert main([*words, str(tmp_path / "a.pth")]) == 2
    assert "a.pth' is no dump of a training step" in capsys.readouterr().err
    assert set(safe_load_checkpoint(path)) == {"format", "iteration", "seed_key", "model", "passes"}
    with pytest.raises(CheckpointError):
        load_dump(str(tmp_path / "none.pth"))


def test_a_record_that_cannot_be_dumped_does_not_hide_the_report(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer([0])
    mapper = trainer.data_loader.dataset.mapper
    trainer.data_loader.dataset.mapper = lambda record: {**mapper(record), "folder": tmp_path}
    with pytest.raises(NonFiniteError, match="loss_mask nan.*dump not written .*folder"):
        trainer.train()


def test_replay_of_a_model_that_writes_scalars(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer([0])
    with pytest.raises(NonFiniteError):
        trainer.train()
    dump = load_dump(str(tmp_path / "output" / "nonfinite_0000000_rank0.pth"))
    write = lambda *_: get_event_storage().put_scalar("number", 1.0)  # noqa: E731
    trainer.model.register_forward_hook(write)
    found = Replay(trainer.model, dump, Precision(device_type="cpu"))
    assert math.isnan(found.losses[0]["loss_mask"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_does_not_hide_the_report(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer([0])
    part = tmp_path / "output" / "nonfinite_0000000_rank0.pth.part"
    part.symlink_to("/dev/full")
    with pytest.raises(NonFiniteError, match="loss_mask nan.*dump not written"):
        trainer.train()
