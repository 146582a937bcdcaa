#!/usr/bin/env python3
"""Train or evaluate a model of effps_solo: `effps-solo train` under the name that Detectron2's users know."""

import sys

from effps_solo.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
