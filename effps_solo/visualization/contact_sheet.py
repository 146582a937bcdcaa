"""Contact sheets: what a mapper hands to the network, drawn over the image it belongs to.

H x W pixels of a mapped image, M objects, C classes by contiguous id.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.label_space import PanopticLabelSpace

from .fonts import dejavu_sans

Color = Tuple[int, int, int]
Classes = Sequence[PanopticClass]
OPACITY = 0.5
VOID_BRIGHTNESS = 0.4
CROWD_PERIOD = 8  # pixels from one stripe of a crowd to the next
MARGIN = 8
FONT_SIZE = 13
LINE_HEIGHT = 20
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
# A name is written on an object if the object is at least this wide, measured in the name's width.
MIN_WIDTH_FOR_NAME = 0.8


@dataclass
class View:
    """A mapped image at the size of its tile."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    sem_seg: np.ndarray  # (H, W) contiguous ids; others are void
    objects: np.ndarray  # (H, W) k + 1 for object k, 0 for none
    classes: List[int]  # contiguous id of each of the M objects
    lost: List[bool]  # of M: no pixel of the object's stride-4 mask is set
    caption: str  # one line of text


def view_of(
    mapped: Dict[str, Any],
    label_space: PanopticLabelSpace,
    *,
    title: str,
    width: int,
    is_bgr: bool = False,
) -> View:
    """The view of a mapper's output, scaled to ``width`` pixels.

    Args:
        mapped: output of a training mapper; "image", "sem_seg" and "instances" are read.
        title: begins the caption.
        is_bgr: the order of the image's channels.
    """
    image = mapped["image"].numpy().transpose(1, 2, 0)
    image = image[..., ::-1] if is_bgr else image
    instances = mapped["instances"]
    ids, masks = instances.gt_masks.ids.numpy(), instances.gt_masks.objects.numpy()
    object_of_id = np.zeros(max(masks.max(initial=0), ids.max(initial=0)) + 1, dtype=np.int32)
    object_of_id[ids] = np.arange(1, len(ids) + 1)
    sem_seg = mapped["sem_seg"].numpy().astype(np.int32)
    caption = f"{title}: {image.shape[1]}x{image.shape[0]}, things: {len(instances)}"
    return View(
        image=scaled(np.ascontiguousarray(image), width),
        sem_seg=scaled(sem_seg, width),
        objects=scaled(object_of_id[masks], width),
        classes=[label_space.thing_contiguous_id(i) for i in instances.gt_classes.tolist()],
        lost=(~instances.gt_stride4_masks.flatten(1).any(dim=1)).tolist(),
        caption=caption,
    )


def scaled(pixels: np.ndarray, width: int) -> np.ndarray:
    """(H, W) ids or (H, W, 3) colours, ``width`` pixels wide."""
    smooth = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_LINEAR
    size = (width, max(1, round(pixels.shape[0] * width / pixels.shape[1])))
    method = smooth if pixels.ndim == 3 else cv2.INTER_NEAREST
    return cv2.resize(pixels, size, interpolation=method)


