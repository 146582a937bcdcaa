"""An exported file against the model that it was made of."""

import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence, Tuple

import numpy as np

from effps_solo.inference.exported import load_exported
from effps_solo.inference.exported.predictor import resized_image
from effps_solo.inference.load import SAMPLE_IMAGE
from effps_solo.inference.predictor import Predictor
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import read_image

RUNS = 3
# Of the pixels; OpenVINO in bf16 and INT8 stay above it where a model knows what it sees.
LEAST_AGREEMENT = 0.9


def compared_with_torch(
    paths: Sequence[Path], predictor: Predictor, images: Optional[Sequence[Path]] = None
) -> Iterator[str]:
    """Run each file on an image and say in a line how large it is, how fast, and how far it agrees.

    Args:
        paths: what :func:`.program.save` wrote.
        predictor: with the model that they were made of.
        images: the first of them is taken; None: the package's sample.
    """
    image, of_torch = read_image((images or [SAMPLE_IMAGE])[0], predictor.image_format), None
    for path in paths:
        files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
        line = f"{path} ({sum(each.stat().st_size for each in files) / 1e6:.1f} MB)"
        try:
            exported = load_exported(path)
        except ModuleNotFoundError as error:
            yield f"{line} was not tried: {error}"
            continue
        except UserError as error:
            yield f"{line} does not work: {error}"
            continue
        if of_torch is None:
            image = resized_image(image, exported.description.output_size or image.shape[:2])
            of_torch = _timed(lambda: predictor.panoptic(image))
        found, seconds = _timed(lambda: exported.panoptic(image))
        agreement = float((_classes(*found) == _classes(*of_torch[0])).mean())
        line += (
            f" takes {seconds * 1e3:.0f} ms an image (torch: {of_torch[1] * 1e3:.0f} ms); of the pixels "
            f"{agreement:.2%} have torch's class"
        )
        if agreement < LEAST_AGREEMENT:
            line += ". That is little: compare both on your data with `effps-solo evaluate`"
        yield line


def _timed(run: Callable[[], Any]) -> Tuple[Any, float]:
    """The result, and the shortest of some times."""
    result, times = run(), []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return result, min(times)


def _classes(panoptic_seg: np.ndarray, segments: Any) -> np.ndarray:
    """(H, W) contiguous class ids, -1 of void."""
    of_id = np.full(int(panoptic_seg.max()) + 1, -1)
    for segment in segments:
        of_id[segment["id"]] = segment["category_id"]
    return of_id[panoptic_seg]
