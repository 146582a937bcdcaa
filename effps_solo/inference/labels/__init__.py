"""Predictions as labels for labelling tools: polygons of things and stuff, which ``import-dataset`` reads.

:mod:`~.polygons` goes round the pixels of a mask, :mod:`~.outlines` does so for the segments of an image
and leaves out corners; one module for each format writes them. Needs numpy, OpenCV and Pillow alone.
"""

FORMATS = ("labelme", "coco", "cvat")
