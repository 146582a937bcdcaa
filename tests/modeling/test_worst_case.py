"""The memory of decoding and fusion where the network says yes to everything."""

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import torch
from effps_solo import load
from effps_solo.modeling.instance_head.solov2.output import SOLOv2Output
from effps_solo.modeling.instance_head.solov2.position_prior import NUM_PARAMETERS

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

model = load(device="cpu").predictor.model
head, size = model.instance_head, (1024, 2048)
generator = torch.Generator().manual_seed(0)
cells, features = len(head.test_cells.centers), head.kernel_dim
category = 3 + 0.001 * torch.rand(1, cells, head.num_classes, generator=generator)
kernels = torch.randn(1, cells, features + NUM_PARAMETERS, generator=generator)
kernels[..., -3:] = 3.0  # Gaussians that reach far
maps = torch.randn(1, features, 256, 512, generator=generator).relu()
semantic_logits = torch.randn(model.label_space.num_classes, 256, 512, generator=generator)
output = SOLOv2Output(category, kernels, maps)
head.forward = lambda features, cells: output
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
before = peak()
with torch.inference_mode():
    instances = head.inference({}, [size])[0]
    panoptic_seg, _ = model.fusion(semantic_logits, instances, size)
print(len(instances), panoptic_seg.shape[0], peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not Linux")
def test_every_cell_fires_at_1024x2048() -> None:
    words = [sys.executable, "-c", _SCRIPT]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    num_instances, height, extra = map(int, result.stdout.split())
    assert (num_instances, height) == (100, 1024)
    assert extra < 0.5e9, f"{extra / 1e6:.0f} MB"
