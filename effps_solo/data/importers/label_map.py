"""What the values of a mask stand for: VOC's labelmap.txt, as CVAT writes it, or the values themselves.

H x W pixels. A line of the file is "label:r,g,b:parts:actions".
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np

from effps_solo.utils.image_io import open_image

from .classes import Label, label_key
from .files import SourceError

NAME = "labelmap.txt"
_BACKGROUND = "background"  # what no object covers
COLOR, PALETTE, GREY = "color", "palette", "grey"  # what the values of a mask are
_WHITE, _BORDER = 0xFFFFFF, 0xE0E0C0  # rgb: of VOC's borders, in tools and in its own palette
# Of classes, unless a label stands for them, and of objects.
VOID: Dict[str, Tuple[int, ...]] = {COLOR: (_WHITE, _BORDER), PALETTE: (255,), GREY: (255,)}
VOID_OBJECTS: Dict[str, Tuple[int, ...]] = {**VOID, GREY: ()}
_GREY = 0x010101  # rgb of grey values are its multiples
LOSSY = "whose compression changes labels along all borders; export masks as PNG"


@dataclass(frozen=True)
class LabelMap:
    """The labels of a folder of masks.

    Attributes:
        by_color: label by r * 65536 + g * 256 + b.
        names: in the order of the file, for masks of numbers; empty: there is no file.
    """

    by_color: Dict[int, str] = field(default_factory=dict)
    names: Tuple[str, ...] = ()

    def label(self, value: int, mode: str) -> Optional[str]:
        """What a value of :func:`read_mask` stands for; None: nothing."""
        if not self.names:
            return ",".join(map(str, rgb_of(value))) if mode == COLOR else str(value)
        if mode == COLOR:
            return self.by_color.get(value)
        return self.names[value] if value < len(self.names) else None

    def is_color(self, mode: str) -> bool:
        """Whether masks of Pillow's mode P or L hold colours of the file, not numbers of its lines."""
        greys = (color for color in self.by_color if color not in (0, _WHITE))
        return bool(self.names) and (
            mode == "P" or (mode == "L" and any(color % _GREY == 0 for color in greys))
        )

    def declared(self, label: str, count: int) -> Label:
        """A label with what the file knows of it."""
        colors = {name: color for color, name in self.by_color.items()}
        isthing = 0 if label.lower() == _BACKGROUND else None
        color = rgb_of(colors[label]) if label in colors else None
        return Label(label, count, isthing, color=color)


def rgb_of(color: int) -> List[int]:
    """[r, g, b]."""
    return [color >> 16, color >> 8 & 255, color & 255]


def read_label_map(path: Path) -> LabelMap:
    """Of a file; an empty one where there is none.

    Raises:
        SourceError: a line has no colour, or two have one.
    """
    if not path.is_file():
        return LabelMap()
    by_color: Dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as text: {error}") from error
    for k, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.match(r"(.+?):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:|$)", line)
        rgb = [int(channel) for channel in match.groups()[1:4]] if match else [256]
        if match is None or max(rgb) > 255:
            raise SourceError(f"{path}: line {k} is not 'label:r,g,b:parts:actions'")
        color = rgb[0] << 16 | rgb[1] << 8 | rgb[2]
        name = label_key(match.group(1))
        if by_color.setdefault(color, name) != name:
            raise SourceError(f"{path}: {by_color[color]} and {name} have one colour")
    return LabelMap(by_color, tuple(dict.fromkeys(by_color.values())))


def mask_size(path: str) -> Tuple[int, int]:
    """(height, width), from the head of a file. Raises ImageError."""
    with open_image(path) as image:
        return image.height, image.width


def read_mask(path: str, labels: Optional[LabelMap] = None) -> Tuple[np.ndarray, str]:
    """The values of a mask of colours, of a palette, or of numbers with 1, 8 or 16 bits.

    Args:
        labels: where they have colours, those of a palette count, and not its numbers.

    Returns:
        (H, W) int32 values, a colour as r * 65536 + g * 256 + b, and COLOR, PALETTE or GREY.

    Raises:
        ImageError: it cannot be read.
        SourceError: it was compressed with losses, or holds no whole numbers.
    """
    with open_image(path) as image:
        if image.format not in ("PNG", "BMP", "TIFF"):
            raise SourceError(f"{path} is a {image.format}, {LOSSY}")
        by_color = labels is not None and labels.is_color(image.mode)
        if by_color or image.mode in ("RGB", "RGBA", "PA"):
            rgb = np.asarray(image.convert("RGB"))
            values = rgb[..., 0].astype(np.int32) << 16
            return values | rgb[..., 1].astype(np.int32) << 8 | rgb[..., 2], COLOR
        mode = PALETTE if image.mode == "P" else GREY
        numbers = np.asarray(image.convert("L") if image.mode == "LA" else image)
    if numbers.ndim != 2 or numbers.dtype.kind not in "bui" or numbers.min(initial=0) < 0:
        raise SourceError(f"{path} holds other values than the numbers of labels, from 0 on")
    return numbers.astype(np.int32), mode
