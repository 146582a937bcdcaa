#!/usr/bin/env python3
"""Makes or completes the environment .venv; everything in place takes well under a second.

    sh tools/setup_env.sh           what training, evaluation and the demo need
    sh tools/setup_env.sh --dev     also what tests and checks need

Environment variables:
    PYTHON             the interpreter to make .venv with (3.10 to 3.13)
    DETECTRON2         "source" builds upstream Detectron2 where none is importable (git, C++ compiler)
    TORCH_INDEX_URL    another package index for torch and torchvision, e.g. one of CPU-only builds
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = "requirements.txt"
DEV_REQUIREMENTS = "requirements-dev.txt"
DETECTRON2_FILES = "sal-detectron2==0.7.2"
DETECTRON2_SOURCE = "git+https://github.com/facebookresearch/detectron2.git"
# Its pin of an old numpy is not needed: installed without its dependencies.
WITHOUT_DEPENDENCIES = ["panopticapi-lite==0.2.0"]
STAMP = "effps_solo_setup.json"
CHECK = "import cv2, detectron2.modeling, panopticapi, pycocotools, timm, torchvision, effps_solo"


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


class Environment:
    """A virtual environment and the steps that fill it."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: of the environment, which need not exist.
        """
        self.folder = folder
        self.python = folder / "bin" / "python"

    def works(self) -> bool:
        """Whether its Python and its pip start."""
        return self.python.exists() and succeeds([str(self.python), "-m", "pip", "--version"])

    def create(self) -> None:
        """Make it, or make it anew when it does not work. Raises SetupError on another version."""
        if self.works():
            self._require_version()
            return
        say(f"making {self.folder} with Python {sys.version.split()[0]} ({sys.executable})")
        run([base_python(), "-m", "venv", "--clear", str(self.folder)])

    def _require_version(self) -> None:
        version = self.ask("import sys; print('%d.%d' % sys.version_info[:2])")
        own = "%d.%d" % sys.version_info[:2]
        if version != own:
            raise SetupError(
                f"{self.folder} was made with Python {version}, PYTHON is {own}: remove {self.folder} "
                "or leave PYTHON unset"
            )

    def ask(self, code: str) -> str:
        """What ``code`` prints in the environment."""
        result = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True)
        if result.returncode:
            raise SetupError(f"{self.python} failed:\n{result.stderr.strip()}")
        return result.stdout.strip()

    def pip_install(self, *arguments: str) -> None:
        """Run ``pip install``. Bytecode is left to the first import, which is a good deal faster."""
        command = [str(self.python), "-m", "pip", "install", "--no-compile", *arguments]
        run([*command, "--quiet", "--disable-pip-version-check"])

    def site_packages(self) -> Path:
        """The folder of the pure Python packages."""
        return Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))

    def remove_half_installed(self) -> None:
        """Forget packages whose installation was killed, so that pip installs them again.

        pip writes INSTALLER and RECORD last; metadata without them look installed to it.
        """
        for metadata in self.site_packages().glob("*.dist-info"):
            if not all((metadata / name).exists() for name in ("INSTALLER", "RECORD")):
                say(f"{metadata.name} is incomplete and will be installed again")
                shutil.rmtree(metadata)

    def install_requirements(self, dev: bool) -> None:
        """The pinned requirements; torch and torchvision always in one command."""
        index = os.environ.get("TORCH_INDEX_URL")
        if index:
            say(f"torch and torchvision from {index}")
            self.pip_install(*torch_pair(ROOT / REQUIREMENTS), "--index-url", index)
        files = [REQUIREMENTS] + ([DEV_REQUIREMENTS] if dev else [])
        say(f"installing {' and '.join(files)}; the first time downloads several GB for torch")
        self.pip_install(*(word for name in files for word in ("-r", str(ROOT / name))))
        self.pip_install("--no-deps", *WITHOUT_DEPENDENCIES)

    def install_detectron2(self) -> None:
        """Keep an importable Detectron2; else install the wheel's Python files or build upstream."""
        if succeeds([str(self.python), "-c", "import detectron2"]):
            where = self.ask("import detectron2; print(detectron2.__path__[0])")
            say(f"keeping Detectron2 in {where}")
        elif os.environ.get("DETECTRON2") == "source":
            say("building upstream Detectron2 from source (some minutes)")
            self.pip_install("setuptools", "wheel", "ninja")
            self.pip_install("--no-build-isolation", "--no-deps", DETECTRON2_SOURCE)
        else:
            say(
                f"installing the Python files of {DETECTRON2_FILES} (compiled parts are not needed)"
            )
            self._install_detectron2_files()

    def _install_detectron2_files(self) -> None:
        """The wheel is tagged for CPython 3.10 alone, hence --python-version and --target.

        It is unpacked beside and moved in by renaming, metadata last: a killed call leaves nothing that
        looks installed.
        """
        site_packages = self.site_packages()
        target = self.folder / "detectron2_files"
        shutil.rmtree(target, ignore_errors=True)
        wheel_only = ["--python-version", "3.10", "--only-binary=:all:"]
        self.pip_install("--no-deps", "--target", str(target), *wheel_only, DETECTRON2_FILES)
        for entry in sorted(target.iterdir(), key=lambda path: path.name.endswith(".dist-info")):
            destination = site_packages / entry.name
            if destination.is_dir():
                shutil.rmtree(destination)
            entry.replace(destination)
        shutil.rmtree(target)

    def install_project(self) -> None:
        """This project, editable. Its setuptools came with torch, so that nothing is downloaded."""
        self.pip_install("--no-deps", "--no-build-isolation", "--editable", str(ROOT))

    def check(self) -> None:
        """Import what matters. Raises SetupError with the fix."""
        result = subprocess.run([str(self.python), "-c", CHECK], capture_output=True, text=True)
        if result.returncode:
            raise SetupError(
                f"the environment is complete but does not import:\n{result.stderr.strip()}\n"
                f"`{self.python} -m effps_solo env` says more; removing {self.folder} starts afresh"
            )


