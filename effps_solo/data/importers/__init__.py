"""Importers: annotations in other formats become a data set in COCO panoptic layout.

An importer finds the annotations and gives a :class:`~.source.Source`, whose function ``draw`` puts the
annotation of one image on a :class:`~.canvas.SegmentCanvas`; :mod:`~.run` does the rest. Imports
nothing, for the sake of the worker processes.
"""
