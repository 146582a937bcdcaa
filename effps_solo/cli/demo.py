"""``effps-solo demo``: panoptic predictions of images and folders, as pictures and as files."""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set

import numpy as np

from ..errors import INTERRUPTED, UserError
from ..image_io import IMAGE_SUFFIXES
from ..panoptic_png import ids_to_rgb
from .output_folder import make_writable

JSON_NAME = "panoptic.json"
logger = logging.getLogger("effps_solo.demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of Detectron2's demo."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model's config")
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATH", help="images and folders of images"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--confidence-threshold",
        type=_probability,
        default=None,
        metavar="SCORE",
        help="lowest score of an instance in the panoptic map (default: the config's)",
    )
    parser.add_argument(
        "--allow-unsafe",
        action="store_true",
        help="load configs and checkpoints that can run code; only for files you trust",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config overrides, last on the line: MODEL.WEIGHTS output/quickstart/model_final.pth",
    )


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def run(args: argparse.Namespace) -> int:
    """Predict every image.

    Returns:
        0; 1 when an image could not be read or none was found; 130 after Ctrl-C, which leaves the
        results of the images before it.
    """
    from detectron2.utils.logger import setup_logger

    from ..engine import load_config
    from ..predictor import Predictor

    setup_logger(name="effps_solo")
    paths = find_images(args.input)
    if not paths:
        logger.error("no image found in %s", ", ".join(args.input))
        return 1
    overrides = list(args.opts)
    if args.confidence_threshold is not None:
        overrides += ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", str(args.confidence_threshold)]
    cfg = load_config(args.config_file, overrides, allow_unsafe=args.allow_unsafe)
    if cfg.MODEL.SEM_SEG_HEAD.NAME:
        cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    else:
        logger.info("the model has no semantic head (MODEL.SEM_SEG_HEAD.NAME is ''): things only")
        cfg.MODEL.OUTPUTS = ["instances"]
    writer = PanopticWriter(Path(args.output), cfg.DATASETS.TRAIN[0])
    predictor = Predictor(cfg, allow_unsafe=args.allow_unsafe)
    return _process_all(paths, predictor, writer)


def _process_all(paths: Sequence[Path], predictor: Any, writer: "PanopticWriter") -> int:
    """The exit status; ``panoptic.json`` is written however it ends."""
    failed: List[str] = []
    try:
        for path in paths:
            if not _process(path, predictor, writer):
                failed.append(str(path))
    except KeyboardInterrupt:
        logger.error("stopped after %d of %d images", len(writer), len(paths))
        return INTERRUPTED
    finally:
        writer.write_json()
    if failed:
        logger.error("%d of %d images failed: %s", len(failed), len(paths), ", ".join(failed))
    return 1 if failed else 0


def find_images(inputs: Sequence[str]) -> List[Path]:
    """Files as given, and the images of folders in alphabetical order."""
    paths: List[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            paths.extend(inside)
        else:
            paths.append(path)
    return paths


def _process(path: Path, predictor: Any, writer: "PanopticWriter") -> bool:
    from ..image_io import ImageError, read_image

    try:
        image = read_image(path, predictor.image_format)
    except ImageError as error:
        logger.error("skipped: %s", error)
        return False
    panoptic_seg, segments_info = predictor.panoptic(image)
    if predictor.image_format == "BGR":
        image = image[..., ::-1]
    writer.add(path, image, panoptic_seg.cpu().numpy(), segments_info)
    things = sum(s["isthing"] for s in segments_info)
    logger.info("%s: %d things, %d stuff regions", path, things, len(segments_info) - things)
    return True


class PanopticWriter:
    """Writes ``NAME_overlay.png``, ``NAME_panoptic.png`` and one ``panoptic.json`` to a folder.

    The PNG and the JSON are in COCO panoptic layout: id = R + 256 G + 65536 B, 0 is void, and
    ``category_id`` is the id of the data set's own files.
    """

    def __init__(self, folder: Path, dataset_name: str) -> None:
        """
        Args:
            folder: created when missing.
            dataset_name: whose metadata name and colour the classes.

        Raises:
            UserError: nothing can be written to ``folder``.
        """
        from detectron2.data import MetadataCatalog

        from ..label_space import PanopticLabelSpace

        self.folder = folder
        make_writable(folder)
        self.metadata = MetadataCatalog.get(dataset_name)
        self.label_space = PanopticLabelSpace.from_metadata(self.metadata)
        self.images: List[Dict[str, Any]] = []
        self.annotations: List[Dict[str, Any]] = []
        self._names: Set[str] = set()

    def __len__(self) -> int:
        """Number of images so far."""
        return len(self.images)

    def add(
        self,
        path: Path,
        image: np.ndarray,
        panoptic_seg: np.ndarray,
        segments_info: List[Dict[str, Any]],
    ) -> None:
        """
        Args:
            path: of the image.
            image: (H, W, 3) uint8 RGB.
            panoptic_seg, segments_info: the model's output.

        Raises:
            UserError: a picture could not be written.
        """
        name = self._unique_name(path.stem)
        segments = [self._segment(s, panoptic_seg) for s in segments_info]
        overlay = draw_overlay(image, panoptic_seg, segments_info, self.metadata)
        _save(ids_to_rgb(panoptic_seg), self.folder / f"{name}_panoptic.png")
        _save(overlay, self.folder / f"{name}_overlay.png")
        height, width = panoptic_seg.shape
        image_id = len(self.images) + 1
        self.images.append(
            {"id": image_id, "file_name": path.name, "height": height, "width": width}
        )
        self.annotations.append(
            {
                "image_id": image_id,
                "file_name": f"{name}_panoptic.png",
                "segments_info": segments,
            }
        )

    def write_json(self) -> Path:
        """Write ``panoptic.json``; returns its path. Raises UserError when that fails."""
        names = self.metadata.thing_classes
        categories = [
            {
                "id": self.label_space.dataset_id(c),
                "name": (
                    names[c] if self.label_space.is_thing(c) else self.metadata.stuff_classes[c]
                ),
                "isthing": int(self.label_space.is_thing(c)),
            }
            for c in range(self.label_space.num_classes)
        ]
        path = self.folder / JSON_NAME
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        try:
            path.write_text(json.dumps(content))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        return path

    def _segment(self, segment: Dict[str, Any], panoptic_seg: np.ndarray) -> Dict[str, Any]:
        y, x = np.nonzero(panoptic_seg == segment["id"])
        x0, y0 = int(x.min()), int(y.min())
        return {
            "id": segment["id"],
            "category_id": self.label_space.dataset_id(segment["category_id"]),
            "isthing": int(segment["isthing"]),
            "iscrowd": 0,
            "score": round(float(segment["score"]), 4),
            "area": int(segment["area"]),
            "bbox": [x0, y0, int(x.max()) + 1 - x0, int(y.max()) + 1 - y0],
        }

    def _unique_name(self, stem: str) -> str:
        """``stem``, with a number when the results of another input have that name."""
        name, count = stem, 0
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name


def _save(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    try:
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from error


def draw_overlay(
    image: np.ndarray,
    panoptic_seg: np.ndarray,
    segments_info: List[Dict[str, Any]],
    metadata: Any,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the prediction over ``image``, by Detectron2's Visualizer."""
    import torch
    from detectron2.utils.visualizer import Visualizer

    scale = max(1.0, 1024 / max(image.shape[:2]))  # labels on small pictures stay readable
    visualizer = Visualizer(image, metadata, scale=scale)
    drawing = visualizer.draw_panoptic_seg(torch.from_numpy(panoptic_seg), segments_info)
    return drawing.get_image()
