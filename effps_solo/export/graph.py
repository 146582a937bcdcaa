"""The whole network as one function of tensors: image -> panoptic map and segment table.

Preprocessing, the network, and the steps of :mod:`effps_solo.modeling`, which at export take the form
without loops (:mod:`effps_solo.modeling.execution`).

C classes, K instances; H x W output pixels; S rows of the table.
"""

from fractions import Fraction
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.modeling.execution import cut_to
from effps_solo.modeling.fusion.segments import SegmentTable
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.upsampling import Size, stride4_size

# panoptic_seg, category_ids, scores, areas, valid
GraphOutput = Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class PanopticGraph(nn.Module):
    """One image -> panoptic map and segment table.

    Input: (H, W, 3) uint8 in the channel order of the model. Output, a plain tuple:

    - panoptic_seg: (H, W) int32 segment ids, 0 is void.
    - category_ids: (S,) int64 contiguous id of the segments 1 .. S; -1 where there is none.
    - scores: (S,) fp32 in [0, 1].
    - areas: (S,) int64 pixels.
    - valid: (S,) bool, whether there is such a segment.
    """

    def __init__(
        self,
        model: EfficientPS,
        output_size: Optional[Size] = None,
        scale: Fraction = Fraction(1),
    ) -> None:
        """
        Args:
            model: in eval mode, of a config that passes :func:`.checks.check_exportable`.
            output_size: (H, W) of the map; None: that of the image.
            scale: factor on the sides of the image for the network, >= 1.
        """
        super().__init__()
        self.model = model
        self.output_size = output_size
        self.scale = scale

    @property
    def num_rows(self) -> int:
        """S."""
        head, space = self.model.instance_head, self.model.label_space
        return head.decoder.max_detections + space.num_classes

    def forward(self, image: torch.Tensor) -> GraphOutput:
        model, output_size = self.model, self.output_size or tuple(image.shape[:2])
        image = self._enlarged(image.float())
        size = tuple(image.shape[:2])
        features = model.backbone(self._normalised(image))
        assert model.sem_seg_head is not None  # of an exportable config
        semantic_logits = cut_to(model.sem_seg_head(features)[0], stride4_size(size))
        min_score = model.fusion.thresholds.score
        found = model.instance_head.detections(features, [size], min_score=min_score)[0]
        panoptic_seg, table = model.fusion.fuse(semantic_logits, found, size, output_size)
        return (panoptic_seg, *rows_by_id(table, self.num_rows))

    def _enlarged(self, image: torch.Tensor) -> torch.Tensor:
        """(H, W, 3) of whole numbers -> ``scale`` times as large."""
        if self.scale == 1:
            return image
        up, down = self.scale.numerator, self.scale.denominator
        height, width = ((2 * side * up + down) // (2 * down) for side in image.shape[:2])
        channels = image.permute(2, 0, 1)[None]
        # As Pillow, whose images a model is trained on: columns first, whole numbers in between.
        for size in ((image.shape[0], width), (height, width)):
            channels = F.interpolate(channels, size=size, mode="bilinear", align_corners=False)
            channels = (channels + 0.5).floor()
        return channels[0].permute(1, 2, 0)

    def _normalised(self, image: torch.Tensor) -> torch.Tensor:
        """(H, W, 3) -> (1, 3, Hp, Wp), padded with zeros below and to the right."""
        model = self.model
        # The channels stay last until the first convolution, which reads them so in most runtimes.
        # Whole rows: ONNX Runtime broadcasts three numbers six times slower.
        height, width = image.shape[:2]
        mean, std = (x.flatten().expand(width, -1) for x in (model.pixel_mean, model.pixel_std))
        divisor = model.backbone.size_divisibility
        # No remainder: ONNX has none of a number that is not known at export.
        down, across = (
            (side + divisor - 1) // divisor * divisor - side for side in (height, width)
        )
        return F.pad((image - mean) / std, (0, 0, 0, across, 0, down))[None].permute(0, 3, 1, 2)


def rows_by_id(
    table: SegmentTable, num_rows: int
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """category_ids, scores, areas and valid of :class:`PanopticGraph`, of at most ``num_rows`` segments."""
    ids = table.ids.to(torch.int64)

    def by_id(values: torch.Tensor, nothing: int) -> torch.Tensor:
        rows = torch.full((num_rows + 1,), nothing, dtype=values.dtype, device=values.device)
        return rows.scatter(0, ids, values)[1:]

    category_ids = by_id(table.category_ids, -1)
    return category_ids, by_id(table.scores, 0), by_id(table.areas, 0), category_ids >= 0
