"""Settings reach the runtimes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from effps_solo.inference.exported.sessions import INPUT_NAME, OUTPUT_NAMES, open_session
from effps_solo.utils.machine import cpu

FACTOR = 1 + 2**-10  # bf16 has seven bits behind the one
PIXELS = np.arange(64, dtype=np.uint8)[None]


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """An OpenVINO model whose outputs are the pixels times FACTOR."""
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset13
    image = ops.parameter([1, 64], np.uint8, INPUT_NAME)
    image.get_output_tensor(0).set_names({INPUT_NAME})
    factors = ops.constant(np.eye(64, dtype=np.float32) * FACTOR)
    outputs = []
    for name in OUTPUT_NAMES:
        outputs.append(ops.matmul(ops.convert(image, "f32"), factors, False, False))
        outputs[-1].get_output_tensor(0).set_names({name})
    path = tmp_path / "product.xml"
    openvino.save_model(openvino.Model(outputs, [image]), path, compress_to_fp16=False)
    return path


def test_openvino_in_fp32(product: Path) -> None:
    session, text = open_session(product, threads=1, precision="fp32")
    assert text == ""
    for found in session(PIXELS):
        np.testing.assert_allclose(found, PIXELS * FACTOR, rtol=1e-6)


def test_threads_get_their_own_results(product: Path) -> None:
    session, _ = open_session(product, threads=1, precision="fp32")
    images = [np.full((1, 64), k, np.uint8) for k in range(1, 5)] * 50
    with ThreadPoolExecutor(4) as pool:
        for image, outputs in zip(images, pool.map(session, images)):
            for found in outputs:
                np.testing.assert_allclose(found, image * FACTOR, rtol=1e-6)


@pytest.mark.skipif(not cpu()["native_bf16"], reason="no bf16 units in this processor")
@pytest.mark.parametrize("precision", ["bf16", None])
def test_openvino_in_bf16(product: Path, precision: str) -> None:
    session, _ = open_session(product, threads=1, precision=precision)
    for found in session(PIXELS):
        np.testing.assert_array_equal(found, PIXELS)
