"""The table of a comparison, a YAML file, and the runs that it asks for.

methods: {SOLOv2: effps_lite0_solov2}           # name: config without .yaml
data sets:
  nuclei:
    configs: nuclei                             # folder of the configs, seen from the table's
    seeds: [1, 2]
    opts: {SOLVER.MAX_ITER: 1000}               # overrides for all methods; none by default
"""

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import yaml

from effps_solo.utils.errors import ConfigError, hint_at

METHODS, DATA_SETS = "methods", "data sets"
_FIELDS = ("configs", "seeds", "opts")
_OWN_KEYS = ("OUTPUT_DIR", "SEED")  # every run gets its own


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config: a file that exists.
        opts: KEY VALUE KEY VALUE ..., on top of it.
    """

    data_set: str
    method: str
    seed: int
    config: Path
    opts: Tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """DATA_SET/METHOD/seedK, also its folder below the output folder."""
        return f"{folder_name(self.data_set)}/{folder_name(self.method)}/seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        methods: names in the order of the table.
        seeds: data set -> its seeds.
        runs: in the order to train them: each data set with one seed of all methods, then the next.
    """

    methods: Tuple[str, ...]
    seeds: Dict[str, Tuple[int, ...]]
    runs: Tuple[Run, ...]


def folder_name(name: str) -> str:
    """``name`` for a path: lower case without hyphens, "_" for all but letters, digits and dots."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower().replace("-", ""))


def choose_runs(plan: Plan, patterns: Sequence[str]) -> List[Run]:
    """The runs whose name fits one of the patterns of a shell; all without patterns.

    Raises:
        ConfigError: a pattern fits no run.
    """
    chosen = set()
    for pattern in patterns:
        fitting = {run for run in plan.runs if fnmatch.fnmatchcase(run.name, pattern)}
        if not fitting:
            names = ", ".join(run.name for run in plan.runs)
            raise ConfigError(f"--only '{pattern}' fits no run; there are {names}")
        chosen |= fitting
    return [run for run in plan.runs if run in chosen or not patterns]


def read_table(path: Path) -> Plan:
    """The plan in a YAML file.

    Raises:
        ConfigError: the table or a config is missing, or an entry is unknown or unusable.
    """
    content = _read_mapping(path)
    where = f"table '{path}'"
    _check_keys(content, (METHODS, DATA_SETS), where)
    methods = _section(content, METHODS, where)
    for name, stem in methods.items():
        if not isinstance(stem, str):
            raise ConfigError(f"{where}: method '{name}' is {stem!r}; name a config, without .yaml")
    data_sets = _section(content, DATA_SETS, where)
    seeds: Dict[str, Tuple[int, ...]] = {}
    runs: List[Run] = []
    for name, fields in data_sets.items():
        data_set = f"{where}: data set '{name}'"
        if not isinstance(fields, dict):
            raise ConfigError(f"{data_set} is {fields!r}; give it 'configs' and 'seeds'")
        fields = {"opts": {}, **fields}
        _check_keys(fields, _FIELDS, data_set)
        configs = _configs(path.parent, fields["configs"], methods, data_set)
        seeds[name] = _seeds(fields["seeds"], data_set)
        opts = _opts(fields["opts"], data_set)
        runs += [Run(name, m, seed, configs[m], opts) for seed in seeds[name] for m in methods]
    return Plan(tuple(methods), seeds, tuple(runs))


def _read_mapping(path: Path) -> Dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"table '{path}' does not exist; name one with --table") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"table '{path}' cannot be read as YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"table '{path}' holds no '{METHODS}' and '{DATA_SETS}'")
    return content


def _check_keys(given: Dict[Any, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key '{key}'; {hint_at(key, known)}")
    for key in known:
        if key not in given:
            raise ConfigError(f"{where} lacks the key '{key}'")


def _section(content: Dict[str, Any], key: str, where: str) -> Dict[str, Any]:
    """A dict with names, which make folders of their own."""
    section = content[key]
    if not isinstance(section, dict) or not section:
        raise ConfigError(f"{where}: '{key}' is {section!r}; list NAME: VALUE below it")
    folders: Dict[str, str] = {}
    for name in section:
        folder = folder_name(name) if isinstance(name, str) else ""
        if not re.search("[a-z0-9]", folder):
            raise ConfigError(f"{where}: '{key}' has the name {name!r}; a name needs letters")
        other = folders.setdefault(folder, name)
        if other != name:
            raise ConfigError(
                f"{where}: '{other}' and '{name}' in '{key}' would share the folder '{folder}'; "
                "rename one"
            )
    return section


def _configs(parent: Path, folder: Any, stems: Dict[str, str], where: str) -> Dict[str, Path]:
    """Method -> config file."""
    if not isinstance(folder, str):
        raise ConfigError(f"{where}: 'configs' is {folder!r}; name the folder of its configs")
    files = {method: parent / folder / f"{stem}.yaml" for method, stem in stems.items()}
    for method, file in files.items():
        if not file.is_file():
            raise ConfigError(f"{where}: the config '{file}' of method '{method}' does not exist")
    return files


def _seeds(values: Any, where: str) -> Tuple[int, ...]:
    valid = isinstance(values, list) and values and all(type(v) is int and v >= 0 for v in values)
    if not valid or len(set(values)) < len(values):
        raise ConfigError(
            f"{where}: 'seeds' is {values!r}; list different numbers, 0 or more, such as [1, 2]"
        )
    return tuple(values)


def _opts(values: Any, where: str) -> Tuple[str, ...]:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: 'opts' is {values!r}; write {{KEY: VALUE}}")
    words: List[str] = []
    for key, value in values.items():
        if key in _OWN_KEYS:
            raise ConfigError(f"{where}: 'opts' sets {key}, which differs from run to run; drop it")
        if not isinstance(key, str) or isinstance(value, dict):
            raise ConfigError(f"{where}: 'opts' has {key!r}: {value!r}; write SECTION.KEY: VALUE")
        words += [key, str(value)]
    return tuple(words)
