"""A device that is not the CPU, for machines without one: tensors that say "cuda" and compute on the CPU.

Within the fixture ``pretended_gpu`` operations on tensors of both devices fail, as does ``numpy()`` without
``cpu()``; operations and the host's reads of the device are counted. What a GPU would do: each operation is a
launch, each read a wait.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
# The result's length, or its value, is read by the host.
_READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.bincount.default,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
# Take an index that lies on the CPU, as torch does.
_INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
_FACTORIES = (
    *(torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace),
    *(
        torch.ones,
        torch.rand,
        torch.randint,
        torch.randn,
        torch.randperm,
        torch.tensor,
        torch.zeros,
    ),
)


class GPUTensor(torch.Tensor):
    """A tensor of the pretended device; ``plain`` holds its values."""

    plain: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, plain: torch.Tensor) -> "GPUTensor":
        tensor: GPUTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, plain.size(), strides=plain.stride(), dtype=plain.dtype
        )
        tensor.plain = plain.detach()
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self) -> str:  # type: ignore[override]
        return f"GPUTensor({self.plain})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Optional[Dict[str, Any]] = None
    ) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "device"}
        COUNTS.add(func, args, kwargs)
        plain_args, plain_kwargs = tree_map(_plain, (args, kwargs))
        result = func(*plain_args, **plain_kwargs)
        if func is aten._local_scalar_dense.default:
            return result
        if func._schema.is_mutable:  # the argument that was changed
            return kwargs.get("out", args[0])
        return tree_map(lambda x: GPUTensor(x) if isinstance(x, torch.Tensor) else x, result)


def _plain(x: Any) -> Any:
    return x.plain if isinstance(x, GPUTensor) else x


class Counts:
    """What was done on the device since :meth:`reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.operations = 0
        self.reads = 0
        self.names: List[str] = []

    def read(self, what: str) -> None:
        self.reads += 1
        self.names.append(what)

    def add(self, func: Any, args: Any, kwargs: Any) -> None:
        self.operations += not func.is_view  # a view is no launch
        flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        if func is aten.copy_.default:
            if not isinstance(args[0], GPUTensor):
                self.read("copy_")
            return
        if func in _INDEXING:
            if any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
                self.read(str(func))
            flat = [args[0]]
        elif func in _READS:
            self.read(str(func))
        foreign = [x for x in flat if not isinstance(x, GPUTensor) and x.dim() > 0]
        if foreign:
            raise RuntimeError(
                f"{func}: expected all tensors on one device, found {GPU} and cpu "
                f"{[tuple(x.shape) for x in foreign]}"
            )


COUNTS = Counts()


def _is_gpu(device: Any) -> bool:
    return (
        device is not None and not isinstance(device, int) and torch.device(device).type == "cuda"
    )


class PretendedGPU(TorchFunctionMode):
    """Within it "cuda" is the pretended device."""

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Optional[Dict[str, Any]] = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        own = bool(args) and isinstance(args[0], GPUTensor)
        if func in _FACTORIES:
            wanted = _is_gpu(kwargs.pop("device", None)) if _is_gpu(kwargs.get("device")) else False
            if func in (torch.tensor, torch.as_tensor) and own:
                return args[0]
            made = func(*args, **kwargs)
            return GPUTensor(made) if wanted else made
        if func in (torch.Tensor.cpu, torch.Tensor.to, torch.Tensor.cuda):
            return self._moved(func, args, kwargs)
        if func is torch.Tensor.backward:
            with (
                PretendedGPU()
            ):  # what is computed once more for its gradients sees the device, too
                return torch.autograd.graph._engine_run_backward(
                    *((args[0],), (torch.ones_like(args[0]),), False, False, ()),
                    allow_unreachable=True,
                    accumulate_grad=True,
                )
        if own and func is torch.Tensor.numpy:
            raise TypeError("can't convert a tensor of cuda:0 to numpy; use Tensor.cpu() first")
        if own and func is torch.Tensor.tolist:
            COUNTS.read("tolist")
            return args[0].plain.tolist()
        if own and func is torch.Tensor.new_tensor:
            return GPUTensor(args[0].plain.new_tensor(*args[1:], **kwargs))
        if own and _is_gpu(kwargs.get("device")):
            kwargs.pop("device")
        return func(*args, **kwargs)

    @staticmethod
    def _moved(func: Callable, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> torch.Tensor:
        tensor, words = args[0], args[1:]
        device: Any = kwargs.pop("device", "cpu" if func is torch.Tensor.cpu else None)
        options = {key: kwargs[key] for key in ("dtype", "memory_format") if kwargs.get(key)}
        for word in words:
            if isinstance(word, torch.Tensor):
                device, options["dtype"] = word.device, word.dtype
            elif isinstance(word, torch.dtype):
                options["dtype"] = word
            elif isinstance(word, (str, torch.device)):
                device = word
        if device is not None and _is_gpu(device) and not isinstance(tensor, GPUTensor):
            tensor = _ToGPU.apply(tensor)
        elif device is not None and not _is_gpu(device) and isinstance(tensor, GPUTensor):
            COUNTS.read("cpu")
            tensor = _ToCPU.apply(tensor)
        moved: torch.Tensor = torch.Tensor.to(tensor, **options) if options else tensor
        return moved


class _ToGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return GPUTensor(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _plain(gradient)


class _ToCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: GPUTensor) -> torch.Tensor:
        return x.plain.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return GPUTensor(gradient)


def to_pretended_gpu(module: nn.Module) -> nn.Module:
    """The parameters and buffers of ``module`` on the pretended device, in place."""
    for each in module.modules():
        for name, parameter in list(each._parameters.items()):
            if parameter is not None:
                moved = nn.Parameter(GPUTensor(parameter.detach()), parameter.requires_grad)
                each._parameters[name] = moved
        for name, buffer in list(each._buffers.items()):
            if buffer is not None:
                each._buffers[name] = GPUTensor(buffer)
    return module


@contextlib.contextmanager
def pretended() -> Iterator[Counts]:
    """Within the context there is a pretended GPU; yields its counts."""
    COUNTS.reset()
    with PretendedGPU():
        yield COUNTS


@pytest.fixture
def pretended_gpu() -> Iterator[Counts]:
    """See the module's docstring."""
    with pretended() as counts:
        yield counts