def base_python() -> str:
    """The interpreter behind the running one, which may be the broken environment's own."""
    return getattr(sys, "_base_executable", "") or sys.executable


def succeeds(command: Sequence[str]) -> bool:
    """Whether ``command`` ends with status 0; its output is dropped."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def run(command: Sequence[str]) -> None:
    """Run ``command``. Raises SetupError when it fails."""
    status = subprocess.run(command).returncode
    if status:
        raise SetupError(f"failed with status {status}: {' '.join(command)}")


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"[setup] {text}", flush=True)


def torch_pair(path: Path) -> List[str]:
    """The pinned requirements of torch and torchvision in a requirements file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"(torch|torchvision)==", line)]


def fingerprint(dev: bool) -> str:
    """Hash of everything that decides what is installed, and of where the project lies."""
    names = ["setup.py", REQUIREMENTS, "tools/setup_env.py"] + ([DEV_REQUIREMENTS] if dev else [])
    digest = hashlib.sha256(str(ROOT).encode())
    for name in names:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(path: Path) -> Dict[str, Optional[str]]:
    """The fingerprints of the last complete set-up by kind; {} when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_complete(environment: Environment, dev: bool) -> bool:
    """Whether the last set-up ended well and nothing has changed since."""
    stamp = read_stamp(environment.folder / STAMP)
    kind = "dev" if dev else "run"
    same_python = not os.environ.get("PYTHON") or stamp.get("python") == sys.version.split()[0]
    return environment.python.exists() and same_python and stamp.get(kind) == fingerprint(dev)


def set_up(environment: Environment, dev: bool) -> None:
    """All steps; each of them leaves alone what is in place already."""
    start = time.monotonic()
    environment.create()
    environment.remove_half_installed()
    environment.install_requirements(dev)
    environment.install_detectron2()
    environment.install_project()
    environment.check()
    stamp: Dict[str, Optional[str]] = {"python": sys.version.split()[0], "run": fingerprint(False)}
    old = read_stamp(environment.folder / STAMP)
    stamp["dev"] = fingerprint(True) if dev or old.get("dev") == fingerprint(True) else None
    (environment.folder / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    say(f"ready in {time.monotonic() - start:.0f} s: {environment.folder}")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dev", action="store_true", help="also the tools for tests and checks")
    args = parser.parse_args(arguments)
    environment = Environment(ROOT / ".venv")
    try:
        if not is_complete(environment, args.dev):
            set_up(environment, args.dev)
    except SetupError as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
