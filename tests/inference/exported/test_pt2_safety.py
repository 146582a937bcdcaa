"""Files that run code when torch opens them, each in another way, and files that do not."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import torch
from torch import nn
from torch._export.serde.schema import SCHEMA_VERSION

from effps_solo.__main__ import main
from effps_solo.inference.exported import load_exported
from effps_solo.inference.exported.pt2_safety import check_pt2
from effps_solo.inference.load import load
from effps_solo.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_loggers")

Records = Dict[str, bytes]
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
INPUTS = "data/sample_inputs/model.pt"
PROGRAM = "models/model.json"
IMAGE = torch.zeros(32, 3)


class Scale(nn.Module):
    """With a weight and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.weight + torch.tensor([1.0, 2.0, 3.0])


def exported(any_size: bool = False) -> Records:
    """What ``torch.export.save`` writes, by name."""
    rows = 8 * torch.export.Dim("rows", min=2, max=9)
    shapes = ({0: rows},) if any_size else None
    program = torch.export.export(Scale(), (IMAGE,), dynamic_shapes=shapes, strict=False)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def archive(records: Records, root: str = "model/") -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in records.items():
            file.writestr(f"{root}{name}", content)
    return buffer


def edited(name: str, edit: Callable[[Any], object]) -> Records:
    """The records with one JSON changed."""
    records = exported()
    content = json.loads(records[name])
    edit(content)
    return {**records, name: json.dumps(content).encode()}


