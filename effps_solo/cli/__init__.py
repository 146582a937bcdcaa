"""Commands of ``python -m effps_solo``: each module has ``add_arguments(parser)`` and ``run(args) -> int``."""
