import pytest

from cabench.analysis.formatting import count_unit, decimals, fold, p_text
from cabench.errors import CabenchError
from cabench.evidence.metric import Metric


def test_titles_say_scale_count_and_direction():
    assert Metric("kid", "KID@2000", False, 1000.0).title == "KID x10^3 @2000 ↓"
    assert Metric("acc", "condition accuracy", True).title == "condition accuracy ↑"
    assert Metric("acc", "condition accuracy", True, 100).title == "condition accuracy (%) ↑"


def test_decimals_show_two_digits_of_the_half_width():
    assert decimals([12.3456], [0.42]) == 2
    assert decimals([0.28541], [0.0021]) == 4
    assert decimals([1234.5], [56.0]) == 0
    assert decimals([12.3], [15.0]) == 1  # three digits of the value at least
    assert decimals([float("nan")], [float("nan")]) == 0


def test_one_unit_for_a_column():
    assert count_unit([7.4e6, 9e6, 1.2e7]) == (1e6, "M")
    assert count_unit([220e3, 400e3, 1.2e6]) == (1e3, "K")
    assert count_unit([float("nan")]) == (1.0, "")


@pytest.mark.parametrize("name", ["native+can-dw-pe-and-sites", "x" * 40, "a b", "", "a-" * 20])
def test_fold_loses_nothing_and_keeps_to_its_width(name):
    lines = fold(name, 12)
    assert all(len(line) <= 12 for line in lines)
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_p_values():
    assert [p_text(p) for p in (0.0123, 0.0004, 1.0)] == ["p = .012", "p < .001", "p = 1"]


def test_primary_must_be_a_metric(study):
    example = study()
    example.manifest["primary"] = "kids"
    results = example.results()
    with pytest.raises(CabenchError, match="did you mean 'kid'"):
        _ = results.primary