def draw_view(view: View, classes: Classes) -> np.ndarray:
    """(H, W, 3) uint8: the image under its labels.

    Void is grey and dark, crowds are striped, every object has a white outline and a shade of its
    own; a red outline if masks of stride 4 cannot show it.
    """
    canvas = view.image.astype(np.float32)
    is_class = (view.sem_seg >= 0) & (view.sem_seg < len(classes))
    colors = np.array([*(c.color for c in classes), BLACK], dtype=np.float32)
    paint = colors[np.where(is_class, view.sem_seg, len(classes))]
    paint = (paint * _shades(len(view.classes))[view.objects][..., None]).clip(0, 255)
    y, x = np.indices(view.objects.shape)
    striped = _crowd(view, classes) & ((x + y) % CROWD_PERIOD < CROWD_PERIOD // 2)
    opacity = np.where(striped, 0.0, OPACITY)[..., None]
    void = canvas.mean(axis=2, keepdims=True) * VOID_BRIGHTNESS
    canvas = np.where(is_class[..., None], canvas * (1 - opacity) + paint * opacity, void)
    outlines = _outlines(view.objects)
    lost = np.isin(view.objects, np.flatnonzero(view.lost) + 1)
    canvas[outlines] = WHITE
    canvas[outlines & lost] = RED
    return _write_names(canvas.round().astype(np.uint8), view, classes)


def _shades(num_objects: int) -> np.ndarray:
    """(M + 1,) factors on the colour: 1 without object, then different for neighbouring ids."""
    steps = np.array([0.75, 1.1, 0.9, 1.25, 0.6, 1.0])
    return np.concatenate([[1.0], steps[np.arange(num_objects) % len(steps)]]).astype(np.float32)


def _crowd(view: View, classes: Classes) -> np.ndarray:
    """(H, W) bool: of a thing class, but of no object."""
    thing_ids = [i for i, c in enumerate(classes) if c.isthing]
    return np.isin(view.sem_seg, thing_ids) & (view.objects == 0)


def _outlines(objects: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of an object beside another id."""
    wide = np.pad(objects, 1, mode="edge")
    beside = (wide[1:-1, :-2], wide[1:-1, 2:], wide[:-2, 1:-1], wide[2:, 1:-1])
    return (objects > 0) & np.any([objects != others for others in beside], axis=0)


def _write_names(picture: np.ndarray, view: View, classes: Classes) -> np.ndarray:
    """Writes the class on every object that has room for it; the only thing class needs no name."""
    sheet = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(sheet), dejavu_sans(FONT_SIZE - 2)
    for k, class_id in enumerate(view.classes if sum(c.isthing for c in classes) > 1 else ()):
        y, x = np.nonzero(view.objects == k + 1)
        name = classes[class_id].name
        length = pen.textlength(name, font)
        if len(x) == 0 or np.ptp(x) < MIN_WIDTH_FOR_NAME * length or np.ptp(y) < FONT_SIZE:
            continue
        middle_x = _inside(x.mean(), length, sheet.width)
        middle = (middle_x, _inside(y.mean(), FONT_SIZE, sheet.height))
        pen.text(middle, name, WHITE, font, anchor="mm", stroke_width=2, stroke_fill=BLACK)
    return np.asarray(sheet)


def _inside(middle: float, length: float, end: float) -> float:
    """The middle of a text nearest to ``middle`` that keeps it within 0 .. ``end``."""
    return float(max(min(middle, end - length / 2 - 2), length / 2 + 2))


def contact_sheet(rows: Sequence[Sequence[View]], classes: Classes) -> np.ndarray:
    """One picture (H', W', 3) uint8 of all views, their captions, and a legend of what they show."""
    drawn = [[_with_caption(draw_view(v, classes), v.caption) for v in row] for row in rows]
    parts = [_row(tiles) for tiles in drawn]
    legend = _legend([view for row in rows for view in row], classes)
    width = max((part.shape[1] for part in parts), default=0)
    parts.append(_draw_legend(legend, max(width, 3 * LINE_HEIGHT)))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_padded(part, part.shape[0], width) for part in parts])


def _with_caption(picture: np.ndarray, caption: str) -> np.ndarray:
    sheet = Image.new("RGB", (picture.shape[1], LINE_HEIGHT + picture.shape[0]), WHITE)
    font, text = dejavu_sans(FONT_SIZE), caption
    pen = ImageDraw.Draw(sheet)
    while pen.textlength(text, font) > sheet.width and len(text) > 4:
        text = f"...{text[4:]}"  # the end of a path and the figures tell most
    pen.text((0, LINE_HEIGHT // 2), text, BLACK, font, anchor="lm")
    sheet.paste(Image.fromarray(picture), (0, LINE_HEIGHT))
    return np.asarray(sheet)


def _row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles side by side, with a margin around each but above."""
    height = max((tile.shape[0] for tile in tiles), default=0) + MARGIN
    margin = np.full((height, MARGIN, 3), 255, dtype=np.uint8)
    padded = [_padded(tile, height, tile.shape[1] + MARGIN) for tile in tiles]
    return np.concatenate([margin, *padded], axis=1)


def _padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """With white below and to the right."""
    missing = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, missing, constant_values=255)


def _legend(views: Sequence[View], classes: Classes) -> List[Tuple[Color, str]]:
    """Colours and texts of what the views show."""
    shown = {int(i) for view in views for i in np.unique(view.sem_seg)}
    entries = [
        (c.color, c.name + (" (thing)" if c.isthing else ""))
        for i, c in enumerate(classes)
        if i in shown
    ]
    if shown - set(range(len(classes))):
        entries.append((BLACK, "void: grey and dark"))
    if any(_crowd(view, classes).any() for view in views):
        entries.append((WHITE, "stripes: a group of things"))
    if any(any(view.lost) for view in views):
        entries.append((RED, "outline: too small for masks of stride 4"))
    return entries


def _draw_legend(entries: Sequence[Tuple[Color, str]], width: int) -> np.ndarray:
    """Squares with their texts, in as many lines as they need."""
    font = dejavu_sans(FONT_SIZE)
    places, x, y = [], MARGIN, 0
    for color, text in entries:
        length = int(font.getlength(text)) + LINE_HEIGHT + 2 * MARGIN
        if x > MARGIN and x + length > width:
            x, y = MARGIN, y + LINE_HEIGHT
        places.append((x, y, color, text))
        x += length
    right = max((x + LINE_HEIGHT + int(font.getlength(t)) for x, _, _, t in places), default=0)
    sheet = Image.new("RGB", (max(width, right + MARGIN), y + LINE_HEIGHT + MARGIN), WHITE)
    pen = ImageDraw.Draw(sheet)
    for x, y, color, text in places:
        pen.rectangle((x, y + 3, x + LINE_HEIGHT - 7, y + LINE_HEIGHT - 4), color, BLACK)
        pen.text((x + LINE_HEIGHT, y + LINE_HEIGHT // 2), text, BLACK, font, anchor="lm")
    return np.asarray(sheet)
