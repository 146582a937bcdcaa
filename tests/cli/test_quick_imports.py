"""Commands start without torch's compiler, which is there for whoever wants it."""

import subprocess
import sys

PROGRAM = """
import sys
from effps_solo.cli.quick_imports import defer_compiler
defer_compiler()
import torchvision, timm, detectron2.layers
from detectron2.layers import Conv2d
import torch
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
x = torch.rand(1, 3, 8, 8)
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
print(tuple(Conv2d(3, 2, 1)(x).shape), tuple(torchvision.ops.roi_align(x, boxes, 2).shape))
assert "torch._dynamo" not in sys.modules
from torchvision.ops import roi_align
supported = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
import torch._dynamo
assert supported == torch._dynamo.utils.is_compile_supported("cpu")
compiled = torch.compile(lambda x: x + 1, backend="eager")
print(compiled(torch.ones(2)).tolist())
"""


def test_the_compiler_is_imported_by_its_users_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["(1, 2, 8, 8) (1, 3, 2, 2)", "[2.0, 2.0]"]
