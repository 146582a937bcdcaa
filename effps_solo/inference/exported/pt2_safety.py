"""What a ``.pt2`` file may hold to be opened without trust: tensors, and operations on tensors.

``torch.export.load`` unpickles weights, constants and sample inputs, evaluates sizes, guards and names of the
graph as Python, looks up the functions that nodes name, imports the modules of input types, and loads
libraries that lie in the archive. So every record, and every text of the graph, must be of a kind that is
listed here; anything else is refused before torch opens the file. Which tensors come out, and how long they
take, is the file's own affair.
"""

import ast
import functools
import io
import json
import re
import zipfile
from typing import Any, Callable, Dict

from effps_solo.utils.errors import UserError

_PICKLES = re.compile(r"data/(sample_inputs|weights|constants)/model\.pt")
_JSON = re.compile(
    r"models/model\.json|data/(weights/model_weights|constants/model_constants)_config\.json"
)
_INERT = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_format|archive_version"
    r"|byteorder|\.data/(version|serialization_id)"
)

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
# Those of aten to which a text is a message or the name of a mode, not of a file.
_WITH_TEXT = ("_assert_scalar", "div", "einsum", "gelu", "pad", "scatter_reduce", "searchsorted")
_SYMBOLIC = {f"torch.sym_{name}" for name in "not int float ite max min sqrt".split()}
_OPERATIONS = _SYMBOLIC | {
    *("torch.ops.higher_order.wrap_with_autocast", "math.trunc", "math.floor", "math.ceil"),
    *(f"_operator.{name}" for name in "eq ne le ge lt gt neg pos and_ or_".split()),
    *(f"_operator.{name}" for name in "add sub mul pow mod floordiv truediv".split()),
}

# What expressions of sizes are made of; functions are those of sympy and of torch.utils._sympy.
_EXPRESSION = re.compile(r"[\w .,'()\[\]<>=!+\-*/%]*", re.ASCII)
_SYNTAX = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop),
    *(ast.boolop, ast.cmpop, ast.expr_context, ast.Name, ast.Constant, ast.Call, ast.keyword),
    *(ast.Tuple, ast.Subscript, ast.Attribute),
)
_FUNCTIONS = set(
    "Symbol Integer Float Rational Add Mul Pow Max Min Mod Abs floor ceiling And Or Not Piecewise "
    "ExprCondPair Equality Unequality LessThan StrictLessThan GreaterThan StrictGreaterThan FloorDiv "
    "ModularIndexing Where PythonMod CleanDiv CeilDiv CeilToInt FloorToInt TruncToInt TruncToFloat "
    "RoundToInt RoundDecimal ToFloat IntTrueDiv FloatTrueDiv PowByNatural FloatPow LShift RShift "
    "Identity IsNonOverlappingAndDenseIndicator".split()
)
_VALUE = re.compile(r"([suz]|zu)f?\d+|L|torch|true|false|oo|int_oo", re.ASCII)
_CONSTANT = re.compile(r"\w+|-?\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII)


class _Refused(Exception):
    """The message says what the file holds."""


def check_pt2(content: io.BytesIO, path: str) -> None:
    """Raise UserError when a file holds something that this module does not know to be harmless.

    ``path`` is for messages.
    """
    import torch

    try:
        with zipfile.ZipFile(content) as archive:
            for name in archive.namelist():
                if "/" not in name:  # for these torch turns to another reader
                    raise _Refused(f"{name}, as files of a torch before 2.8 do")
        content.seek(0)
        reader = torch._C.PyTorchFileReader(content)  # torch's own, lest it see another file
        for record in reader.get_all_records():
            if _JSON.fullmatch(record):
                _check_json(json.loads(reader.get_record(record).decode("utf-8")), record)
            elif _PICKLES.fullmatch(record):
                _check_pickle(reader.get_record(record), record)
            elif not _INERT.fullmatch(record):
                raise _Refused(record)
    except _Refused as error:
        raise UserError(
            f"{path} is refused: it holds {error}. That may run code when it is opened. Export the "
            "model again with `effps-solo export`; pass --allow-unsafe (allow_unsafe=True) only if you "
            "trust whoever made the file"
        ) from None


def _check_json(content: Any, record: str) -> None:
    """Every text in JSON must be one of ``_TEXTS``, and no tensor a pickle."""
    if isinstance(content, str):
        raise _Refused(f"'{content[:60]}' at an unknown place in {record}")
    if isinstance(content, list):
        for item in content:
            _check_json(item, record)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key == "use_pickle" and value is not False:
            raise _Refused(f"pickled tensors (use_pickle in {record})")
        if key not in _TEXTS:
            _check_json(value, record)
            continue
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, (dict, list)) or (isinstance(text, str) and not _TEXTS[key](text)):
                raise _Refused(f"'{str(text)[:60]}' as {key} in {record}")


