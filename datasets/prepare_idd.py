#!/usr/bin/env python3
"""Makes the panoptic annotations of IDD from the download; see README.md beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from effps_solo.data.datasets.prepare import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main(["idd"]))
