"""The net of pinned numbers itself: what it catches, what it pins, what it never overwrites."""

import pytest
from pins import REPIN, check, read


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Pins of `part` 1: x = 0.5, n = 3."""
    monkeypatch.setenv(REPIN, "1")
    check(tmp_path / "versions.json", "case", {"part": 1}, {"x": 0.5, "n": 3})
    monkeypatch.delenv(REPIN)
    return tmp_path / "versions.json"


def test_equal_numbers_pass(file):
    check(file, "case", {"part": 1}, {"x": 0.5 + 1e-10, "n": 3})


@pytest.mark.parametrize(
    "numbers", [{"x": 0.5001, "n": 3}, {"x": 0.5, "n": 4}, {"x": 0.5}, {"x": 0.5, "n": 3, "y": 0.0}]
)
@pytest.mark.parametrize("repin", ["", "1"])
def test_numbers_cannot_change_under_a_version(file, numbers, repin, monkeypatch):
    monkeypatch.setenv(REPIN, repin)
    before = read(file)
    with pytest.raises(AssertionError, match=r"no version did.*raise the version.*\(part 1\)"):
        check(file, "case", {"part": 1}, numbers)
    assert read(file) == before


def test_a_raised_version_asks_for_new_pins_and_takes_them(file, monkeypatch):
    with pytest.raises(AssertionError, match=f"expected pins for part 2, got part 1; {REPIN}=1"):
        check(file, "case", {"part": 2}, {"x": 0.7, "n": 3})
    monkeypatch.setenv(REPIN, "1")
    check(file, "case", {"part": 2}, {"x": 0.7, "n": 3})
    assert read(file) == {"case": {"versions": {"part": 2}, "numbers": {"x": 0.7, "n": 3}}}


def test_a_case_without_pins_fails(file):
    with pytest.raises(AssertionError, match="expected pins for part 1, got nothing"):
        check(file, "another case", {"part": 1}, {"x": 0.5})
