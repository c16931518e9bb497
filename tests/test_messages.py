"""Words for a terminal: a bar where one looks, and quiet elsewhere."""

import io
import json

import pytest

from kitsnb import messages
from kitsnb.messages import PROGRESS, progress


@pytest.fixture
def screen(monkeypatch):
    """What a terminal would show."""
    stream, plain = io.StringIO(), messages.console
    monkeypatch.setattr(messages, "console", lambda: plain(file=stream, force_terminal=True, width=80))
    return stream


def test_a_terminal_shows_a_bar_of_the_outer_step_alone(screen):
    for outer in progress("ab", "simulating CT"):
        assert list(progress([1, 2], "patches")) == [1, 2]
    assert "simulating CT" in screen.getvalue()
    assert "patches" not in screen.getvalue()


def test_a_step_that_fails_leaves_the_next_one_its_bar(screen):
    with pytest.raises(ValueError):
        for _ in progress("ab", "simulating CT"):
            raise ValueError
    assert list(progress("ab", "scoring")) == ["a", "b"]
    assert "scoring" in screen.getvalue()


def test_without_a_terminal_nothing_is_printed(capfd, monkeypatch):
    monkeypatch.delenv(PROGRESS, raising=False)
    assert list(progress(iter("ab"), "scoring", 2)) == ["a", "b"]
    assert capfd.readouterr() == ("", "")


def test_a_step_says_in_a_file_how_far_it_is(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv(PROGRESS, str(tmp_path / "far"))
    items = progress("abc", "scoring")
    assert (next(items), next(items), next(items)) == ("a", "b", "c")
    assert json.loads((tmp_path / "far").read_text()) == {"description": "scoring", "completed": 2, "total": 3}
    assert list(items) == []
    assert json.loads((tmp_path / "far").read_text())["completed"] == 3
    assert capfd.readouterr() == ("", "")
