"""The version that a file states."""

from typing import Any

import pytest

from effps_solo.utils.compatibility import FIRST_VERSION, version_of
from effps_solo.utils.errors import UserError
from effps_solo.utils.version import __version__


@pytest.mark.parametrize("value", [None, "0.1.0", "0.1", __version__])
def test_files_of_this_version_and_older_ones_are_read_silently(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    version = version_of(value, "config file 'a.yaml'")
    assert (version == FIRST_VERSION) == (value != __version__)
    assert not caplog.records


def test_a_newer_file_gives_one_line_of_warning(caplog: pytest.LogCaptureFixture) -> None:
    version_of("99.1", "config file 'a.yaml'")
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("config file 'a.yaml' was written by effps_solo 99.1, this is ")
    assert "\n" not in text


@pytest.mark.parametrize("value", ["new", "", 0.2, [0, 2]])
def test_what_is_no_version(value: Any) -> None:
    with pytest.raises(UserError, match="config file 'a.yaml': the version of effps_solo is .*'0"):
        version_of(value, "config file 'a.yaml'")
