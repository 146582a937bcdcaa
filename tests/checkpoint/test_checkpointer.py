"""EffPSCheckpointer: saves what loads safely again, resumes, refuses what does not fit."""

import dataclasses
import pickle
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List

import numpy as np
import pytest
import torch
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase, hooks
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn

from effps_solo.checkpoint import imagenet
from effps_solo.checkpoint.checkpointer import (
    EffPSCheckpointer,
    checkpoint_classes,
    plain_data,
)
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import CheckpointError, UserError
from effps_solo.utils.version import __version__


class ToyModel(nn.Module):
    """The loss of a linear layer and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        return {"loss": self.norm(self.layer(x)).square().sum()}


class ToyTrainer(DefaultTrainer):
    """DefaultTrainer's state with a toy model: AdamW or SGD, warm-up, every stateful hook."""

    def __init__(self, folder: Path, optimizer: str = "AdamW", amp: bool = False) -> None:
        TrainerBase.__init__(self)
        torch.manual_seed(0)
        model = ToyModel()
        if optimizer == "AdamW":
            optim: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        else:
            optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if amp:  # only its GradScaler's state is of interest; AMPTrainer itself asks for CUDA
            self._trainer: Any = AMPTrainer.__new__(AMPTrainer)
            SimpleTrainer.__init__(self._trainer, model, self.batches(), optim)
            self._trainer.grad_scaler = torch.amp.GradScaler("cpu")
        else:
            self._trainer = SimpleTrainer(model, self.batches(), optim)
        multiplier = WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 0.2)
        scheduler = LRMultiplier(optim, multiplier, max_iter=20)
        self.checkpointer = EffPSCheckpointer(model, str(folder), trainer=self)
        self.model = model
        self.max_iter = 20
        self.register_hooks(
            [
                hooks.LRScheduler(optim, scheduler),
                hooks.IterationTimer(),
                hooks.BestCheckpointer(5, self.checkpointer, "toy/score"),
            ]
        )

    @staticmethod
    def batches() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        while True:
            yield torch.randn(4, 3, generator=generator)

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        SimpleTrainer.run_step(self._trainer)

    def train(self, start_iter: int, max_iter: int) -> None:  # type: ignore[override]
        TrainerBase.train(self, start_iter, max_iter)


