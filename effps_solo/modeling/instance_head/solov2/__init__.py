"""The SOLOv2 instance head."""

from .head import SOLOv2InstanceHead

__all__ = ["SOLOv2InstanceHead"]
