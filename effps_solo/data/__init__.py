"""Data: the panoptic mapper, augmentation, geometry of objects, data sets, generated street scenes.

Imports nothing: the workers that draw street scenes need neither torch nor Detectron2.
"""
