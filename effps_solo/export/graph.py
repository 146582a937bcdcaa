"""The whole network as one function of tensors: image -> panoptic map and segment table.

What the model does at inference in loops over instances and with lists is one expression here, so
that it can be traced: every number that depends on the image is the length of a tensor. The steps
themselves are those of the model. One thing differs: the overlap test of the fusion takes
``OVERLAP_ROUNDS`` rounds, see :func:`uncovered`.

C classes, n candidates, K instances; h x w the stride-4 map, H x W output pixels; S rows of the table.
"""

from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.modeling.fusion import AdaptiveFusion
from effps_solo.modeling.fusion.adaptive import SUPPORT_MARGIN, fused_votes
from effps_solo.modeling.fusion.segments import SegmentTable, mean_winning_probability
from effps_solo.modeling.instance_head.no_instances import NoInstanceHead
from effps_solo.modeling.instance_head.solov2.head import SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.inference import (
    boxes_from_masks,
    decayed_scores,
    same_class_iou,
    select_candidates,
)
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.postprocessing import Size, stride4_size
from effps_solo.utils.errors import ConfigError

OVERLAP_ROUNDS = 8  # decides noise right; photographs need two or three
NOBODY = 1 << 20  # above every rank; runtimes compute integers in fp32 at times


# panoptic_seg, category_ids, scores, areas, valid
GraphOutput = Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Detections(NamedTuple):
    """scores (K,), thing_index (K,) and mask_logits (K, h, w), best first; K >= 1.

    The first stands for nothing where its score is too low for the fusion.
    """

    scores: torch.Tensor
    thing_index: torch.Tensor
    mask_logits: torch.Tensor


class PanopticGraph(nn.Module):
    """One image -> panoptic map and segment table.

    Input: (H, W, 3) uint8 in the channel order of the model. Output, a plain tuple:

    - panoptic_seg: (H, W) int32 segment ids, 0 is void.
    - category_ids: (S,) int64 contiguous id of the segments 1 .. S; -1 where there is none.
    - scores: (S,) fp32 in [0, 1].
    - areas: (S,) int64 pixels.
    - valid: (S,) bool, whether there is such a segment.
    """

    def __init__(self, model: EfficientPS, output_size: Optional[Size] = None) -> None:
        """
        Args:
            model: in eval mode, with a SOLOv2 head and the adaptive fusion.
            output_size: (H, W) of the map; None: that of the image.

        Raises:
            ConfigError: a part of the model cannot be exported.
        """
        super().__init__()
        check_exportable(model)
        self.model = model
        self.output_size = output_size

    @property
    def num_rows(self) -> int:
        """S."""
        head, space = self.model.instance_head, self.model.label_space
        return head.decoder.max_detections + space.num_classes

    def forward(self, image: torch.Tensor) -> GraphOutput:
        model, size = self.model, tuple(image.shape[:2])
        features = model.backbone(self._normalised(image))
        rows, columns = stride4_size(size)
        assert model.sem_seg_head is not None  # checked above
        semantic_logits = model.sem_seg_head(features)[0, :, :rows, :columns].float()
        found = self._detect(features, size)
        panoptic_seg, table = self._fuse(semantic_logits, found, size)
        return (panoptic_seg, *rows_by_id(table, self.num_rows))

    def _normalised(self, image: torch.Tensor) -> torch.Tensor:
        """(H, W, 3) -> (1, 3, Hp, Wp), padded with zeros below and to the right."""
        model = self.model
        pixels = (image.permute(2, 0, 1).float() - model.pixel_mean) / model.pixel_std
        height, width = image.shape[:2]
        divisor = model.backbone.size_divisibility
        return F.pad(pixels[None], (0, -width % divisor, 0, -height % divisor))

    def _detect(self, features: dict, size: Size) -> Detections:
        """The decoding of SOLOv2, see :class:`Decoder`."""
        head = self.model.instance_head
        decoder, output = head.decoder, head(features)
        lowest = max(decoder.update_thresh, self.model.fusion.score_thresh)
        scores, cells, classes = select_candidates(
            head.cell_scores(output)[0], max_candidates=decoder.nms_pre
        )
        passes = scores > max(decoder.score_thresh, lowest)
        chosen = first_and(passes)
        scores, cells, classes = (scores * passes)[chosen], cells[chosen], classes[chosen]

        rows, columns = stride4_size(size)
        logits = head.masks(output).of(cells).logits()[:, :rows, :columns]
        inside = (logits > 0).float().flatten(1)
        areas = inside.sum(dim=1)
        maskness = (logits.flatten(1).sigmoid() * inside).sum(dim=1) / areas.clamp(min=1)
        scores = scores * maskness
        # What is dropped ranks last, where it lowers no other score.
        scores = scores * ((areas >= decoder.min_mask_area) & (scores >= lowest))
        scores = decayed_scores(
            same_class_iou(inside @ inside.T, classes),
            scores,
            kernel=decoder.nms_kernel,
            sigma=decoder.nms_sigma,
        )
        scores, order = scores.sort(descending=True, stable=True)
        rank = torch.arange(scores.shape[0], device=scores.device)
        best = first_and((scores >= lowest) & (rank < decoder.max_detections))
        order = order[best]
        return Detections(scores[best], classes[order], logits[order])

    def _fuse(
        self, semantic_logits: torch.Tensor, found: Detections, size: Size
    ) -> Tuple[torch.Tensor, SegmentTable]:
        """The adaptive fusion, see :meth:`AdaptiveFusion.forward`."""
        fusion = self.model.fusion
        inside = found.mask_logits > 0
        # A score of 0 is that of the first one, which no threshold of 0 may let pass.
        confident = (found.scores >= fusion.score_thresh) & (found.scores > 0)
        kept = uncovered(inside, confident, fusion.overlap_thresh)
        everyone = torch.arange(kept.shape[0], device=kept.device)
        votes = fusion.votes(semantic_logits, found.mask_logits, found.thing_index, everyone)
        fused = fused_votes(votes.scale * found.mask_logits, semantic_logits[votes.classes])
        may_vote = support(inside) & kept[:, None, None]
        channels = torch.cat([votes.rivals, fused.masked_fill(~may_vote, -torch.inf)])
        winner = channels.max(dim=0).indices
        code = fusion.upsample(winner, votes, size, self.output_size or size)
        class_scores = mean_winning_probability(semantic_logits, votes.class_of_unclaimed)
        return fusion.assemble(code, found.scores, found.thing_index, class_scores)


