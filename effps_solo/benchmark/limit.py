"""What the machine can do at best: the rate of a large dense convolution. A job of a worker."""

import torch
from torch import nn

from .measure import timed
from .torch_backends import open_config
from .worker import Answer, Job, Task

CHANNELS, HEIGHT, WIDTH = 256, 64, 128
MACS = CHANNELS * CHANNELS * 9 * HEIGHT * WIDTH


class ConvolutionJob(Job):
    """A 3x3 convolution of 256 to 256 channels at 64x128 points."""

    def __init__(self, task: Task) -> None:
        device = open_config(task).MODEL.DEVICE
        dtype = torch.bfloat16 if task.kind == "conv-bf16" else torch.float32
        conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        features = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
        self.conv = conv.to(device, dtype, memory_format=torch.channels_last)
        self.features = features.to(device, dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(self, number: int) -> Answer:
        """{"wall", "process"} seconds."""
        wall, process, _ = timed(lambda: self.conv(self.features)[0, 0, 0, 0].item())
        return {"wall": wall, "process": process, "stages": {}, "things": None}

    def finish(self) -> Answer:
        """{"macs"} of one run."""
        return {"macs": MACS}


open_job = ConvolutionJob  # of a task of kind conv-fp32 or conv-bf16
