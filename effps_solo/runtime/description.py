"""What an exported file says about itself: preprocessing, classes, origin. Standard library only."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

from ..classes import PanopticClass
from ..errors import UserError

FORMAT = 1  # of the JSON; older programs refuse newer files
KEY = "effps_solo"  # under which every kind of file keeps it
Size = Tuple[int, int]


@dataclass(frozen=True)
class ModelDescription:
    """Everything that a program needs besides the graph.

    Attributes:
        image_format: order of the input's channels, "RGB" or "BGR".
        input_size: (h, w) of the graph's input.
        output_size: (H, W) of its map, and of the images that it was made for.
        classes: by contiguous id.
        config: file name of the config that it was exported with.
        precision: "fp32", or "int8" with quantised convolutions.
    """

    image_format: str
    input_size: Size
    output_size: Size
    classes: Tuple[PanopticClass, ...]
    config: str
    precision: str = "fp32"

    def to_json(self) -> str:
        """What :meth:`from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, path: str) -> "ModelDescription":
        """
        Args:
            text: of :meth:`to_json`; "" where the file has none.
            path: for messages.

        Raises:
            UserError: the file was not made by ``effps-solo export``, or by a newer one.
        """
        if not text:
            raise UserError(
                f"{path} does not say what its classes are: it was not made by `effps-solo export`"
            )
        content: Dict[str, Any] = json.loads(text)
        version = content.pop("format", 0)
        if version > FORMAT:
            raise UserError(
                f"{path} has format {version}, this program knows {FORMAT}; update effps_solo"
            )
        try:
            content["classes"] = tuple(
                PanopticClass(**{**entry, "color": tuple(entry["color"])})
                for entry in content["classes"]
            )
            for name in ("input_size", "output_size"):
                content[name] = (int(content[name][0]), int(content[name][1]))
            return cls(**content)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"the description in {path} is damaged ({error}); export again"
            ) from error
