"""Importers: annotations in other formats become a data set in COCO panoptic layout.

A reader (:mod:`~.formats` lists them) finds the annotations and gives an :class:`~.source.Export`: items by
split, and how each is drawn. Most formats draw shapes: their reader says what an image holds, and
:mod:`~.drawing` judges (:mod:`~.geometry`), rasterises (:mod:`~.rasterize`) and counts it, for all formats
alike. :mod:`~.class_choice` finds the classes, :mod:`~.splits` the splits, :mod:`~.run` writes the data set.
Imports nothing, for the sake of the worker processes.
"""
