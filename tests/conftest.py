"""Set-up shared by all tests, and the option ``--strict-skips``."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest

# Detectron2 reads the data root when it is imported. Tests never see the data sets of the machine, except
# through the fixture data_root.
_USER_DATA_ROOT = os.environ.get("DETECTRON2_DATASETS")
_EMPTY_ROOT = tempfile.TemporaryDirectory(prefix="effps_solo_no_datasets_")
os.environ["DETECTRON2_DATASETS"] = _EMPTY_ROOT.name

MISSING_PACKAGE = re.compile(r"could not import|No module named|not installed|missing package")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="a test or module that is skipped because a package is missing fails",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    _fail_on_missing_package(item.config, outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    outcome: Any = yield
    _fail_on_missing_package(collector.config, outcome.get_result())


def _fail_on_missing_package(config: pytest.Config, report: Any) -> None:
    if not config.getoption("--strict-skips") or report.outcome != "skipped":
        return
    if hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = str(report.longrepr[2])
    if MISSING_PACKAGE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"skipped for a missing package: {reason}"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and the workers of pytest-xdist do not fight for cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def data_root() -> Path:
    """The user's own DETECTRON2_DATASETS; the test is skipped without one."""
    root: Optional[str] = _USER_DATA_ROOT
    if not root or not Path(root).is_dir():
        pytest.skip("data set absent: DETECTRON2_DATASETS is not set to a folder")
    return Path(root)


@pytest.fixture
def project_root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parents[1]
