"""Data sets: where they lie, what their classes are, registration with Detectron2.

Imports nothing: the processes that prepare a data set need neither torch nor Detectron2.
"""
