"""The SOLOv2 instance head."""

from .head import SOLOv2InstanceHead
from .published import PublishedSOLOv2InstanceHead

__all__ = ["PublishedSOLOv2InstanceHead", "SOLOv2InstanceHead"]
