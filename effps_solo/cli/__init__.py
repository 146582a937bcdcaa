"""Commands of ``python -m effps_solo``.

Each is a module with ``add_arguments(parser)`` and ``run(args) -> int``, which returns the exit status.
"""
