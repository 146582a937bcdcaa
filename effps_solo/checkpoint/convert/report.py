"""What a conversion did, for people (text) and programs (JSON)."""

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List

MAX_NAMES = 8  # of the keys that are left out on purpose; the JSON file holds all of them


@dataclass
class ConversionReport:
    """Every key of the foreign file is in exactly one of converted, left_out and unmatched.

    After :func:`~effps_solo.checkpoint.convert.target.fit_to_model`, every key of the model is in
    ``converted`` (values), ``reshaped`` or ``missing``.
    """

    layout: str
    converted: Dict[str, str] = field(default_factory=dict)  # foreign key -> ours
    left_out: Dict[str, str] = field(
        default_factory=dict
    )  # foreign key -> why it is not in the output
    unmatched: List[str] = field(default_factory=list)  # foreign keys that mean nothing here
    missing: List[str] = field(
        default_factory=list
    )  # keys of the model that the file does not fill
    # Keys of the model whose shape differs -> both shapes and what becomes of them.
    reshaped: Dict[str, str] = field(default_factory=dict)
    settings: Dict[str, Any] = field(default_factory=dict)  # config keys that go with the weights
    conflicts: Dict[str, Any] = field(default_factory=dict)  # what the given config says otherwise
    notes: List[str] = field(default_factory=list)

    def to_dict(self) -> Dict[str, Any]:
        """All of it as built-in containers, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Counts, and by name every unmatched, missing and reshaped key; several lines."""
        total = len(self.converted) + len(self.left_out) + len(self.unmatched)
        lines = [
            f"layout {self.layout}: {total} tensors, {len(self.converted)} converted, "
            f"{len(self.left_out)} left out, {len(self.unmatched)} unmatched, "
            f"{len(self.missing)} missing, {len(self.reshaped)} reshaped"
        ]
        for reason in dict.fromkeys(self.left_out.values()):
            keys = [key for key, why in self.left_out.items() if why == reason]
            more = [f"... and {len(keys) - MAX_NAMES} more"] if len(keys) > MAX_NAMES else []
            lines += _section(f"left out, {reason}", [*keys[:MAX_NAMES], *more])
        lines += _section("unmatched, unknown keys of the file", self.unmatched)
        lines += _section("missing, the model keeps its initial values", self.missing)
        lines += _section("reshaped", [f"{key}: {what}" for key, what in self.reshaped.items()])
        lines += _section("settings that go with the weights", self._setting_lines())
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _setting_lines(self) -> List[str]:
        lines = []
        for key, value in self.settings.items():
            other = f"   (the config says {self.conflicts[key]!r})" if key in self.conflicts else ""
            text = value if isinstance(value, str) else f'"{value}"' if " " in str(value) else value
            lines.append(f"{key} {text}{other}")
        return lines


def _section(title: str, lines: List[str]) -> List[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []
