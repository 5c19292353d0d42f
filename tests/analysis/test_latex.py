"""The tables as LaTeX: rows that fit their columns, and no text that is read as markup."""

import re

from cabench.analysis.latex import latex, to_latex

HOSTILE = r"50 % of a_b & c # {d} $e ~f ^g \input{x} <i>"


def test_special_characters_are_escaped():
    assert latex("KID x10^3 @2000 ↓") == r"KID $\times 10^{3}$ @2000 $\downarrow$"
    assert latex("-0.20 [-0.32, -0.09] can-3") == "$-$0.20 {[}$-$0.32, $-$0.09] can-3"
    escaped = latex(HOSTILE)
    assert r"\textbackslash{}input\{x\}" in escaped
    assert not re.search(r"(?<!\\)[%&#_$]", escaped)


def test_every_row_has_the_cells_of_its_columns(study):
    example = study()
    example.manifest["claims"][0]["says"] = HOSTILE
    text = to_latex(example.results())
    tables = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tables) > 3
    for columns, body in tables:
        count = len(re.sub(r">\{.*?\}p\{.*?\}\}?|p\{.*?\}", "p", columns).replace("}", ""))
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == count - 1, (columns, row)
    assert "native+can-dw-pe" in text and r"\toprule" in text


def test_every_arm_is_in_the_table_of_scores(study, long_names):
    results = study(long_names).results()
    text = to_latex(results)
    assert all(latex(arm) in text for arm in results.arms)
