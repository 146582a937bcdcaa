"""What passes between rooms: label space, classes, panoptic PNGs, measures of segments. Without torch."""
