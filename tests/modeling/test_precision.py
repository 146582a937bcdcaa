"""Mixed precision: what it changes in the losses, and the scaler's bookkeeping."""

import math
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.guard import NonFiniteError
from effps_solo.engine.loop import TrainingLoop
from effps_solo.modeling.precision import Precision
from effps_solo.utils.errors import ConfigError

MASK_RCNN = {
    "MODEL.INSTANCE_HEAD.NAME": "MaskRCNNInstanceHead",
    "MODEL.ROI_MASK_HEAD.CONV_DIM": "32",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "20",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "64",
}
VARIANTS: Dict[str, Dict[str, str]] = {
    "efficient": {},
    "full": {"MODEL.SOLOV2.VARIANT": "full"},
    "frozen": {"MODEL.EFFICIENTNET.NORM": "FrozenBN", "MODEL.TWO_WAY_FPN.NORM": "FrozenBN"},
    "mask_rcnn": MASK_RCNN,
}
# Other proposals give other samples, whose losses cannot be compared.
COMPARED = {"loss_sem_seg", "loss_category", "loss_rpn_cls", "loss_rpn_loc"}


def one_batch(cfg: CfgNode) -> List[Dict[str, Any]]:
    cfg.SEED = 398764591
    batch: List[Dict[str, Any]] = next(iter(Trainer.build_train_loader(cfg)))
    return batch


def losses_and_gradients(cfg: CfgNode, batch: List[Dict[str, Any]]) -> Any:
    torch.manual_seed(0)
    model = Trainer.build_model(cfg).train()
    precision = Precision.from_config(cfg)
    with precision.autocast():
        losses = model(batch)
    precision.backward(sum(losses.values()))
    return losses, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_losses_are_fp32_and_close_with_gradients_everywhere(
    tiny_config: Path, variant: str
) -> None:
    words = [word for pair in VARIANTS[variant].items() for word in pair]
    cfg = load_config(str(tiny_config), words)
    batch = one_batch(cfg)
    expected, expected_gradients = losses_and_gradients(cfg, batch)
    cfg.SOLVER.AMP.ENABLED = True
    losses, gradients = losses_and_gradients(cfg, batch)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and torch.isfinite(loss), name
        if name in COMPARED or variant != "mask_rcnn":
            assert loss.item() == pytest.approx(expected[name].item(), rel=0.03), name
    assert any(losses[name].item() != expected[name].item() for name in losses)  # it was on
    for name, gradient in gradients.items():
        if expected_gradients[name] is not None:
            assert gradient.dtype == torch.float32 and torch.isfinite(gradient).all(), name
            assert gradient.abs().sum() > 0 or expected_gradients[name].abs().sum() == 0, name


def test_coordinates_keep_their_precision(tiny_config: Path) -> None:
    conv = Trainer.build_model(load_config(str(tiny_config))).instance_head.mask_branch.last_level
    seen: List[torch.Tensor] = []
    conv.position.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.zeros(1, 32, 4, 512))
    assert seen[0].dtype == torch.float32
    assert len(seen[0][0, 0, 0].unique()) == 512  # in bf16 they would not differ


def test_a_training_in_bf16(tiny_config: Path) -> None:
    trainer = Trainer(load_config(str(tiny_config), ["SOLVER.AMP.ENABLED", "True"]))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer._hooks.clear()
    trainer.train()
    after = list(trainer.model.parameters())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(after, before))


def test_unknown_formats_and_fp16_without_a_gpu(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    assert Precision.from_config(cfg).dtype is None
    cfg.SOLVER.AMP.ENABLED = True
    assert Precision.from_config(cfg).dtype is torch.bfloat16
    assert not Precision.from_config(cfg).grad_scaler.is_enabled()
    cfg.SOLVER.AMP.PRECISION = "fp16"
    with pytest.raises(ConfigError, match="PRECISION is 'fp16'.*needs a GPU; .*bf16"):
        Precision.from_config(cfg)
    cfg.SOLVER.AMP.PRECISION = "half"
    with pytest.raises(ConfigError, match="PRECISION is 'half'; choose one of .*bf16.*fp16"):
        Precision.from_config(cfg)


@pytest.mark.parametrize("flags", [[], ["amx_bf16"]])
@pytest.mark.parametrize("section", ["SOLVER", "TEST"])
def test_a_warning_where_bf16_is_emulated(
    tiny_config: Path,
    flags: List[str],
    section: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("effps_solo.modeling.precision.cpu", lambda: {"native_bf16": flags})
    cfg = load_config(str(tiny_config))
    Precision.from_config(cfg, section)
    assert not caplog.records  # fp32
    cfg[section].AMP.ENABLED = True
    Precision.from_config(cfg, section)
    expected = [] if flags else [f"set {section}.AMP.ENABLED False"]
    assert [record.message.split(": ")[1] for record in caplog.records] == expected


class OneWeight(nn.Module):
    """loss = weight * batch, so the gradient is the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch: float) -> Dict[str, torch.Tensor]:
        return {"loss": self.weight * batch}


def scaled_loop(batches: List[float]) -> TrainingLoop:
    """A loop with an fp16 scaler, which torch has for a CPU as well."""
    model = OneWeight()
    precision = Precision(device_type="cpu")
    precision.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loop = TrainingLoop(model, batches, optimizer, precision=precision)
    loop._write_metrics = lambda *args: None
    return loop


def test_the_scale_is_taken_out_again_and_overflown_steps_are_left_out() -> None:
    loop = scaled_loop([2.0, 1e38, 3.0])
    loop.run_step()
    assert loop.model.weight.item() == -2.0
    loop.run_step()  # 1e38 x 2048 is not finite
    assert loop.model.weight.item() == -2.0
    loop.run_step()
    assert loop.model.weight.item() == -5.0


def test_gradients_beyond_fp16_that_nothing_scales_end_the_run() -> None:
    """Were they left out for ever, the scale would become 0 and the weights NaN."""
    loop = scaled_loop([math.nan] * 20)
    loop.guard = mock.Mock(
        accepts_losses=lambda *_: True, stop=mock.Mock(side_effect=NonFiniteError)
    )
    for _ in range(10):  # from 1024 to 1
        loop.run_step()
    with pytest.raises(NonFiniteError):
        loop.run_step()
    loop.guard.stop.assert_called_once_with("gradient")
    assert loop.model.weight.item() == 0.0


def test_the_scale_survives_a_checkpoint() -> None:
    loop = scaled_loop([2.0])
    loop.run_step()
    loop.iter = 0
    state = loop.state_dict()
    assert state["grad_scaler"]["scale"] == 2048.0  # grew after a good step
    resumed = scaled_loop([2.0])
    resumed.load_state_dict(state)
    assert resumed.precision.grad_scaler.get_scale() == 2048.0
    state["grad_scaler"] = {}  # of a run in fp32
    resumed.load_state_dict(state)
    assert resumed.precision.grad_scaler.get_scale() == 2048.0
    unscaled = Precision(device_type="cpu", dtype=torch.bfloat16)
    assert unscaled.state_dict() == {}
    unscaled.load_state_dict({"scale": 8.0})  # of a run in fp16
    assert not unscaled.grad_scaler.is_enabled()
