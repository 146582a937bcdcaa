"""What an exported file says about itself: preprocessing, classes, origin. Standard library only."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, Optional, Tuple

from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError

FORMAT = 2  # of the JSON; older programs refuse newer files
KEY = "effps_solo"  # under which every kind of file keeps it
Size = Tuple[int, int]


@dataclass(frozen=True)
class ModelDescription:
    """Everything that a program needs besides the graph.

    Attributes:
        image_format: order of the input's channels, "RGB" or "BGR".
        input_size: (h, w) of the graph's input; None: any size of at least ``min_side`` pixels in
            multiples of ``size_divisor``.
        output_size: (H, W) of its map, and of the images that it was made for; None: that of the input.
        classes: by contiguous id.
        config: file name of the config that it was exported with.
        precision: "fp32", or "int8" with quantised convolutions.
        size_divisor, min_side: of the inputs of any size; the former is 1 but in files of before 0.2.
        padding: the pixel that such an input has beyond the image, below and to the right.
    """

    image_format: str
    input_size: Optional[Size]
    output_size: Optional[Size]
    classes: Tuple[PanopticClass, ...]
    config: str
    precision: str = "fp32"
    size_divisor: int = 1
    min_side: int = 1
    padding: Tuple[int, int, int] = (0, 0, 0)

    def to_json(self) -> str:
        """What :meth:`from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, path: str) -> "ModelDescription":
        """From the text of :meth:`to_json`, "" where the file has none; ``path`` is for messages.

        Raises UserError when the file was not made by ``effps-solo export``, or by a newer one.
        """
        if not text:
            raise UserError(
                f"{path} does not say what its classes are: it was not made by `effps-solo export`"
            )
        try:
            content: Dict[str, Any] = json.loads(text)
            version = content.pop("format", 0)
            if version <= FORMAT:
                content["classes"] = tuple(map(PanopticClass.from_dict, content["classes"]))
                for name in ("input_size", "output_size", "padding"):
                    if content.get(name) is not None:
                        content[name] = tuple(int(value) for value in content[name])
                return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the description in {path} is damaged ({error}); export again"
            ) from error
        raise UserError(
            f"{path} has format {version}, this program knows {FORMAT}; update effps_solo"
        )
