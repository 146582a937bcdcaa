"""The whole model on a device that is not the CPU: no mix of devices, few operations, fewer reads.

With a GPU the same tests run on it (marker gpu); there nothing is counted.
"""

import copy
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from effps_solo.benchmark.synthetic_objects import circles, stuff_bands
from effps_solo.config import load_config
from effps_solo.data.mapper import instances_from_objects
from effps_solo.engine import Trainer
from effps_solo.inference.load import SHIPPED_MODEL
from effps_solo.inference.test_time_augmentation import EfficientPSWithTTA
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.instance_head.solov2.output import SOLOv2Output
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.postprocessing import instances_to_output
from tests.pretended_gpu import COUNTS, GPUTensor, pretended, to_pretended_gpu

HEADS = ("SOLOv2InstanceHead", "MaskRCNNInstanceHead")
SIZE = (256, 512)
# Of decoding and fusion: eleven numbers are data (three of candidates and their layers, five of pixels).
MAX_OPERATIONS, MAX_READS = 700, 11
MAX_OPERATIONS_OF_INSTANCES = 300  # beyond these
DEVICES = ["pretended", pytest.param("cuda", marks=pytest.mark.gpu)]

Batch = List[Dict[str, Any]]


class Device:
    """Where a test runs: the pretended GPU or a real one."""

    def __init__(self, real: bool) -> None:
        self.real = real

    def put(self, module: nn.Module) -> nn.Module:
        return module.to("cuda") if self.real else to_pretended_gpu(module)

    def tensor(self, x: torch.Tensor) -> torch.Tensor:
        return x.to("cuda") if self.real else GPUTensor(x)

    def reads_of(self, action: Callable[[], Any]) -> Tuple[Any, int, int]:
        """The result, the reads and the operations; no numbers of a real GPU."""
        COUNTS.reset()
        result = action()
        return result, COUNTS.reads, COUNTS.operations


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU")
        yield Device(real=True)
        return
    with pretended():
        yield Device(real=False)


def plain(x: torch.Tensor) -> torch.Tensor:
    return x.plain if isinstance(x, GPUTensor) else x.cpu()


def model_of(config: Path, head: str = HEADS[0], *words: str) -> EfficientPS:
    words = ("MODEL.INSTANCE_HEAD.NAME", head, "MODEL.DEVICE", "cpu", *words)
    torch.manual_seed(0)
    return build_model(load_config(str(config), list(words)))


