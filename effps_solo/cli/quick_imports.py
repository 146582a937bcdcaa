"""Imports without torch's compiler: three of the nine seconds that a command took to start."""

import importlib.machinery
import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any, Callable, ContextManager, Dict, Iterator, Optional

_COMPILER, _UTILS = "torch._dynamo", "torch._dynamo.utils"


def defer_compiler() -> None:
    """Let torchvision, timm and Detectron2, if not here yet, leave torch's compiler for whoever calls it."""
    there = {_COMPILER, *_WAYS} & set(sys.modules)
    if not there and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def is_compile_supported(device_type: str) -> bool:
    """``torch._dynamo.utils.is_compile_supported``, imported when it is called."""
    from torch._dynamo import utils

    return bool(utils.is_compile_supported(device_type))


@contextmanager
def _with_stand_in(module: ModuleType) -> Iterator[None]:
    """Of roi_align, which wants one function, for deterministic training on a GPU."""
    stand_ins = {name: ModuleType(name) for name in (_COMPILER, _UTILS)}
    stand_ins[_UTILS].is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    there = _COMPILER in sys.modules
    if not there:
        sys.modules.update(stand_ins)
    try:
        yield
    finally:
        if not there:
            for name in stand_ins:
                del sys.modules[name]


@contextmanager
def _without_decorator(module: ModuleType) -> Iterator[None]:
    """Of timm, whose NaFlex transformers are decorated to stay out of compilation; none is used here."""
    yield
    if hasattr(module, "nullwrap"):
        module.disable_compiler = module.nullwrap  # type: ignore[attr-defined]


@contextmanager
def _with_the_public_question(module: ModuleType) -> Iterator[None]:
    """Of Detectron2, whose convolutions ask the compiler whether it is at work; torch itself knows."""
    yield
    import torch

    module.check_if_dynamo_compiling = torch.compiler.is_compiling  # type: ignore[attr-defined]


_WAYS: Dict[str, Callable[[ModuleType], ContextManager[None]]] = {
    "torchvision.ops.roi_align": _with_stand_in,
    "timm.layers.typing": _without_decorator,
    "detectron2.layers.wrappers": _with_the_public_question,
}


class _Finder(MetaPathFinder):
    """Of the modules of ``_WAYS``."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname not in _WAYS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Runs a module in its way."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> Optional[ModuleType]:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _WAYS[module.__name__](module):
            self.loader.exec_module(module)
