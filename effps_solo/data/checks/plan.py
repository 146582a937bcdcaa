"""From the JSON and the folders of a data set to one job for every image."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from effps_solo.data.datasets.files import (
    DatasetError,
    examples,
    files_below,
    overlays_of,
    read_json_object,
)
from effps_solo.utils.image_io import IMAGE_SUFFIXES

from .entries import (
    AnnotationEntry,
    Category,
    ImageEntry,
    category_difference,
    read_annotations,
    read_categories,
    read_images,
)
from .findings import Finding
from .images import ImageJob
from .instance_masks import InstanceMask

JSON_KEYS = ("images", "annotations", "categories")
# In its panoptic JSON cityscapesscripts names images after the label files.
_CITYSCAPES_NAME, _CITYSCAPES_FILE = "_gtFine_leftImg8bit.png", "_leftImg8bit.png"


@dataclass(frozen=True)
class PanopticSource:
    """Where a data set in COCO panoptic layout lies.

    Attributes:
        name: for messages.
        images, panoptic_png: folders; files may lie in folders below them.
        panoptic_json: the annotations.
        classes: dataset id -> category, where they are fixed; None: as the JSON lists them.
        instances_json: COCO instance annotations of the same images, or "".
    """

    name: str
    images: str
    panoptic_png: str
    panoptic_json: str
    classes: Optional[Mapping[int, Category]] = None
    instances_json: str = ""


@dataclass
class Folder:
    """The files below a folder, and which of them the JSON lists; paths relative to it."""

    path: str
    present: Set[str] = field(default_factory=set)
    listed: Set[str] = field(default_factory=set)

    def find(self, name: str) -> Optional[str]:
        """The path of the file that an entry calls ``name``; None where there is none."""
        name = os.path.normpath(name)
        if name not in self.present:
            return None
        self.listed.add(name)
        return os.path.join(self.path, name)


@dataclass
class DatasetPlan:
    """A data set before its files are read.

    Attributes:
        classes: dataset id -> category.
        listed_classes: the same as the JSON has it.
        jobs: one for every annotation and every image without.
        findings: about the JSON and the folders.
        image_folder, png_folder: None where they do not exist.
    """

    source: PanopticSource
    classes: Dict[int, Category] = field(default_factory=dict)
    listed_classes: Dict[int, Category] = field(default_factory=dict)
    jobs: List[ImageJob] = field(default_factory=list)
    findings: List[Finding] = field(default_factory=list)
    image_folder: Optional[Folder] = None
    png_folder: Optional[Folder] = None


def plan_dataset(source: PanopticSource) -> DatasetPlan:
    """Read the JSON and list the folders; what is wrong with them becomes findings."""
    plan = DatasetPlan(source)
    content = _read_json(source.panoptic_json, JSON_KEYS, plan.findings)
    plan.image_folder = _folder(source.images, plan.findings)
    plan.png_folder = _folder(source.panoptic_png, plan.findings)
    if content is None:
        return plan
    plan.listed_classes, findings = read_categories(content["categories"])
    plan.classes = dict(source.classes or plan.listed_classes)
    if not content["images"]:
        subject = os.path.basename(source.panoptic_json)
        plan.findings.append(Finding("empty-split", subject, "lists no image"))
    images, more = read_images(content["images"])
    annotations, most = read_annotations(content["annotations"], plan.classes)
    plan.findings += findings + more + most + _pair_findings(images, annotations)
    plan.findings += _fixed_class_findings(source, plan.listed_classes)
    _add_jobs(plan, images, annotations, _instance_masks(source, plan.findings))
    return plan


def _read_json(
    path: str, keys: Tuple[str, ...], findings: List[Finding]
) -> Optional[Dict[str, Any]]:
    try:
        return read_json_object(path, keys)
    except FileNotFoundError:
        findings.append(Finding("unreadable-json", path, "is missing"))
    except (DatasetError, OSError) as error:
        findings.append(Finding("unreadable-json", os.path.basename(path), f"({error})"))
    return None


def _folder(path: str, findings: List[Finding]) -> Optional[Folder]:
    if not os.path.isdir(path):
        findings.append(Finding("missing-folder", path, "is not a folder"))
        return None
    return Folder(path, files_below(path))


def _pair_findings(
    images: Mapping[Any, ImageEntry], annotations: List[AnnotationEntry]
) -> List[Finding]:
    """Images without annotation and annotations without image."""
    findings = [
        Finding(
            "annotation-without-image",
            annotation.file_name or f"annotation {annotation.position}",
            f"has image_id {annotation.image_id}, which 'images' does not list",
        )
        for annotation in annotations
        if annotation.image_id not in images
    ]
    annotated = {annotation.image_id for annotation in annotations}
    for image in images.values():
        if image.id not in annotated:
            text = f"(id {image.id}) has no annotation"
            findings.append(Finding("image-without-annotation", image.file_name, text))
    return findings


def _fixed_class_findings(source: PanopticSource, listed: Mapping[int, Category]) -> List[Finding]:
    """Categories of the JSON that the registered data set has otherwise; names may differ."""
    subject, fixed = os.path.basename(source.panoptic_json), source.classes or {}
    text = "has category {} with isthing {:d}"
    return [
        Finding("inconsistent-categories", subject, text.format(category_id, category.is_thing))
        for category_id, category in listed.items()
        if fixed.get(category_id, category).is_thing != category.is_thing
    ]


def _instance_masks(
    source: PanopticSource, findings: List[Finding]
) -> Dict[Any, List[InstanceMask]]:
    """Image id -> masks that are no crowd."""
    masks: Dict[Any, List[InstanceMask]] = defaultdict(list)
    content = None
    if source.instances_json:
        content = _read_json(source.instances_json, ("annotations",), findings)
    for annotation in content["annotations"] if content else ():
        if not annotation.get("iscrowd"):
            mask = InstanceMask(annotation.get("id", "?"), annotation.get("segmentation"))
            masks[annotation.get("image_id")].append(mask)
    return masks


def _add_jobs(
    plan: DatasetPlan,
    images: Mapping[Any, ImageEntry],
    annotations: List[AnnotationEntry],
    masks: Dict[Any, List[InstanceMask]],
) -> None:
    """An image's ``masks`` go with its first job."""
    files = {image.id: _image_file(plan, image.file_name) for image in images.values()}
    annotated = {annotation.image_id for annotation in annotations}
    bare = [AnnotationEntry(None, i, None, None) for i in images if i not in annotated]
    for annotation in (*annotations, *bare):
        image, png_file = images.get(annotation.image_id), None
        if annotation.file_name is not None and plan.png_folder is not None:
            png_file = plan.png_folder.find(annotation.file_name)
            if png_file is None:
                text = f"is not in {plan.png_folder.path}"
                plan.findings.append(Finding("missing-png", annotation.file_name, text))
        plan.jobs.append(
            ImageJob(
                image_name=image.file_name if image else "",
                png_name=annotation.file_name or "",
                image_file=files[image.id] if image else None,
                png_file=png_file,
                size=image.size if image else None,
                segments=annotation.segments,
                masks=masks.pop(annotation.image_id, []),
                annotation_index=annotation.position,
            )
        )


