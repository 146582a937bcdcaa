"""Data: the panoptic mapper, augmentation, geometry of objects, data sets, their checks and importers.

Imports nothing: the workers that read and convert images need neither torch nor Detectron2.
"""