def check_exportable(model: nn.Module) -> None:
    """Raise ConfigError, naming the key, where a part of ``model`` is none that the graph has."""
    if not isinstance(model, EfficientPS):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE is {type(model).__name__}; only EfficientPS can be exported"
        )
    if model.sem_seg_head is None:
        raise ConfigError("MODEL.SEM_SEG_HEAD.NAME is ''; the graph needs a semantic head")
    if not isinstance(model.fusion, AdaptiveFusion):
        raise ConfigError(
            f"MODEL.PANOPTIC_FUSION.NAME is {type(model.fusion).__name__}; only AdaptiveFusion can "
            "be exported"
        )
    if isinstance(model.instance_head, NoInstanceHead):
        raise ConfigError("the data set has no classes of things; such models cannot be exported")
    if not isinstance(model.instance_head, SOLOv2InstanceHead):
        raise ConfigError(
            f"MODEL.INSTANCE_HEAD.NAME is {type(model.instance_head).__name__}; only "
            "SOLOv2InstanceHead can be exported"
        )
    if model.instance_head.parity:
        raise ConfigError("MODEL.SOLOV2.PARITY is True; set it to False for the export")


def first_and(condition: torch.Tensor) -> torch.Tensor:
    """Indices where ``condition`` (n,) holds, and 0: no tensor of the graph is empty."""
    first = torch.arange(condition.shape[0], device=condition.device) == 0
    indices = (condition | first).nonzero()[:, 0]
    torch._check(indices.shape[0] >= 1)
    return indices


def uncovered(inside: torch.Tensor, wanted: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which masks :func:`effps_solo.modeling.fusion.adaptive.without_overlaps` keeps.

    A round drops the masks that those which the round before has kept cover. After r rounds the
    outcome is right wherever a chain of masks that cover each other has at most r + 1 of them.

    Args:
        inside: (K, h, w) bool masks, best first.
        wanted: (K,) bool; others are not kept.
        threshold: a mask is dropped when more than this fraction of it is taken.

    Returns:
        (K,) bool.
    """
    inside = inside.flatten(1)
    ones = inside.float()  # runtimes add floats up much faster; exact below 2^24
    areas = ones.sum(dim=1)
    wanted = wanted & (areas > 0)
    # What lies in one mask alone is not taken by another.
    claims = (ones.new_ones(1, ones.shape[0]) @ ones)[0]
    shared = inside.index_select(1, first_and(claims > 1))
    rank = torch.arange(inside.shape[0], device=inside.device, dtype=torch.int32)[:, None]
    kept = wanted
    for _ in range(OVERLAP_ROUNDS):
        holder = torch.where(shared & kept[:, None], rank, NOBODY).amin(dim=0)
        taken = (shared & (holder < rank)).sum(dim=1)
        kept = wanted & (taken <= threshold * areas)
    return kept


def support(inside: torch.Tensor) -> torch.Tensor:
    """(K, h, w) bool masks -> (K, h, w) bool: the points in or next to the box of each mask."""
    boxes = boxes_from_masks(inside)
    low, high = boxes[:, :2] - SUPPORT_MARGIN, boxes[:, 2:] + SUPPORT_MARGIN
    y = torch.arange(inside.shape[1], device=inside.device)
    x = torch.arange(inside.shape[2], device=inside.device)
    rows = (y >= low[:, 1:]) & (y < high[:, 1:])
    columns = (x >= low[:, :1]) & (x < high[:, :1])
    return rows[:, :, None] & columns[:, None, :]


def rows_by_id(
    table: SegmentTable, num_rows: int
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """category_ids, scores, areas and valid of :class:`PanopticGraph`.

    Args:
        num_rows: S, at least the number of segments.
    """
    ids = table.ids.to(torch.int64)

    def by_id(values: torch.Tensor, nothing: int) -> torch.Tensor:
        rows = torch.full((num_rows + 1,), nothing, dtype=values.dtype, device=values.device)
        return rows.scatter(0, ids, values)[1:]

    category_ids = by_id(table.category_ids, -1)
    return category_ids, by_id(table.scores, 0), by_id(table.areas, 0), category_ids >= 0
