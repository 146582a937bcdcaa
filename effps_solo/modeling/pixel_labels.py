"""The labels of the pixels of an output, as a map or as those of blocks and the exceptions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Tuple

import torch

Size = Tuple[int, int]


class PixelLabels(ABC):
    """The labels of H x W pixels."""

    @property
    @abstractmethod
    def size(self) -> Size:
        """(H, W)."""

    @abstractmethod
    def counts(self, length: int) -> torch.Tensor:
        """(length,) int64: how many pixels have the labels 0, 1, ..."""

    @abstractmethod
    def numbered(self, numbers: torch.Tensor) -> torch.Tensor:
        """(H, W): ``numbers[label]``, of (n,) numbers, of each pixel."""


@dataclass
class LabelMap(PixelLabels):
    """Labels that are a map of (H, W) integers."""

    labels: torch.Tensor

    @property
    def size(self) -> Size:
        return self.labels.shape[0], self.labels.shape[1]

    def counts(self, length: int) -> torch.Tensor:
        flat = self.labels.flatten()
        counts = torch.zeros(length, dtype=flat.dtype, device=flat.device)
        return counts.scatter_add(0, flat.long(), torch.ones_like(flat)).long()

    def numbered(self, numbers: torch.Tensor) -> torch.Tensor:
        # Five times faster than indexing.
        return numbers.index_select(0, self.labels.flatten()).view_as(self.labels)


@dataclass
class UpsampledLabels(PixelLabels):
    """The labels of blocks of pixels, but where those of a block have labels of their own.

    Attributes:
        blocks: (h, w) integers.
        contested: (h, w) bool, the blocks whose pixels have labels of their own.
        rows, columns: (H,) and (W,) the block of each row and column of pixels.
        pixels, labels: (P,) the pixels of contested blocks, y * W + x, and their labels.
        counted: (P,) bool, False of pixels that are there once more.
    """

    blocks: torch.Tensor
    contested: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    pixels: torch.Tensor
    labels: torch.Tensor
    counted: torch.Tensor

    @property
    def size(self) -> Size:
        return self.rows.shape[0], self.columns.shape[0]

    def map(self) -> torch.Tensor:
        """(H, W)."""
        # Columns first: those are copied one by one, rows as a whole. Here as in :mod:`.upsampling`
        # index_select and scatter are two to four times faster than indexing.
        whole = self.blocks.index_select(1, self.columns).index_select(0, self.rows)
        return whole.flatten().scatter(0, self.pixels, self.labels).view_as(whole)

    def counts(self, length: int) -> torch.Tensor:
        down, across = (
            torch.zeros(count, dtype=torch.int64, device=blocks.device).scatter_add(
                0, blocks, torch.ones_like(blocks)
            )
            for count, blocks in zip(self.blocks.shape, (self.rows, self.columns))
        )
        pixels = (down[:, None] * across * ~self.contested).flatten()
        labels = torch.cat([self.blocks.flatten(), self.labels]).long()
        each = torch.cat([pixels, self.counted.long()])
        return torch.zeros(length, dtype=torch.int64, device=labels.device).scatter_add(
            0, labels, each
        )

    def numbered(self, numbers: torch.Tensor) -> torch.Tensor:
        blocks = numbers.index_select(0, self.blocks.flatten()).view_as(self.blocks)
        return replace(self, blocks=blocks, labels=numbers.index_select(0, self.labels)).map()
