"""The ends of messages."""

from effps_solo.utils.errors import hint_at


def test_hints() -> None:
    assert hint_at("seed", ("configs", "seeds")) == "did you mean 'seeds'?"
    assert hint_at(7, ("configs", "seeds")) == "there are configs, seeds"
