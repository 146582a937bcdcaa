"""Panoptic quality (Kirillov et al., CVPR 2019) by panopticapi, also of every class and image."""

import contextlib
import functools
import io
import itertools
import json
import logging
import operator
import os
import shutil
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

from detectron2.evaluation import COCOPanopticEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from effps_solo.structures.classes import classes_from_metadata
from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.machine import num_cores

from . import quality
from .boundary import add_boundary_ious, boundary_scores
from .matching import ImageSegments, match_segments
from .quality import TITLES, Categories, Scores
from .record import PREDICTIONS_FOLDER, EvaluatedImage, EvaluationRecord

logger = logging.getLogger(__name__)

PER_IMAGE_NAME = "panoptic_per_image.csv"
Pair = Tuple[Dict[str, Any], Dict[str, Any]]  # annotation and prediction of an image
_OF_CLASS = ("pq", "boundary_pq")  # also given for every class
_SEGMENT_KEYS: Dict[str, type] = {"id": int, "category_id": int, "isthing": bool, "score": float}


class PanopticEvaluator(COCOPanopticEvaluator):
    """Detectron2's evaluator of PQ, with the PQ of every class and a table of all images.

    Also unlike Detectron2's: the model's ``segments_info`` stay as they are, images of equal names
    in different folders are distinguished, a data set without things or without stuff is no error
    (its PQ_th or PQ_st is nan), and threads count the pixels, so no process is forked.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        image_ids: Optional[Collection[Any]] = None,
        boundary_ratio: float = 0.02,
    ) -> None:
        """
        Args:
            dataset_name: of a data set with panoptic ground truth.
            output_dir: the folder of predictions.json with predictions/*.png, COCO's format of
                results, of panoptic_per_image.csv and of evaluation.json, which a report needs.
            image_ids: of the images to judge; None: all of the data set.
            boundary_ratio: the width of the band of Boundary IoU, as a share of the image's diagonal.
        """
        super().__init__(dataset_name, output_dir)
        self._image_ids = image_ids
        self._boundary_ratio = boundary_ratio
        self._predictions: List[Dict[str, Any]] = []

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """Take the "panoptic_seg" of every output."""
        start = len(self._predictions)
        super().process(inputs, [_without_extras(output) for output in outputs])
        for record, prediction in zip(inputs, self._predictions[start:]):
            prediction["image_file"] = record["file_name"]
            prediction["file_name"] = quote(str(prediction["image_id"]), safe="") + ".png"

    def evaluate(self) -> Optional[Dict[str, Scores]]:
        """
        Returns:
            on the main process {"panoptic_seg": {PQ, SQ, RQ, Boundary_PQ, Boundary_IoU, PQ_th, ...,
            Boundary_IoU_st, PQ-<class>, Boundary_PQ-<class>}} in percent, see
            :func:`.boundary.boundary_scores`; classes that neither ground truth nor predictions hold
            are nan.

        Raises:
            ValueError: an image that is to be judged has no prediction.
        """
        comm.synchronize()
        gathered = comm.gather(self._predictions)
        if not comm.is_main_process():
            return None
        predictions = list(itertools.chain(*gathered))
        with open(self._metadata.panoptic_json, encoding="utf-8-sig") as file:
            truth = json.load(file)
        categories = {category["id"]: category for category in truth["categories"]}
        image_files = {p["image_id"]: p.pop("image_file") for p in predictions}
        folder = self._write_predictions(predictions)
        annotations = truth["annotations"]
        if self._image_ids is not None:
            annotations = [a for a in annotations if a["image_id"] in self._image_ids]
        pairs = _pairs(annotations, predictions, self._metadata.panoptic_json)
        judged = self._judge_all(pairs, folder, categories)
        names = {image["id"]: image["file_name"] for image in truth.get("images", ())}
        images, rows = [], []
        for (annotation, prediction), (statistics, segments) in zip(pairs, judged):
            image_id = annotation["image_id"]
            image = EvaluatedImage(
                image_id=image_id,
                name=names.get(image_id) or annotation["file_name"],
                image_file=image_files[image_id],
                truth_file=os.path.join(self._metadata.panoptic_root, annotation["file_name"]),
                prediction_file=prediction["file_name"],
                segments=segments,
            )
            images.append(image)
            rows.append(quality.image_row(image_id, image.name, statistics, categories))
        path = os.path.join(self._output_dir, PER_IMAGE_NAME)
        quality.write_rows(rows, path)
        logger.info("Panoptic quality of every image, worst first: %s", path)
        classes = classes_from_metadata(self._metadata)
        EvaluationRecord(self._metadata.name, classes, tuple(images)).write(self._output_dir)
        borders = boundary_scores([segments for _, segments in judged], classes)
        return self._results([statistics for statistics, _ in judged], borders, categories)

    def _write_predictions(self, predictions: Sequence[Dict[str, Any]]) -> str:
        """COCO's format of results: predictions.json and a folder of PNGs. Returns the folder."""
        folder = os.path.join(self._output_dir, PREDICTIONS_FOLDER)
        shutil.rmtree(folder, ignore_errors=True)  # of another data set, perhaps
        os.makedirs(folder)
        for prediction in predictions:
            with open(os.path.join(folder, prediction["file_name"]), "wb") as png:
                png.write(prediction.pop("png_string"))
        with open(os.path.join(self._output_dir, "predictions.json"), "w") as file:
            json.dump({"annotations": predictions}, file)
        return folder

    def _judge_all(
        self, pairs: Sequence[Pair], folder: str, categories: Categories
    ) -> List[Tuple[Any, ImageSegments]]:
        """panopticapi's ``PQStat`` of every image, and its segments for the report.

        panopticapi's own function for all images takes a process for every core.
        """
        from panopticapi.evaluation import pq_compute_single_core

        root = self._metadata.panoptic_root

        def judge(pair: Pair) -> Tuple[Any, ImageSegments]:
            annotation, prediction = pair
            truth_file = os.path.join(root, annotation["file_name"])
            try:
                statistics = pq_compute_single_core(0, [pair], root, folder, categories)
            except ValueError as error:
                raise ValueError(
                    f"{truth_file} and the prediction for image {annotation['image_id']} cannot be "
                    f"compared: {error}"
                ) from error
            true_ids = read_segment_ids(truth_file)
            ids = read_segment_ids(os.path.join(folder, prediction["file_name"]))
            true_info, info = annotation["segments_info"], prediction["segments_info"]
            segments = match_segments(true_ids, true_info, ids, info)
            return statistics, add_boundary_ious(segments, true_ids, ids, self._boundary_ratio)

        with contextlib.redirect_stdout(io.StringIO()):
            with ThreadPoolExecutor(num_cores()) as threads:
                return list(threads.map(judge, pairs))

    def _results(
        self, per_image: Sequence[Any], borders: Mapping[int, Scores], categories: Categories
    ) -> Dict[str, Scores]:
        from panopticapi.evaluation import PQStat

        total = functools.reduce(operator.iadd, per_image, PQStat())
        per_class = {
            key: {**quality.class_scores(total[key]), **borders[key]} for key in categories
        }
        result: Scores = {}
        table = []
        for group, suffix, isthing in quality.GROUPS:
            scores, count = quality.group_scores(per_class, categories, isthing)
            result.update({f"{_key(title)}{suffix}": scores[k] for k, title in TITLES.items()})
            table.append([group, *(scores[key] for key in TITLES), count])
        for key, scores in per_class.items():
            name = categories[key]["name"]
            for measure in _OF_CLASS:
                result[f"{_key(TITLES[measure])}-{name}"] = scores[measure]
            table.append([name, *(scores[key] for key in TITLES), ""])
        lost = [
            f"{categories[key]['name']} ({total[key].fn})"
            for key in categories
            if total[key].fn and not total[key].tp
        ]
        text = tabulate(table, headers=["", *TITLES.values(), "classes"], floatfmt=".2f")
        logger.info("Panoptic quality on %s, in percent:\n%s", self._metadata.name, text)
        if lost:
            logger.info(
                "Never found on %d images (true segments): %s",
                len(per_image),
                ", ".join(lost),
            )
        return OrderedDict({"panoptic_seg": result})


def _key(title: str) -> str:
    return title.replace(" ", "_")


def _without_extras(output: Dict[str, Any]) -> Dict[str, Any]:
    """A copy of an output that Detectron2's evaluator can change and write as JSON."""
    panoptic_seg, segments = output["panoptic_seg"]
    if segments is not None:
        segments = [
            {key: kind(segment[key]) for key, kind in _SEGMENT_KEYS.items() if key in segment}
            for segment in segments
        ]
    return {"panoptic_seg": (panoptic_seg, segments)}


def _pairs(
    annotations: Sequence[Dict[str, Any]], predictions: Sequence[Dict[str, Any]], file: str
) -> List[Pair]:
    by_image = {prediction["image_id"]: prediction for prediction in predictions}
    missing = [a["image_id"] for a in annotations if a["image_id"] not in by_image]
    if missing:
        raise ValueError(
            f"{len(missing)} images of {file} have no prediction, among them {missing[0]}; "
            "evaluate the whole data set"
        )
    return [(annotation, by_image[annotation["image_id"]]) for annotation in annotations]
