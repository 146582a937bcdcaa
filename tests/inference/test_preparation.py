"""Models made ready to predict: folded norms, compiled networks, number formats."""

import copy
from pathlib import Path
from typing import List

import pytest
import torch
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.preparation import build_inference_model, compile_networks, fold_norms
from effps_solo.inference.test_time_augmentation import EfficientPSWithTTA
from effps_solo.modeling.layers import fold_norm
from effps_solo.utils.errors import ConfigError

NORMS = ["MODEL.EFFICIENTNET.NORM", "{0}", "MODEL.TWO_WAY_FPN.NORM", "{0}"]
NORMS += ["MODEL.SEM_SEG_HEAD.NORM", "{0}"]
RESNET = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH", "18"]
RESNET += ["MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.FPN.NORM", "BN"]
VARIANTS = {
    "as configured": [],
    **{norm: [word.format(norm) for word in NORMS] for norm in ("FrozenBN", "naiveSyncBN")},
    "ResNet": RESNET,
    "Mask R-CNN": ["MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead"],
    "Panoptic FPN": [
        *("MODEL.META_ARCHITECTURE", "LabelSpacePanopticFPN"),
        *("MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead", "MODEL.SEM_SEG_HEAD.NORM", "GN"),
        *("MODEL.ROI_BOX_HEAD.FC_DIM", "32", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32"),
    ],
}


def noise(height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def model_with_statistics(tiny_config: Path, words: List[str]) -> nn.Module:
    """An untrained model whose norms have a share in what it says."""
    torch.manual_seed(0)
    model = Trainer.build_model(load_config(str(tiny_config), words)).eval()
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(-1.5, 1.5)
            module.bias.data.normal_(std=0.1)
    return model


def test_a_folded_convolution_worked_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1.0)
    conv.weight.data.fill_(6.0)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(3.0)  # 3 + eps: a deviation of 2
    norm.weight.data.fill_(5.0)
    norm.bias.data.fill_(7.0)
    assert fold_norm(conv, norm)
    assert conv.weight.item() == 6 * 5 / 2 and conv.bias.item() == 7 - 2 * 5 / 2
    assert not fold_norm(conv, nn.GroupNorm(1, 1)) and not fold_norm(conv, nn.Identity())
    assert conv.weight.item() == 15


@pytest.mark.parametrize("variant", VARIANTS)
def test_folding_changes_nothing_but_the_cost(tiny_config: Path, variant: str) -> None:
    model = model_with_statistics(tiny_config, VARIANTS[variant])
    batch = [{"image": noise(), "height": 64, "width": 96}]
    with torch.inference_mode():
        (expected,) = model(batch)
    fold_norms(model)
    with torch.inference_mode():
        (actual,) = model(batch)
    logits = expected["sem_seg"]
    spread = float(logits[logits.isfinite()].std())
    assert spread > 0
    torch.testing.assert_close(actual["sem_seg"], logits, rtol=0, atol=1e-4 * spread)
    agree = actual["panoptic_seg"][0] == expected["panoptic_seg"][0]
    assert agree.float().mean() > 0.999
    assert not [name for name, _ in model.named_buffers() if "running_mean" in name]


def test_norms_of_the_image_stay(tiny_config: Path) -> None:
    model = model_with_statistics(tiny_config, [word.format("GN") for word in NORMS])
    norms = [type(module) for module in model.modules() if isinstance(module, nn.GroupNorm)]
    fold_norms(model)
    assert len(norms) > 50  # backbone, neck, both heads
    assert [type(m) for m in model.modules() if isinstance(m, nn.GroupNorm)] == norms


@pytest.mark.parametrize("augmented", [False, True])
def test_mixed_precision(tiny_config: Path, augmented: bool) -> None:
    words = ["TEST.AUG.ENABLED", str(augmented), "TEST.AUG.SCALES", "(1.0,)"]
    plain, mixed = [
        build_inference_model(
            load_config(str(tiny_config), [*words, "TEST.AMP.ENABLED", enabled]),
            model_with_statistics(tiny_config, []),
        )
        for enabled in ("False", "True")
    ]
    assert isinstance(mixed, EfficientPSWithTTA) == augmented
    formats = []
    head = (mixed.model if augmented else mixed).sem_seg_head
    head.register_forward_hook(lambda module, inputs, output: formats.append(output.dtype))
    with torch.inference_mode():
        expected, actual = (model([{"image": noise()}])[0]["sem_seg"] for model in (plain, mixed))
        again = mixed.inference([{"image": noise()}], outputs=["sem_seg"])[0]["sem_seg"]
    assert set(formats) == {torch.bfloat16} and actual.dtype == torch.float32
    assert torch.equal(again, actual)
    assert 0 < (actual - expected).abs().mean() < 0.05 * expected.std()


def test_mistakes_name_the_key(tiny_config: Path) -> None:
    words = ["TEST.AMP.ENABLED", "True", "TEST.AMP.PRECISION"]
    for name, message in (
        ("fp16", "TEST.AMP.PRECISION is 'fp16'.* GPU; .*bf16"),
        ("half", "TEST.AMP.PRECISION is 'half'; choose one of .*bf16"),
    ):
        cfg = load_config(str(tiny_config), [*words, name])
        with pytest.raises(ConfigError, match=message):
            build_inference_model(cfg, nn.Linear(1, 1))


def test_the_networks_are_compiled_by_key(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["TEST.COMPILE", "True"])
    model = build_inference_model(cfg, model_with_statistics(tiny_config, []))
    compiled = {name for name, child in model.named_children() if child._compiled_call_impl}
    assert compiled == {"backbone", "sem_seg_head", "instance_head"}
    assert not torch._inductor.config.freezing


@pytest.mark.slow
def test_compiled_networks_give_what_they_gave() -> None:
    """A network of two layers; compiling a whole one takes minutes."""
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    model.rest = nn.Conv2d(4, 4, 1)
    model.eval()
    eager = copy.deepcopy(model)
    compile_networks(model)
    assert model.backbone._compiled_call_impl is not None and model.rest._compiled_call_impl is None
    with torch.inference_mode():
        for size in ((16, 24), (32, 40)):  # compiled at the first image, and again for another size
            image = torch.rand(1, 3, *size)
            expected = eager.backbone(image)
            assert torch.allclose(model.backbone(image), expected, atol=1e-5)
            assert not torch._inductor.config.freezing  # that is for the user's own networks
            weight = model.backbone[0].weight.clone()
            model.backbone[0].weight.zero_()
            assert torch.allclose(model.backbone(image), expected, atol=1e-5)  # it is a constant
            model.backbone[0].weight.copy_(weight)
