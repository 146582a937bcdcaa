"""The dataset doctor: finds what is wrong with a data set in COCO panoptic layout, all in one run.

Imports nothing: the workers that read images need neither torch nor Detectron2.
"""
