"""The README and the pages: links lead somewhere, commands can be typed, the site builds."""

import argparse
import ast
import importlib
import json
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from effps_solo.__main__ import COMMANDS
from effps_solo.comparison.metrics import means_by_metric

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
_CODE_LINE = re.compile(r"^    (\S.*)$", re.MULTILINE)


def commands() -> Iterator[Tuple[str, List[str]]]:
    """(page, words) of every ``python -m effps_solo ...`` in a code block."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in _CODE_LINE.findall(text):
            found = re.search(r"python -m effps_solo (.*)", line)
            if found:
                yield page.name, shlex.split(found.group(1), comments=True)


@pytest.mark.parametrize("page, words", list(commands()))
def test_commands_can_be_typed(page: str, words: List[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"effps_solo.cli.{name.replace('-', '_')}").add_arguments(parser)
    args = parser.parse_args(rest)
    config = getattr(args, "config_file", None) or ""
    assert not config.startswith("configs/") or (ROOT / config).is_file()


def test_the_pages_show_commands() -> None:
    assert {words[0] for _, words in commands()} >= set(COMMANDS) - {"replay"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert not missing
    configs = re.findall(r"`(configs/[\w/.-]+\.yaml)`", text)
    assert all((ROOT / config).is_file() for config in configs)


def files_named_in(text: str) -> Iterator[str]:
    """Files and folders of the checkout, as pages write them: whole, or below the package or a room."""
    own = {path.name for folder in (ROOT, ROOT / "effps_solo") for path in folder.iterdir()}
    for name in re.findall(r"`([\w./-]+)`", text):
        first = name.split("/")[0]
        is_placeholder = "NAME" in name or first == "output" or first.startswith("my_")
        if not is_placeholder and (re.search(r"\w\.py$", name) or ("/" in name and first in own)):
            yield name.rstrip("/")


def modules_named_in(text: str) -> Iterator[str]:
    """Dotted names of the package; of a table of old and new names the new ones."""
    for line in text.splitlines():
        yield from re.findall(r"effps_solo(?:\.\w+)+", line.split(" | ")[-1])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "datasets" / "README.md"], ids=lambda p: p.name)
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = [ROOT / name for name in (".ci", "configs", "docs", "effps_solo", "tests", "tools")]
    paths = [*ROOT.iterdir(), *ROOT.glob("datasets/*"), *(x for f in folders for x in f.rglob("*"))]
    files = {f"/{path.relative_to(ROOT)}" for path in paths}
    gone = {n for n in files_named_in(text) if not any(f.endswith(f"/{n}") for f in files)}
    assert not gone
    for name in modules_named_in(text):
        if "NAME" not in name:
            assert pkgutil.resolve_name(name)


def test_what_is_named_is_found_in_text() -> None:
    text = "`a/b.py`, `docs/data.md`, `modeling/fusion/`, `output/x`, `NAME.py`, `c.py`, a/d.py"
    assert list(files_named_in(text)) == ["a/b.py", "docs/data.md", "modeling/fusion", "c.py"]
    assert list(modules_named_in("| `effps_solo.a` | `effps_solo.b.c` |")) == ["effps_solo.b.c"]
    assert list(modules_named_in("from effps_solo.a import x")) == ["effps_solo.a"]


def test_the_figures_are_the_same_everywhere() -> None:
    table = [
        line for line in PAGES[0].read_text().splitlines() if re.match(r"\| `\w+/effps_", line)
    ]
    assert len(table) >= 4
    assert set(table) <= set((ROOT / "docs" / "models.md").read_text().splitlines())


def test_the_comparison_tells_what_was_measured() -> None:
    """Every row holds the means over the seeds of one method, of the results beside the pages."""
    names = {"quickstart": "generated scenes"}
    summary = json.loads((ROOT / "docs" / "comparison" / "comparison.json").read_text())
    expected = set()
    for data_set, measured in summary["data_sets"].items():
        for method, found in measured["methods"].items():
            mean = means_by_metric(list(found["seeds"].values()))
            told = {key: value for key, value in found["mean"].items() if value is not None}
            assert told == pytest.approx({key: mean[key] for key in told})
            figures = [f"{mean[key]:.1f}" for key in ("PQ", "PQ_th", "PQ_st", "AP")]
            figures += [f"{mean['parameters'] / 1e6:.1f} M", f"{mean['macs'] / 1e9:.1f}"]
            minutes, seconds = found["mean"]["training_seconds"], found["mean"]["inference_seconds"]
            figures += ["-" if minutes is None else f"{minutes / 60:.0f} min"]
            figures += ["-" if seconds is None else f"{1e3 * seconds:.0f} ms"]
            expected.add(" | ".join([names.get(data_set, data_set), method, *figures]))
    assert len(expected) == 9
    _check_summary(summary)
    for page in (ROOT / "README.md", ROOT / "docs" / "models.md"):
        lines = page.read_text(encoding="utf-8").replace("**", "").splitlines()
        assert expected <= {line.strip("| ") for line in lines}


def _check_summary(summary: Dict[str, Any]) -> None:
    """It is that of the results beside it."""
    paths = list((ROOT / "docs" / "comparison").glob("*/*/seed*/result.json"))
    results = [json.loads(path.read_text()) for path in paths]
    seeds = [
        result
        for data_set in summary["data_sets"].values()
        for method in data_set["methods"].values()
        for result in method["seeds"].values()
    ]
    assert len(results) == len(seeds) and all(result in seeds for result in results)


def test_no_command_stands_outside_a_code_block() -> None:
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith((".venv/", "make ", "docker "))]


def _undocumented(path: Path) -> Iterator[str]:
    """Public functions, classes and methods without a docstring; what overrides a method inherits its."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                    continue
                is_setter = any(isinstance(d, ast.Attribute) for d in method.decorator_list)
                if not is_setter and not ast.get_docstring(method):
                    yield f"{node.name}.{method.name}"


