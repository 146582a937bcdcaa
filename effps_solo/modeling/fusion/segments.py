"""From a code per pixel to numbered segments, pure functions without a loop over segments.

They are part of the exported graph too, so no shape depends on values.

S kinds of segments (rows of a table); H x W output pixels; C classes, h4 x w4 stride-4 points.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import torch

from effps_solo.modeling.pixel_labels import PixelLabels


class SegmentTable(NamedTuple):
    """What there is to know about each possible segment, (S,) each.

    Attributes:
        ids: int32, 1, 2, ... in the order of the rows; 0: not in the map.
        category_ids: int64, contiguous.
        isthing: bool.
        scores: in [0, 1].
        areas: int64, output pixels.
    """

    ids: torch.Tensor
    category_ids: torch.Tensor
    isthing: torch.Tensor
    scores: torch.Tensor
    areas: torch.Tensor


def number_segments(
    code: PixelLabels,
    *,
    category_ids: torch.Tensor,
    isthing: torch.Tensor,
    scores: torch.Tensor,
    min_areas: torch.Tensor,
) -> Tuple[torch.Tensor, SegmentTable]:
    """Segment ids for the rows that hold enough pixels.

    Args:
        code: of H x W pixels the row that holds it, S for void.
        category_ids, isthing, scores: (S,) columns of the table.
        min_areas: (S,) rows with fewer pixels become void.

    Returns:
        panoptic_seg (H, W) int32, 0 is void, and the table.
    """
    areas = code.counts(isthing.shape[0] + 1)[:-1]
    present = areas >= min_areas
    ids = (present.long().cumsum(0) * present).to(torch.int32)
    panoptic_seg = code.numbered(torch.cat([ids, ids.new_zeros(1)]))
    return panoptic_seg, SegmentTable(ids, category_ids, isthing, scores, areas)


def segments_info(table: SegmentTable) -> List[Dict[str, Any]]:
    """Detectron2's list of the segments in the map: id, category_id, isthing, score and area."""
    rows = torch.stack([column.double() for column in table], dim=1).tolist()  # one read from a GPU
    return [
        {
            "id": int(id_),
            "category_id": int(category),
            "isthing": bool(isthing),
            "score": score,
            "area": int(area),
        }
        for id_, category, isthing, score, area in rows
        if id_ > 0
    ]


def mean_winning_probability(semantic_logits: torch.Tensor, winner: torch.Tensor) -> torch.Tensor:
    """(C, h4, w4) logits and the class that wins each point (h4, w4), their argmax or that of some of
    them -> (C,) mean softmax probability over the points that a class wins, 0 where it wins none.
    """
    logits, winner = semantic_logits.float().flatten(1), winner.flatten()
    # The probability of the winner; the softmax of the others is never made.
    largest, won = logits.amax(dim=0), logits.gather(0, winner[None])[0]
    probability = (won - largest).exp() / (logits - largest).exp().sum(dim=0)
    total = probability.new_zeros(len(semantic_logits)).scatter_add(0, winner, probability)
    count = probability.new_zeros(len(semantic_logits)).scatter_add(
        0, winner, torch.ones_like(probability)
    )
    return total / count.clamp(min=1)