def _check_pickle(content: bytes, record: str) -> None:
    """Only tensors, in tuples, lists and dicts."""
    import torch

    def is_plain(value: Any) -> bool:
        if type(value) in (tuple, list):
            return all(map(is_plain, value))
        if type(value) is dict:
            return all(map(is_plain, value.values()))
        return type(value) in (torch.Tensor, torch.nn.Parameter, int, float, bool, type(None))

    if not content:
        return
    try:
        plain = is_plain(torch.load(io.BytesIO(content), weights_only=True))
    except Exception:  # unpickling raises types of all kinds
        plain = False
    if not plain:
        raise _Refused(f"more than tensors in {record}")


@functools.lru_cache(maxsize=None)
def _is_operation(target: str) -> bool:
    """Whether a node may have it: an operation of aten that reads no files, or one that is listed."""
    import torch

    found = _ATEN.fullmatch(target)
    if found is None:
        return target in _OPERATIONS
    operation = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    return found[1] in _WITH_TEXT or not any(
        "str" in str(argument.type) for argument in operation._schema.arguments
    )


@functools.lru_cache(maxsize=None)
def _is_expression(text: str) -> bool:
    """Whether it is arithmetic on sizes, such as "32*s0" and "L['image'].size()[1] % 32 == 0"."""
    if not _EXPRESSION.fullmatch(text):
        return False
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return False
    return all(isinstance(node, _SYNTAX) and _is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        is_known = isinstance(function, ast.Name) and function.id in _FUNCTIONS
        return is_known or isinstance(function, ast.Attribute)
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or _VALUE.fullmatch(node.id) is not None
    if isinstance(node, ast.Attribute):
        is_size = node.attr == "size" and isinstance(node.value, ast.Subscript)
        return is_size or ast.unparse(node) in _SYMBOLIC
    if isinstance(node, ast.Constant):  # sympy evaluates texts, too
        value = node.value
        is_word = isinstance(value, str) and _CONSTANT.fullmatch(value) is not None
        return is_word or isinstance(value, (int, float))
    return True


def _is_plain_tree(text: str) -> bool:
    """Whether inputs or outputs are tensors in tuples, lists and dicts with words as keys."""

    def is_plain(tree: Dict[str, Any]) -> bool:
        keys = json.loads(tree["context"] or "null")
        return (
            tree["type"] in (None, "builtins.tuple", "builtins.list", "builtins.dict")
            and (keys is None or isinstance(keys, list))
            and all(isinstance(key, str) and key.isidentifier() for key in keys or ())
            and all(map(is_plain, tree["children_spec"]))
        )

    try:
        return is_plain(json.loads(text)[1])
    except (ValueError, TypeError, KeyError, IndexError):
        return False


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


_is_name = _matches(r"([A-Za-z_]\w*)?")  # it becomes a variable of generated code
_is_path = _matches(r"(\w+(\.\w+)*)?")
_is_note = _matches(r'(?s)(?!.*""").*')  # torch can print it into the code, between three quotes
_is_version = _matches(r"[\w.+<>=-]*")
# Key of a JSON -> whether the text there is harmless.
_TEXTS: Dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names", "type"), _is_name),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "fqn"), _is_path),
    **dict.fromkeys(("stack_trace", "nn_module_stack", "source_fn_stack"), _is_note),
    **dict.fromkeys(("torch_fn", "from_node"), _is_note),
    **dict.fromkeys(("verifiers", "torch_version"), _is_version),
    **dict.fromkeys(("expr_str", "guards_code"), _is_expression),
    **dict.fromkeys(("in_spec", "out_spec"), _is_plain_tree),
    "target": _is_operation,
    "as_float": _matches(r"-?(Infinity|NaN)"),
    "as_string": _matches(r"[\w .,:;<>=!+\-*/%()\[\]]*(on node '\w+')?"),
    "path_name": _matches(r"(weight|tensor)_\d+"),
}