def test_what_is_public_has_a_docstring() -> None:
    paths = sorted((ROOT / "effps_solo").rglob("*.py"))
    assert len(paths) > 100
    assert not {f"{path.relative_to(ROOT)}: {x}" for path in paths for x in _undocumented(path)}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "PanopticResult" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "index.html").read_text())
    assert not [url for url in fetched if "fonts.g" in url]


def write_example(folder: Path, heading: str) -> Path:
    """The code of a chapter of the page on extensions that has a setup_environment, as its file."""
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    (chapter,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    lines = [line for line in chapter.splitlines() if line.startswith("    ") or not line]
    code = [line for line in lines if not line.startswith(("    MODEL: ", "    DETECTRON2_"))]
    path = folder / "example.py"
    path.write_text(textwrap.dedent("\n".join(code)))
    return path


def run_with_example(example: Path, code: str, *words: str) -> str:
    """What ``code`` prints in a process that knows the example."""
    environment = {**os.environ, "DETECTRON2_ENV_MODULE": str(example)}
    command = [sys.executable, "-c", code, *words]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_head_of_the_page_is_known_to_every_program(tmp_path: Path) -> None:
    code = (
        "import effps_solo.engine\n"
        "from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY\n"
        "assert not INSTANCE_HEAD_REGISTRY.get('MyHead').__abstractmethods__\n"
    )
    run_with_example(write_example(tmp_path, "An instance head"), code)


TWO_STEPS = """
import json, sys
from effps_solo.config import load_config
from effps_solo.engine import Trainer
trainer = Trainer(load_config(sys.argv[1], sys.argv[2:]))
before = {name: x.clone() for name, x in trainer.model.named_parameters()}
trainer._hooks = [hook for hook in trainer._hooks if type(hook).__name__ != "EvalHook"]
trainer.train()
moved = {name for name, x in trainer.model.named_parameters() if not x.equal(before[name])}
heads = [type(x).__name__ for x in (trainer.model.sem_seg_head, trainer.model.instance_head)]
assert trainer.iter == 2
assert not [name for name in before if "head." in name and name not in moved]
losses = {name: v.latest() for name, v in trainer.storage.histories().items() if "loss_" in name}
print(json.dumps([heads, losses]))
"""


@pytest.mark.parametrize(
    "heads",
    [
        ("LovaszHead", "SOLOv2InstanceHead"),
        ("EfficientPSLovaszHead", "CrossEntropySOLOv2Head"),
    ],
)
def test_the_heads_and_losses_of_the_page_are_trained(
    tiny_config: Path, tmp_path: Path, heads: Tuple[str, str]
) -> None:
    words = ["MODEL.SEM_SEG_HEAD.NAME", heads[0], "MODEL.INSTANCE_HEAD.NAME", heads[1]]
    words += ["DATALOADER.NUM_WORKERS", "0"]
    example = write_example(tmp_path, "A semantic head of your own")
    output = run_with_example(example, TWO_STEPS, str(tiny_config), *words)
    found, losses = json.loads(output.splitlines()[-1])
    assert tuple(found) == heads
    assert {"loss_sem_seg", "loss_category", "loss_mask"} <= set(losses)
    assert all(0 < loss < 100 for loss in losses.values())
    assert losses["loss_sem_seg"] <= 1  # a mean of losses in [0, 1]


def test_the_lovasz_loss_of_the_page(tmp_path: Path) -> None:
    """Of sure predictions 1 - IoU; else the Lovasz extension by sets; 0 where all is void."""
    import torch

    code = runpy.run_path(str(write_example(tmp_path, "A semantic head of your own")))
    loss = code["lovasz_softmax"]
    # Class 0 holds two of three pixels and one of another: IoU 2 / 4; class 1: 1 / 3; no pixel of 2.
    target = torch.tensor([[[0, 0, 0, 1, 1, 9]]])
    predicted = torch.tensor([[[0, 0, 1, 0, 1, 2]]])
    sure = 1000.0 * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1)
    assert float(loss(sure, target, 9)) == pytest.approx((1 / 2 + 2 / 3) / 2)
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randint(0, 3, (2, 4, 5))
    target[0, :2] = 255
    assert float(loss(logits, target)) == pytest.approx(_lovasz_by_sets(logits, target))
    nothing = loss(logits, torch.full_like(target, 255))
    nothing.backward()
    assert float(nothing) == 0 and not logits.grad.any()


def _lovasz_by_sets(logits: Any, target: Any) -> float:
    """Definition 1 of the paper, class by class: errors in descending order times how the loss grows."""
    known = [tuple(p) for p in (target != 255).nonzero().tolist()]
    probability = logits.detach().softmax(dim=1)
    losses = []
    for label in sorted({int(target[p]) for p in known}):
        truth = {p for p in known if int(target[p]) == label}
        error = {p: abs((p in truth) - float(probability[p[0], label, p[1], p[2]])) for p in known}
        wrong, before, total = set(), 0.0, 0.0
        for p in sorted(known, key=lambda p: -error[p]):
            wrong.add(p)
            jaccard = 1 - len(truth - wrong) / len(truth | wrong)
            total += error[p] * (jaccard - before)
            before = jaccard
        losses.append(total)
    return sum(losses) / len(losses)