def batch_of(num_objects: int, size: Tuple[int, int] = (96, 128)) -> Batch:
    """One image with rectangles in rows, thing classes in turns, and some void and crowd."""
    height, width = size
    objects = np.zeros(size, dtype=np.int32)
    columns = max(1, int(np.ceil(np.sqrt(num_objects * width / height))))
    side = width // columns
    for k in range(num_objects):
        y, x = (k // columns) * side, (k % columns) * side
        objects[y : y + max(side - 2, 1), x : x + max(side - 2, 1)] = k + 1
    classes = [k % 2 for k in range(num_objects)]
    sem_seg = np.where(objects > 0, 0, 2).astype(np.int64)
    sem_seg[-4:] = 255
    ignore = np.zeros((height // 4, width // 4), dtype=bool)
    ignore[-1] = True
    generator = torch.Generator().manual_seed(num_objects)
    image = torch.randint(0, 255, (3, *size), generator=generator, dtype=torch.uint8)
    return [
        {
            "image": image,
            "sem_seg": torch.from_numpy(sem_seg),
            "instances": instances_from_objects(objects, classes),
            "instance_ignore": torch.from_numpy(ignore),
        }
    ]


def test_the_device_finds_what_fails_on_a_gpu(pretended_gpu: Any) -> None:
    x = torch.arange(6, device="cuda").float()
    assert x.device.type == "cuda" and (x * 2).device.type == "cuda" and x.new_zeros(2).is_cuda
    with pytest.raises(RuntimeError, match="all tensors on one device"):
        x + torch.ones(6)
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    assert x.cpu().numpy().tolist() == list(range(6))
    pretended_gpu.reset()
    assert float(x.sum()) == 15 and len(x.nonzero()) == 5 and (x > 2).any() and x[x > 3].tolist()
    assert pretended_gpu.reads == 5
    weight = nn.Parameter(GPUTensor(torch.ones(6)))
    (weight * x).sum().backward()
    assert plain(weight.grad).tolist() == list(range(6))


@pytest.fixture(scope="module")
def package_model() -> EfficientPS:
    """The network of the package for 400 objects."""
    words = ("TEST.DETECTIONS_PER_IMAGE", "400", "MODEL.SOLOV2.NMS_PRE", "400", "MODEL.WEIGHTS", "")
    return model_of(SHIPPED_MODEL / "config.yaml", HEADS[0], *words).eval()


def moved(output: SOLOv2Output, device: Device) -> SOLOv2Output:
    parts = (output.category, output.kernels, output.mask_features)
    return SOLOv2Output(*(device.tensor(part) for part in parts))


@torch.no_grad()
def decoded_and_fused(model: EfficientPS, output: SOLOv2Output, logits: torch.Tensor) -> Any:
    head, fusion = model.instance_head, model.fusion
    size = (4 * logits.shape[1], 4 * logits.shape[2])
    head.forward = lambda features, cells: output
    instances = head.inference({}, [size], min_score=fusion.thresholds.score)[0]
    return instances, fusion(logits, instances, size)


@pytest.mark.parametrize("size", [SIZE, pytest.param((1024, 2048), marks=pytest.mark.slow)])
def test_operations_do_not_grow_with_objects(
    package_model: EfficientPS, device: Device, size: Tuple[int, int]
) -> None:
    counted = []
    for number in (100, 400):
        output = circles(package_model.instance_head, number, size)
        logits = stuff_bands(package_model, size)
        expected_instances, (expected, info) = decoded_and_fused(package_model, output, logits)
        model = device.put(copy.deepcopy(package_model))
        on_device, of_device = moved(output, device), device.tensor(logits)
        (instances, (panoptic_seg, found)), reads, operations = device.reads_of(
            lambda: decoded_and_fused(model, on_device, of_device)
        )
        assert (plain(panoptic_seg) == expected).float().mean() > 0.9999
        assert [s["category_id"] for s in found] == [s["category_id"] for s in info]
        assert len(instances) == len(expected_instances)
        counted.append((reads, operations))
        assert operations <= MAX_OPERATIONS and reads <= MAX_READS
    assert counted[0] == counted[1]


@pytest.mark.parametrize("whole_masks", [True, False])
def test_instances_of_the_output(
    package_model: EfficientPS, device: Device, whole_masks: bool
) -> None:
    counted = []
    for number in (10, 60):
        output = circles(package_model.instance_head, number, SIZE)
        expected, _ = decoded_and_fused(package_model, output, stuff_bands(package_model, SIZE))
        instances = Instances(
            SIZE, **{k: _moved(v, device) for k, v in expected.get_fields().items()}
        )
        space = package_model.label_space
        found, reads, operations = device.reads_of(
            lambda: instances_to_output(instances, (128, 256), space, whole_masks=whole_masks)
        )
        wanted = instances_to_output(expected, (128, 256), space)
        for k, mask in enumerate(wanted.pred_masks):
            assert (plain(found.pred_masks[k]) == mask).all()
        assert torch.equal(plain(found.pred_boxes.tensor), wanted.pred_boxes.tensor)
        counted.append(reads)
        assert operations <= MAX_OPERATIONS_OF_INSTANCES
    assert counted[0] == counted[1]


def _moved(field: Any, device: Device) -> Any:
    if isinstance(field, torch.Tensor):
        return device.tensor(field)
    if hasattr(field, "maps"):
        return Stride4Masks(device.tensor(field.maps))
    return type(field)(device.tensor(field.tensor))


@pytest.mark.parametrize("head", HEADS)
def test_training(tiny_config: Path, device: Device, head: str) -> None:
    counted = []
    for number in (10, 100):
        model, batch = model_of(tiny_config, head).train(), batch_of(number)
        torch.manual_seed(1)
        expected = {name: float(loss) for name, loss in model(batch).items()}
        model = device.put(model_of(tiny_config, head).train())
        torch.manual_seed(1)
        losses, reads, _ = device.reads_of(lambda: model(batch))
        counted.append(reads)
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            assert loss.device.type == "cuda"
            if head == HEADS[0]:  # Mask R-CNN samples at random
                assert float(loss) == pytest.approx(expected[name], rel=1e-3)
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and plain(parameter.grad).isfinite().all(), name
    assert counted[0] == counted[1]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("augmented", [False, True])
def test_inference(
    tiny_config: Path, lively_weights: Path, device: Device, head: str, augmented: bool
) -> None:
    results = []
    batch = [{"image": batch_of(5)[0]["image"], "height": 90, "width": 140}]
    for place in (lambda module: module, device.put):
        model = model_of(tiny_config, head)
        if head == HEADS[0]:
            model.load_state_dict(torch.load(lively_weights)["model"])
        model = place(model.eval())
        if augmented:
            model = EfficientPSWithTTA(model, scales=(0.75, 1.0), flip=True)
        with torch.no_grad():
            results.append(model(batch)[0])
    expected, found = results
    assert (plain(found["panoptic_seg"][0]) == expected["panoptic_seg"][0]).float().mean() > 0.999
    assert torch.allclose(plain(found["sem_seg"]), expected["sem_seg"], atol=1e-3)
    assert len(found["instances"]) == len(expected["instances"]) > 0
    assert torch.allclose(plain(found["instances"].scores), expected["instances"].scores, atol=1e-4)


@torch.no_grad()
def test_reads_of_test_time_augmentation(package_model: EfficientPS, device: Device) -> None:
    size, counted = (256, 512), []
    config = SHIPPED_MODEL / "config.yaml"
    for number in (10, 100):
        output = circles(package_model.instance_head, number, size)
        model = device.put(model_of(config, HEADS[0], "MODEL.WEIGHTS", "").eval())
        on_device = moved(output, device)
        model.instance_head.forward = lambda features, cells: on_device
        tta = EfficientPSWithTTA(model, scales=(1.0,), flip=True)
        image = torch.zeros(3, *size, dtype=torch.uint8)
        result, reads, _ = device.reads_of(lambda: tta([{"image": image}]))
        counted.append(reads)
        assert len(result[0]["instances"]) >= number // 2
    assert counted[0] == counted[1]


@pytest.mark.parametrize("head", HEADS)
def test_evaluation(tiny_config: Path, lively_weights: Path, device: Device, head: str) -> None:
    results = []
    for place in (lambda module: module, device.put):
        model = model_of(tiny_config, head)
        if head == HEADS[0]:
            model.load_state_dict(torch.load(lively_weights)["model"])
        cfg = load_config(str(tiny_config), ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"])
        results.append(Trainer.test(cfg, place(model.eval())))
    expected, found = results
    assert found["panoptic_seg"]["PQ"] == pytest.approx(expected["panoptic_seg"]["PQ"], abs=0.1)
    assert found["segm"]["AP"] == pytest.approx(expected["segm"]["AP"], abs=0.1, nan_ok=True)