def weights_of(model: nn.Module) -> List[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("optimizer, amp", [("AdamW", False), ("SGD", False), ("SGD", True)])
def test_training_state_survives_the_safe_loader(tmp_path: Path, optimizer: str, amp: bool) -> None:
    trainer = ToyTrainer(tmp_path, optimizer)
    trainer.train(0, 8)
    if amp:
        trainer = ToyTrainer(tmp_path, optimizer, amp=True)
        trainer.iter = 8
    trainer.checkpointer.save("model_0000007", iteration=7)
    loaded = safe_load_checkpoint(str(tmp_path / "model_0000007.pth"))
    assert set(loaded) == {"model", "trainer", "iteration", "effps_solo_version"}
    assert (loaded["iteration"], loaded["effps_solo_version"]) == (7, __version__)
    assert not list(tmp_path.glob("*.part"))

    resumed = ToyTrainer(tmp_path, optimizer, amp)
    rest = resumed.checkpointer.resume_or_load("", resume=True)
    assert rest["iteration"] == 7
    for ours, theirs in zip(weights_of(trainer.model), weights_of(resumed.model)):
        assert torch.equal(ours, theirs)
    before = trainer._trainer.optimizer.state_dict()
    after = resumed._trainer.optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for index, state in before["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(after["state"][index][key]))


def test_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = ToyTrainer(tmp_path / "whole")
    whole.train(0, 12)
    first = ToyTrainer(tmp_path / "cut")
    first.train(0, 6)
    first.checkpointer.save("model_0000005", iteration=5)
    second = ToyTrainer(tmp_path / "cut")
    start = second.checkpointer.resume_or_load("", resume=True)["iteration"] + 1
    for _ in range(start):  # the data goes on where it was
        next(second._trainer._data_loader_iter)
    second.train(start, 12)
    for ours, theirs in zip(weights_of(whole.model), weights_of(second.model)):
        assert torch.equal(ours, theirs)


def test_without_resume_only_the_weights_load(tmp_path: Path) -> None:
    trainer = ToyTrainer(tmp_path)
    trainer.train(0, 3)
    trainer.checkpointer.save("w", iteration=2)
    fresh = ToyTrainer(tmp_path)
    fresh.checkpointer.resume_or_load(str(tmp_path / "w.pth"), resume=False)
    assert torch.equal(fresh.model.layer.weight, trainer.model.layer.weight)
    assert not fresh._trainer.optimizer.state_dict()["state"]


def test_a_killed_save_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = EffPSCheckpointer(ToyModel(), str(tmp_path))
    checkpointer.save("model", iteration=1)

    def killed(data: Any, file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model", iteration=2)
    monkeypatch.undo()
    loaded = EffPSCheckpointer(ToyModel(), str(tmp_path)).resume_or_load("", resume=True)
    assert loaded["iteration"] == 1


def test_no_folder_or_not_the_main_worker_saves_nothing(tmp_path: Path) -> None:
    EffPSCheckpointer(ToyModel()).save("w")
    EffPSCheckpointer(ToyModel(), str(tmp_path), save_to_disk=False).save("w")
    assert not list(tmp_path.iterdir())


def test_empty_path_loads_nothing() -> None:
    model = ToyModel()
    before = weights_of(model)
    assert EffPSCheckpointer(model).load("") == {}
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(model)))


def test_state_dict_alone_and_numpy_free_loading(tmp_path: Path) -> None:
    source, target = ToyModel(), ToyModel()
    torch.save(source.state_dict(), tmp_path / "s.pth")
    EffPSCheckpointer(target).load(str(tmp_path / "s.pth"))
    assert torch.equal(source.layer.weight, target.layer.weight)


@pytest.mark.parametrize(
    ("stated", "warnings"),
    [({}, 0), ({"effps_solo_version": "0.1.0"}, 0), ({"effps_solo_version": "99.0"}, 1)],
)
def test_checkpoints_of_other_versions(
    tmp_path: Path, stated: Dict[str, str], warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = ToyModel(), ToyModel()
    torch.save({"model": source.state_dict(), "iteration": 3, **stated}, tmp_path / "w.pth")
    assert EffPSCheckpointer(target).load(str(tmp_path / "w.pth"))["iteration"] == 3
    assert torch.equal(source.layer.weight, target.layer.weight)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == warnings and all("w.pth' was written by effps_solo 99.0" in x for x in told)


def test_a_checkpoint_whose_version_is_none(tmp_path: Path) -> None:
    torch.save({"model": ToyModel().state_dict(), "effps_solo_version": 3}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth': the version of effps_solo is 3"):
        EffPSCheckpointer(ToyModel()).load(str(tmp_path / "w.pth"))


def test_a_part_of_a_model_is_enough_to_train_but_not_to_predict(tmp_path: Path) -> None:
    torch.save(ToyModel().layer.state_dict(prefix="layer."), tmp_path / "part.pth")
    EffPSCheckpointer(ToyModel()).load(str(tmp_path / "part.pth"))
    with pytest.raises(
        CheckpointError, match=r"part.pth' is of another network.* 4 tensors .*norm"
    ):
        EffPSCheckpointer(ToyModel(), complete=True).load(str(tmp_path / "part.pth"))
    torch.save(ToyModel().state_dict(), tmp_path / "whole.pth")
    EffPSCheckpointer(ToyModel(), complete=True).load(str(tmp_path / "whole.pth"))
    for none in ("", "imagenet://tf_efficientnet_lite0"):
        with pytest.raises(CheckpointError, match=f"'{none}' are none of a trained model"):
            EffPSCheckpointer(ToyModel(), complete=True).load(none)


def test_safetensors_loads(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    source, target = ToyModel(), ToyModel()
    save_file(source.state_dict(), tmp_path / "s.safetensors")
    EffPSCheckpointer(target).load(str(tmp_path / "s.safetensors"))
    assert torch.equal(source.layer.weight, target.layer.weight)


def test_model_zoo_pickle_only_with_allow_unsafe(tmp_path: Path) -> None:
    source, target = ToyModel(), ToyModel()
    weights = {key: value.numpy() for key, value in source.state_dict().items()}
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "somebody"}))
    with pytest.raises(CheckpointError, match="zoo.pkl.*refused"):
        EffPSCheckpointer(target).load(str(path))
    EffPSCheckpointer(target, allow_unsafe=True).load(str(path))
    assert torch.equal(source.layer.weight, target.layer.weight)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"model": {}}, "holds no weights"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({"model": {"w": 3}}, "'w' is a int"),
        ({"other.weight": torch.ones(1)}, "none of its tensors fits"),
        ({"layer.weight": torch.ones(7, 7)}, "none of its tensors fits"),
    ],
)
def test_checkpoint_of_something_else(
    tmp_path: Path, content: Dict[str, Any], message: str
) -> None:
    torch.save(content, tmp_path / "odd.pth")
    checkpointer = EffPSCheckpointer(ToyModel())
    for _ in range(2):  # an error leaves the checkpointer usable
        with pytest.raises(CheckpointError, match=f"odd.pth.*{message}"):
            checkpointer.load(str(tmp_path / "odd.pth"))


def test_missing_checkpoint_names_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gone.pth' does not exist.*MODEL.WEIGHTS"):
        EffPSCheckpointer(ToyModel()).load(str(tmp_path / "gone.pth"))
    (tmp_path / "last_checkpoint").write_text("lost.pth")
    with pytest.raises(CheckpointError, match="lost.pth' does not exist"):
        EffPSCheckpointer(ToyModel(), str(tmp_path)).resume_or_load("", resume=True)


def test_unknown_query(tmp_path: Path) -> None:
    torch.save(ToyModel().state_dict(), tmp_path / "s.pth")
    with pytest.raises(CheckpointError, match="unknown query.*colour"):
        EffPSCheckpointer(ToyModel()).load(f"{tmp_path / 's.pth'}?colour=red")


CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 9)),
    PanopticClass("road", False, 7, (9, 0, 0)),
)


class Head(nn.Module):
    """A semantic head of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.sem_seg_head = nn.Module()
        self.sem_seg_head.predictor = nn.Linear(2, 2)


def test_a_checkpoint_names_its_classes(tmp_path: Path) -> None:
    EffPSCheckpointer(Head(), str(tmp_path), classes=CLASSES).save("w")
    path = str(tmp_path / "w.pth")
    assert checkpoint_classes(path) == CLASSES
    assert safe_load_checkpoint(path)["classes"][1]["name"] == "road"
    EffPSCheckpointer(Head(), str(tmp_path)).save("without")
    for other in (str(tmp_path / "without.pth"), "", "imagenet://x", str(tmp_path / "none.pth")):
        assert checkpoint_classes(other) == ()


def test_classes_in_another_order_and_others(tmp_path: Path) -> None:
    source = Head()
    EffPSCheckpointer(source, str(tmp_path), classes=CLASSES).save("w")
    path = str(tmp_path / "w.pth")
    theirs = source.sem_seg_head.predictor
    for complete in (True, False):
        target = Head()
        EffPSCheckpointer(target, complete=complete, classes=CLASSES[::-1]).load(path)
        ours = target.sem_seg_head.predictor
        assert torch.equal(ours.bias, theirs.bias.flip(0))
        assert torch.equal(ours.weight, theirs.weight.flip(0))
    others = (CLASSES[0], dataclasses.replace(CLASSES[1], name="path"))
    with pytest.raises(CheckpointError, match="stuff road.*the data 2 .*stuff path"):
        EffPSCheckpointer(Head(), complete=True, classes=others).load(path)
    target = Head()
    fresh = target.sem_seg_head.predictor.bias[1].item()
    EffPSCheckpointer(target, classes=others).load(path)
    assert target.sem_seg_head.predictor.bias.tolist() == [theirs.bias[0].item(), fresh]
    renumbered = [dataclasses.replace(c, dataset_id=c.dataset_id + 1) for c in CLASSES]
    EffPSCheckpointer(target, complete=True, classes=renumbered).load(path)
    assert torch.equal(target.sem_seg_head.predictor.bias, theirs.bias)


def test_a_damaged_class_list(tmp_path: Path) -> None:
    torch.save({"model": Head().state_dict(), "classes": [{"name": "a"}]}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="the class list of checkpoint .*w.pth' is damaged"):
        EffPSCheckpointer(Head(), classes=CLASSES).load(str(tmp_path / "w.pth"))


def test_a_run_resumes_with_its_classes_and_tensors_alone(tmp_path: Path) -> None:
    class Counter:
        def state_dict(self) -> Dict[str, int]:
            return {"n": 1}

        def load_state_dict(self, state: Dict[str, int]) -> None:
            pass

    EffPSCheckpointer(Head(), str(tmp_path), classes=CLASSES, counter=Counter()).save("w")
    again = EffPSCheckpointer(Head(), str(tmp_path), classes=CLASSES, counter=Counter())
    again.resume_or_load("", resume=True)
    instead = "take --resume away and set MODEL.WEIGHTS to it"
    other = EffPSCheckpointer(Head(), str(tmp_path), classes=CLASSES[::-1], counter=Counter())
    with pytest.raises(CheckpointError, match=f"other classes.*{instead}"):
        other.resume_or_load("", resume=True)
    other.resume_or_load(str(tmp_path / "w.pth"), resume=False)
    larger = Head()
    larger.sem_seg_head.more = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=f"of another network.*{instead}"):
        EffPSCheckpointer(larger, str(tmp_path), counter=Counter()).resume_or_load("", resume=True)


def test_imagenet_goes_to_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(imagenet, "load_imagenet_weights", lambda *args: calls.append(args))
    model = ToyModel()
    rest = EffPSCheckpointer(model).resume_or_load("imagenet://tf_efficientnet_lite0", resume=False)
    assert rest == {} and calls == [(model, "tf_efficientnet_lite0")]


def test_imagenet_without_a_backbone() -> None:
    with pytest.raises(CheckpointError, match="imagenet://tf_efficientnet_lite0 needs one"):
        EffPSCheckpointer(ToyModel()).load("imagenet://tf_efficientnet_lite0")


def test_plain_data() -> None:
    tensor = torch.ones(2)
    given = {"a": np.float64(0.5), "b": [np.int64(3), (1, None)], 3: np.arange(2), "t": tensor}
    plain = plain_data(given, "x")
    assert type(plain["a"]) is float and type(plain["b"][0]) is int and plain["b"][1] == (1, None)
    assert torch.equal(plain[3], torch.arange(2)) and plain["t"] is tensor
    with pytest.raises(CheckpointError, match=r"trainer\.hooks\[1\]: a PosixPath"):
        plain_data({"hooks": [1, Path("x")]}, "trainer")
