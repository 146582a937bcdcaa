"""Networks of others: what they are given, in either runtime, and what they cannot be."""

from pathlib import Path
from typing import Any, Sequence

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from onnx import TensorProto

from effps_solo.benchmark.images import make_images
from effps_solo.benchmark.peers import PeerJob, as_batch
from effps_solo.benchmark.worker import Task
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import read_image
from tests.benchmark.peer_files import write_network

RUNTIMES = ("onnx", "openvino")


def peer(folder: Path, runtime: str, path: Path) -> PeerJob:
    images = tuple(make_images(folder / "images", (64, 96), []))
    return PeerJob(Task(f"peer-{runtime}", "", (), False, 1, images, (64, 96), (str(path),)))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, 64, 96), TensorProto.FLOAT),
        (("batch", 3, "height", "width"), TensorProto.FLOAT),
        ((1, 64, 96, 3), TensorProto.UINT8),
        ((1, "height", "width", 3), TensorProto.FLOAT16),
    ],
)
def test_a_peer_sees_the_image(
    tmp_path: Path, runtime: str, shape: Sequence[Any], dtype: int
) -> None:
    job = peer(tmp_path, runtime, write_network(tmp_path / "peer.onnx", shape, dtype))
    answer = job.run(0)
    assert answer["wall"] > 0 and answer["things"] is None and answer["stages"] == {}
    pixels = read_image(make_images(tmp_path / "images", (64, 96), [])[0], "RGB").astype(np.float64)
    scale = 1 if dtype == TensorProto.UINT8 else 255
    mean = job.network(job.batches[0])[0]
    assert float(mean) == pytest.approx(pixels.mean() / scale, rel=1e-2)
    assert job.finish()["macs"] is None and job.finish()["peak_memory_bytes"] > 0


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((1, 3, 640, 640), "640x640 pixels, not of 64x96; give --image-size 640 640"),
        ((2, 3, 64, 96), "an input of 2x3x64x96; a peer takes one image"),
        ((1, 4, 64, 96), "an input of 1x4x64x96"),
        ((3, 64, 96), "an input of 3x64x96"),
    ],
)
def test_what_takes_no_such_image(
    tmp_path: Path, runtime: str, shape: Sequence[int], what: str
) -> None:
    with pytest.raises(UserError, match=what):
        peer(tmp_path, runtime, write_network(tmp_path / "peer.onnx", shape))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_takes_more_than_an_image(tmp_path: Path, runtime: str) -> None:
    path = write_network(tmp_path / "peer.onnx", (1, 3, 64, 96), inputs=2)
    with pytest.raises(UserError, match="has 2 inputs"):
        peer(tmp_path, runtime, path)


def test_what_takes_no_pixels(tmp_path: Path) -> None:
    path = write_network(tmp_path / "peer.onnx", (1, 3, 64, 96), TensorProto.INT64)
    with pytest.raises(UserError, match="takes tensor.int64.; a peer takes float or uint8"):
        peer(tmp_path, "onnx", path)


def test_batches() -> None:
    image = np.array([[[0, 51, 255]]], dtype=np.uint8)
    batch = as_batch(image, False, np.dtype("float32"))
    assert batch.shape == (1, 3, 1, 1) and batch.flatten().tolist() == pytest.approx([0, 0.2, 1])
    batch = as_batch(image, True, np.dtype("uint8"))
    assert batch.tolist() == [[[[0, 51, 255]]]] and batch.flags.c_contiguous
