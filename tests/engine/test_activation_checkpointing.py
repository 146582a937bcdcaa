"""Activation checkpointing: the same training, in less memory."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.activation_checkpointing import checkpoint_activations, segments

VARIANTS: Dict[str, List[str]] = {
    "efficient": [],
    "full": ["MODEL.SOLOV2.VARIANT", "full", "MODEL.SOLOV2.NORM", "GN"],
    "mask_rcnn": [
        "MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead",
        "MODEL.ROI_MASK_HEAD.CONV_DIM", "32",
        "MODEL.ROI_BOX_HEAD.FC_DIM", "32",
    ],
}  # fmt: skip


def two_steps(tiny_config: Path, variant: str, checkpointing: bool) -> Tuple[Any, nn.Module]:
    """Losses and gradients of two SGD steps, and the model after them."""
    cfg = load_config(str(tiny_config), VARIANTS[variant])
    seed_all_rng(1)  # numpy's, too: sampler and augmentation draw from it
    batch = next(iter(Trainer.build_train_loader(cfg)))
    seed_all_rng(1)
    model = Trainer.build_model(cfg).train()
    if checkpointing:
        checkpoint_activations(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        losses = model(batch)
        sum(losses.values()).backward()
        seen.append({**losses, **{name: p.grad for name, p in model.named_parameters()}})
        optimizer.step()
    return seen, model


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_gradients_and_statistics_are_the_same_to_the_bit(
    tiny_config: Path, variant: str
) -> None:
    expected, plain = two_steps(tiny_config, variant, False)
    seen, model = two_steps(tiny_config, variant, True)
    for before, after in zip(expected, seen):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    state = model.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    counts = [v for name, v in state.items() if name.endswith("num_batches_tracked")]
    assert counts and all(int(count) == 2 for count in counts)


@pytest.mark.parametrize("variant", VARIANTS)
def test_segments_hold_nearly_all_parameters_and_none_another(
    tiny_config: Path, variant: str
) -> None:
    model = Trainer.build_model(load_config(str(tiny_config), VARIANTS[variant]))
    found = segments(model)
    inside = [id(module) for segment in found for module in segment.modules()]
    assert len(inside) == len(set(inside))
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    outside = [c for c in convs if id(c) not in set(inside)]
    # The stem, and convolutions without a norm behind them.
    assert len(convs) > 60 and len(outside) <= 8


def test_at_inference_and_without_gradients_everything_runs_once(tiny_config: Path) -> None:
    model = Trainer.build_model(load_config(str(tiny_config)))
    checkpoint_activations(model)
    runs: List[nn.Module] = []
    for module in model.backbone.bottom_up.blocks.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: runs.append(module))
    image = torch.zeros(1, 3, 64, 96)
    with torch.no_grad():
        model.train().backbone(image)
    features = model.eval().backbone(image)
    assert len(runs) == 2 * len(set(runs))
    sum(x.sum() for x in features.values()).backward()
    assert len(runs) == 2 * len(set(runs))
    features = model.train().backbone(torch.rand(2, 3, 64, 96))
    sum(x.sum() for x in features.values()).backward()
    assert len(runs) == 4 * len(set(runs))


def test_a_copy_of_the_model_runs_itself(tiny_config: Path) -> None:
    model = Trainer.build_model(load_config(str(tiny_config))).train()
    checkpoint_activations(model)
    twin = copy.deepcopy(model)
    features = twin.backbone(torch.rand(2, 3, 64, 96))
    sum(x.sum() for x in features.values()).backward()
    assert all(p.grad is not None for p in twin.backbone.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_the_trainer_turns_it_on_by_key(tiny_config: Path) -> None:
    key = "SOLVER.ACTIVATION_CHECKPOINTING"
    for wanted in (False, True):
        trainer = Trainer(load_config(str(tiny_config), [key, str(wanted)]))
        patched = ["forward" in vars(segment) for segment in segments(trainer.model)]
        assert patched and all(p is wanted for p in patched)


PEAK_OF_A_STEP = """
import resource, sys, torch
from detectron2.utils.env import seed_all_rng
from effps_solo.config import load_config
from effps_solo.engine import Trainer
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seed_all_rng(1)
trainer = Trainer(load_config(sys.argv[1], sys.argv[2:]))
trainer._hooks.clear()
batch = next(iter(trainer.data_loader))
assert tuple(batch[0]["image"].shape) == (3, 512, 1024)
before = peak()
losses = trainer.model(batch)
sum(losses.values()).backward()
print(peak() - before, *(loss.item().hex() for loss in losses.values()))
"""


@pytest.mark.slow
def test_a_third_less_memory_at_512x1024(tiny_config: Path, project_root: Path) -> None:
    """The widths of the lite0 configs, one image, each run in a process of its own."""
    words = [
        "MODEL.TWO_WAY_FPN.OUT_CHANNELS", "96", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "64",
        "MODEL.SOLOV2.CHANNELS", "96", "MODEL.SOLOV2.KERNEL_DIM", "64",
        "INPUT.CROP_SIZE", "(512, 1024)", "INPUT.SCALE_RANGE", "(8.0, 8.0)",
        "SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0",
    ]  # fmt: skip
    results = []
    for wanted in ("False", "True"):
        command = [sys.executable, "-c", PEAK_OF_A_STEP, str(tiny_config), *words]
        run = subprocess.run(
            [*command, "SOLVER.ACTIVATION_CHECKPOINTING", wanted],
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(run.stdout.split())
    (plain, *expected), (checkpointed, *losses) = results
    assert losses == expected and len(losses) == 3
    assert int(checkpointed) <= 0.7 * int(plain), (checkpointed, plain)