def _image_file(plan: DatasetPlan, name: str) -> Optional[str]:
    folder = plan.image_folder
    if folder is None:
        return None
    found = folder.find(name)
    if found is None and name.endswith(_CITYSCAPES_NAME):
        stem = os.path.basename(name).removesuffix(_CITYSCAPES_NAME)
        found = folder.find(os.path.join(stem.split("_")[0], stem + _CITYSCAPES_FILE))
    if found is None:
        plan.findings.append(Finding("missing-image", name, f"is not in {folder.path}"))
    return found


def add_set_findings(plans: List[DatasetPlan], known: Sequence[DatasetPlan] = ()) -> None:
    """Findings about data sets together: their categories, and files that none of them lists.

    Args:
        known: data sets of which nothing is to be found.
    """
    free = [plan for plan in plans if plan.source.classes is None and plan.listed_classes]
    for plan in free[1:]:
        if difference := category_difference(free[0].listed_classes, plan.listed_classes):
            text = f"differs from {free[0].source.panoptic_json}: {difference}"
            subject = os.path.basename(plan.source.panoptic_json)
            plan.findings.append(Finding("inconsistent-categories", subject, text))
    every = [*plans, *known]
    images = set().union(
        *(_files(plan.image_folder, listed=True) | _files(plan.png_folder) for plan in every)
    )
    pngs = set().union(*(_files(plan.png_folder, listed=True) for plan in every))
    pngs |= overlays_of(pngs)
    for plan in (plan for plan in plans if plan.jobs):
        _add_unlisted(plan, "unlisted-image", plan.image_folder, IMAGE_SUFFIXES, images)
        _add_unlisted(plan, "unlisted-png", plan.png_folder, (".png",), pngs)


def _files(folder: Optional[Folder], *, listed: bool = False) -> Set[str]:
    """The files of a folder, or those that entries name, by one path whatever folder they are seen from."""
    if folder is None:
        return set()
    root = os.path.realpath(folder.path)
    return {os.path.join(root, name) for name in (folder.listed if listed else folder.present)}


def _add_unlisted(
    plan: DatasetPlan,
    kind: str,
    folder: Optional[Folder],
    suffixes: Tuple[str, ...],
    listed: Set[str],
) -> None:
    """Splits may share a folder: a file is unlisted when no split lists it, and told once."""
    present = {name for name in _files(folder) if name.lower().endswith(suffixes)}
    unlisted = present - listed
    listed |= unlisted
    if folder is not None and unlisted:
        root = os.path.realpath(folder.path)
        names = examples(os.path.relpath(name, root) for name in unlisted)
        text = f"holds {len(unlisted)} files that no entry names: {names}"
        plan.findings.append(Finding(kind, folder.path, text))
