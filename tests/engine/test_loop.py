"""One training step: micro-batches, random numbers, state."""

import copy
import itertools
import logging
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
import torch
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.loop import TrainingLoop
from effps_solo.modeling.instance_head import StepTotals
from effps_solo.modeling.precision import Precision

NORMS = ("EFFICIENTNET", "TWO_WAY_FPN", "SEM_SEG_HEAD", "SOLOV2")


class Counting(nn.Module):
    """loss = weight x (sum of the batch) / (numbers that are not 0), over the whole step; and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: List[Any] = []

    def count_targets(self, batch: List[float]) -> torch.Tensor:
        return torch.tensor([sum(x != 0 for x in batch)])

    def forward(
        self, batch: List[float], totals: Optional[StepTotals] = None
    ) -> Dict[str, torch.Tensor]:
        self.seen.append((batch, float(torch.rand(()))))
        totals = totals or StepTotals(self.count_targets(batch), 1)
        loss = self.weight * sum(batch) / totals.counts[0] * totals.num_parts
        return {"loss": loss, "loss_noise": 0 * self.weight}


def make_loop(batches: List[Any], num_micro_batches: int = 1) -> TrainingLoop:
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loop = TrainingLoop(
        model,
        batches,
        optimizer,
        precision=Precision(device_type="cpu"),
        num_micro_batches=num_micro_batches,
    )
    loop.written = []
    loop._write_metrics = lambda losses, time: loop.written.append(losses)
    return loop


@pytest.mark.parametrize("parts, seen", [
    (1, [[1.0, 0.0, 3.0, 5.0]]),
    (2, [[1.0, 0.0], [3.0, 5.0]]),
    (4, [[1.0], [0.0], [3.0], [5.0]]),
])  # fmt: skip
def test_micro_batches_by_hand(parts: int, seen: List[List[float]]) -> None:
    """(1 + 3 + 5) / 3 = 3 however it is split; the means of the parts are 1, 4 and 1, 0, 3, 5."""
    loop = make_loop([[1.0, 0.0, 3.0, 5.0]], parts)
    loop.run_step()
    assert [batch for batch, _ in loop.model.seen] == seen
    assert loop.model.weight.item() == pytest.approx(1 - 3, abs=1e-6)
    (losses,) = loop.written
    assert losses.keys() == {"loss", "loss_noise"}
    assert float(losses["loss"]) == pytest.approx(3) and not losses["loss"].requires_grad


def test_random_numbers_of_a_step_follow_its_key() -> None:
    def drawn(key: Any) -> List[float]:
        loop = make_loop([[1.0, 2.0]], 2)
        loop.seed_key = key
        loop.run_step()
        return [number for _, number in loop.model.seen]

    first = drawn((1, 0, 0))
    torch.rand(5)
    assert drawn((1, 0, 0)) == first and len(set(first)) == 2
    assert not set(first) & set(drawn((1, 0, 1)) + drawn((1, 1, 0)) + drawn((2, 0, 0)))
    torch.manual_seed(7)
    expected = float(torch.rand(()))
    torch.manual_seed(7)
    assert drawn(())[0] == expected  # no key: as they come


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("norm", ["GN", "FrozenBN"])
def test_accumulation_equals_the_whole_batch(
    norm: str, one_empty_image: None, tiny_config: Path, double: None
) -> None:
    """In float64, two steps with batches of which a part may hold no object: losses, gradients."""
    keys = {f"MODEL.{part}.NORM": norm for part in NORMS}
    keys.update({"SOLVER.IMS_PER_BATCH": "4", "INPUT.CROP_SIZE": "(32, 64)", "SEED": "2"})
    cfg = load_config(str(tiny_config), [word for pair in keys.items() for word in pair])
    batches = list(itertools.islice(Trainer.build_train_loader(cfg), 2))
    assert len({len(x["instances"]) for x in batches[0]}) > 1
    model = Trainer.build_model(cfg)
    start = copy.deepcopy(model.state_dict())

    def train(parts: int) -> List[Dict[str, torch.Tensor]]:
        model.load_state_dict(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        precision = Precision(device_type="cpu")
        loop = TrainingLoop(model, batches, optimizer, precision=precision, num_micro_batches=parts)
        seen: List[Dict[str, torch.Tensor]] = []
        loop._write_metrics = lambda losses, time: seen.append(
            {
                **losses,
                **{n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad},
            }
        )
        loop.run_step()
        loop.run_step()
        return seen

    whole = train(1)
    assert whole[0]["loss_mask"] != whole[1]["loss_mask"]
    for expected, seen in zip(whole, train(4)):
        assert expected.keys() == seen.keys()
        for name, value in expected.items():
            scale = float(value.abs().max())
            assert float((seen[name] - value).abs().max()) <= 1e-9 * max(scale, 1e-6), name


def test_what_a_checkpoint_holds_of_it(tiny_config: Path, caplog: pytest.LogCaptureFixture) -> None:
    overrides = ["SEED", "4", "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2"]
    trainer = Trainer(load_config(str(tiny_config), overrides))
    trainer._hooks.clear()
    trainer._trainer.guard.num_skipped = 1
    trainer.train()
    state = trainer._trainer.state_dict()
    assert state["data_loader"] == {"seed": 4, "position": 6}
    other = Trainer(load_config(str(tiny_config), ["SEED", "9"]))._trainer
    other.load_state_dict(state)
    assert other.data_loader.state_dict() == {"seed": 4, "position": 6}
    assert other.guard.num_skipped == 1
    del state["data_loader"], state["guard"]  # a checkpoint of an older version
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(state)
    text = " ".join(record.getMessage() for record in caplog.records)
    assert "no state of the data_loader" in text and "no state of the guard" in text