class Touch:
    """A pickle that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def a_pickled_weight(trace: Path) -> Records:
    def edit(config: Any) -> None:
        config["config"]["weight"]["use_pickle"] = True

    return {**edited(WEIGHTS, edit), "data/weights/weight_0": pickled(Touch(trace))}


def a_pickled_constant(trace: Path) -> Records:
    def edit(config: Any) -> None:
        config["config"]["lifted_tensor_0"]["use_pickle"] = True

    return {**edited(CONSTANTS, edit), "data/constants/tensor_0": pickled(Touch(trace))}


def a_constant_object(trace: Path) -> Records:
    def edit(config: Any) -> None:
        config["config"]["x"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    return {**edited(CONSTANTS, edit), "data/constants/opaque_obj_0": pickle.dumps(Touch(trace))}


def sample_inputs(trace: Path) -> Records:
    return {**exported(), INPUTS: pickled(Touch(trace))}


def a_size(trace: Path) -> Records:
    def edit(program: Any) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values["image"]["sizes"][0] = {"as_expr": {"expr_str": python(trace), "hint": None}}

    return edited(PROGRAM, edit)


def a_guard(trace: Path) -> Records:
    return edited(PROGRAM, lambda program: program["guards_code"].append(python(trace)))


def python(trace: Path) -> str:
    return f"__import__('pathlib').Path('{trace}').touch()"


def the_layout_of_older_versions(trace: Path) -> Records:
    return {
        "version": ".".join(map(str, SCHEMA_VERSION)).encode(),
        "serialized_exported_program.json": exported()[PROGRAM],
        "serialized_state_dict.pt": pickled({}),
        "serialized_constants.pt": pickled(Touch(trace)),
        "serialized_example_inputs.pt": pickled(()),
    }


KINDS = (a_pickled_weight, a_pickled_constant, a_constant_object, sample_inputs, a_size, a_guard)


@pytest.mark.parametrize("make", [*KINDS, the_layout_of_older_versions])
def test_what_torch_would_run_is_refused(tmp_path: Path, make: Callable[[Path], Records]) -> None:
    trace, path = tmp_path / "trace", tmp_path / "model.pt2"
    path.write_bytes(archive(make(trace), "model/" if make in KINDS else "").getvalue())
    with pytest.raises(UserError, match="model.pt2 is refused: it holds .*--allow-unsafe"):
        load(path)
    assert not trace.exists()
    try:
        torch.export.load(path).module()(IMAGE)
    except Exception:  # what comes after the code is of no interest
        pass
    assert trace.exists()


def test_trust(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "model.pt2"
    path.write_bytes(archive(sample_inputs(trace)).getvalue())
    with pytest.raises(UserError, match="cannot be opened"):  # it is a pickle of nothing
        load(path, allow_unsafe=True)
    assert trace.exists()


@pytest.mark.parametrize("command", ["predict", "app", "evaluate"])
def test_trust_on_the_command_line(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture, command: str
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "model.pt2"
    path.write_bytes(archive(sample_inputs(trace)).getvalue())
    words = [command, "--model", str(path)]
    if command == "app":
        pytest.importorskip("gradio")
    else:
        words += ["--output", str(tmp_path / "output")]
    if command == "evaluate":
        words += ["--config-file", str(tiny_config)]
    assert main(words) == 2 and "model.pt2 is refused" in capsys.readouterr().err
    assert not trace.exists()
    assert main([*words, "--allow-unsafe"]) == 2 and trace.exists()


@pytest.mark.parametrize("any_size", [False, True])
def test_tensors_and_operations_pass(tmp_path: Path, any_size: bool) -> None:
    path, content = tmp_path / "model.pt2", archive(exported(any_size))
    check_pt2(content, str(path))
    path.write_bytes(content.getvalue())
    with pytest.raises(UserError, match="does not say what its classes are"):
        load_exported(path)


def refused(records: Records) -> str:
    with pytest.raises(UserError) as error:
        check_pt2(archive(records), "m.pt2")
    return str(error.value).partition(". That may run code")[0].removeprefix("m.pt2 is refused: ")


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/model.so",
        "data/constants/custom_obj_0",
        "data/weights/weight_0.so",
        "models/other.json",
        "data/sample_inputs/other.pt",
    ],
)
def test_only_known_records(name: str) -> None:
    assert refused({**exported(), name: b""}) == f"it holds {name}"


def test_state_dicts_without_code_pass() -> None:
    records = exported()
    plain = {"weight": nn.Parameter(torch.ones(3)), "n": [1, 2.5, None, True]}
    records["data/weights/model.pt"] = pickled(plain)
    check_pt2(archive(records), "m.pt2")
    for more in (torch.nn.Linear(1, 1), {"x": {1, 2}}, "text"):
        records["data/weights/model.pt"] = pickled(more)
        assert refused(records) == "it holds more than tensors in data/weights/model.pt"


def node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def signature(program: Any) -> Any:
    return program["graph_module"]["module_call_graph"][0]["signature"]


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",  # can create and write files
        "torch.ops.aten.save.default",
        "torch.ops.aten.__class__.__base__",
        "torch.ops.aten.none.default",
        "torch.ops.higher_order.cond",
        "_operator.methodcaller",
        "#triton:kernel",
    ],
)
def test_only_operations_on_tensors(target: str) -> None:
    records = edited(PROGRAM, lambda program: node(program).update(target=target))
    assert refused(records) == f"it holds '{target}' as target in {PROGRAM}"


@pytest.mark.parametrize(
    "edit, key",
    [
        (lambda p: node(p)["inputs"][0].update(name="x=print()"), "name"),
        (lambda p: node(p).update(name={"stack_trace": "x=print()"}), "name"),
        (
            lambda p: signature(p).update(forward_arg_names=["image", "x=print()"]),
            "forward_arg_names",
        ),
        (lambda p: node(p)["metadata"].update(stack_trace='"""\nprint()\n"""'), "stack_trace"),
        (lambda p: node(p)["inputs"][0].update(arg={"as_string": "'+print()+'"}), "as_string"),
        (lambda p: p.update(verifiers=["print()"]), "verifiers"),
    ],
)
def test_only_words_where_code_is_made_of_them(edit: Callable[[Any], object], key: str) -> None:
    message = refused(edited(PROGRAM, edit))
    assert message.startswith("it holds '") and message.endswith(f" as {key} in {PROGRAM}")


def test_only_known_places_of_text() -> None:
    records = edited(PROGRAM, lambda p: node(p)["inputs"][0].update(arg={"as_operator": "x"}))
    assert refused(records) == f"it holds 'x' at an unknown place in {PROGRAM}"


@pytest.mark.parametrize(
    "kind, context",
    [
        ("collections.defaultdict", {"default_factory_module": "antigravity"}),
        ("builtins.dict", '{"__enum__": true, "fqn": "antigravity:x", "name": "x"}'),
        ("builtins.dict", '["x=print()"]'),
        ("builtins.tuple", "no JSON"),
    ],
)
def test_only_plain_inputs(kind: str, context: Any) -> None:
    tree = {"type": kind, "context": context, "children_spec": []}
    records = edited(PROGRAM, lambda p: signature(p).update(in_spec=json.dumps([1, tree])))
    assert refused(records).endswith(f" as in_spec in {PROGRAM}")


@pytest.mark.parametrize(
    "text",
    [
        "Mul(Integer(32), Symbol('s30', positive=True, integer=True))",
        "Max(1, FloorDiv(Symbol('u0', integer=True), Integer(2)))",
        "32*s0 + 1",
        "torch.sym_max(1, L['image'].size()[1] // 2) % 32 != 0",
        "Float('1.5', precision=53)",
    ],
)
def test_arithmetic_on_sizes_passes(text: str) -> None:
    records = edited(PROGRAM, lambda program: program["guards_code"].append(text))
    check_pt2(archive(records), "m.pt2")


@pytest.mark.parametrize(
    "text",
    [
        "exec('x')",
        "Add('exec(1)')",
        "().__class__",
        "torch.sym_max.__globals__",
        "torch.os.system('x')",
        "L['image'].data_ptr()",
        "Symbol('s0')('x')",
        "Piecewise((exec, True))",
        "[x for x in 'ab']",
        "f'{1}'",
        "lambda: 1",
        "(1 #\n)",
        "1 +",
    ],
)
def test_other_expressions(text: str) -> None:
    records = edited(PROGRAM, lambda program: program["guards_code"].append(text))
    assert refused(records) == f"it holds '{text}' as guards_code in {PROGRAM}"
