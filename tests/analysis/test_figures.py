import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pypdfium2
import pytest
from example_study import make_weights
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cabench.analysis import figures
from cabench.analysis.figures.arms import arm_styles, palette, spread
from cabench.analysis.figures.bins import by_bin
from cabench.analysis.figures.cost import SIDE, side_by_side
from cabench.analysis.figures.curves import heldout
from cabench.analysis.figures.forest import limits
from cabench.analysis.figures.grid import _heads
from cabench.analysis.figures.style import DPI, UNDATED, new_figure, save
from cabench.evidence.design import Design
from cabench.evidence.statistics import paired_difference

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_is_laid_out_as_matplotlib_lays_it_out(tmp_path, kind):
    def drawn(save_to):
        with new_figure(5, 3) as figure:
            for axes in figure.subplots(2, 2).flat:
                axes.plot([0, 1000], [0, 0.001], label="a line with a name")
                axes.set_ylabel("a quantity")
            figure.legend(loc="outside lower center")
            save_to(figure)

    ours, theirs = tmp_path / f"ours.{kind}", tmp_path / f"theirs.{kind}"
    drawn(lambda figure: save(figure, ours, [kind]))
    drawn(lambda figure: figure.savefig(theirs, dpi=DPI, metadata=UNDATED[kind]))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved, drawn once, to look into."""
    figures_drawn = []

    def keep(figure, *args, **options):
        if figure not in figures_drawn:
            FigureCanvasAgg(figure).draw()
            figures_drawn.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures_drawn


def _texts_overlap(figure, texts):
    renderer = figure.canvas.get_renderer()
    boxes = [Text.get_window_extent(t, renderer).shrunk(0.98, 0.9) for t in texts]
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]


def _inside(figure, texts):
    page = figure.bbox.padded(1)
    return all(
        page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        for box in (Text.get_window_extent(t, figure.canvas.get_renderer()) for t in texts)
    )


def test_every_chart_is_a_png_an_svg_and_a_pdf(study, tmp_path):
    example = study(["native", "native+dw", "can-3"])
    for key, curves in example.curves.items():
        curves["weights"] = make_weights(key.partition("@")[0])
    results = example.results()
    for figure in figures.STUDY_FIGURES:
        written = figure.draw(tmp_path / "v1.2" / figure.name, results, figures.SCREEN)
        if figure.name in ("lengths", "guidance"):  # of one length, at two values of guidance
            assert written == []
            continue
        png, svg, pdf = written
        assert png.suffix == ".png" and Image.open(png).width > 900
        assert svg.read_text().rstrip().endswith("</svg>")
        assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 5000


def test_guidance_has_the_means_and_paired_differences(study, tmp_path, drawn):
    example = study(["native+dw", "can-3"])
    for record in example.records.values():
        metrics = record["metrics"]
        for value in ("1.5", "2", "3"):
            metrics[f"kid/g{value}"] = metrics["kid"] * float(value)
            metrics[f"condition_accuracy/g{value}"] = metrics["condition_accuracy"] + 0.01
    results = example.results()
    figures.guidance(tmp_path / "guidance", results)
    left, right = drawn[0].axes
    of = {arm: results.by_seed(arm, "kid") * 1000 for arm in results.arms}
    accuracy = results.by_seed("can-3", "condition_accuracy").mean()
    x, y = left.get_lines()[1].get_data()
    assert list(y) == pytest.approx([of["can-3"].mean() * g for g in (1, 1.5, 2, 3)])
    assert list(x) == pytest.approx([accuracy] + [accuracy + 0.01] * 3)
    d = (of["can-3"] - of["native+dw"]).mean()
    _, y = right.get_lines()[0].get_data()
    assert list(y) == pytest.approx([d * g for g in (1, 1.5, 2, 3)])
    assert "condition accuracy" in left.get_xlabel() and right.get_xlabel() == "guidance"


def test_guidance_of_arms_without_a_common_seed_has_no_difference(study, tmp_path, drawn):
    apart = [("native+dw", 0), ("native+dw", 1), ("can-3", 2)]
    example = study(["native+dw", "can-3"], missing=apart)
    for record in example.records.values():
        for value in ("1.5", "2", "3"):
            record["metrics"][f"kid/g{value}"] = record["metrics"]["kid"]
            record["metrics"][f"condition_accuracy/g{value}"] = 0.9
    figures.guidance(tmp_path / "guidance", example.results())
    left, right = drawn[0].axes
    assert len(left.get_lines()) == 2 and len(right.get_lines()) == 1  # the line at 0


def test_forest_rows_and_small_print(study, tmp_path, drawn):
    results = study(failed=[("can-all", s) for s in range(3)]).results()
    figures.forest(tmp_path / "forest", results)
    left, _right = drawn[0].axes
    assert left.get_xlabel().endswith("(← better)") and "×10" in left.get_xlabel()
    arms = [label.get_text() for label in left.get_yticklabels()]
    assert arms == [arm for arm in results.arms if arm != "native+dw"]
    assert any("no result" in t.get_text() for t in left.texts)
    assert any("→" in t.get_text() for t in left.texts)  # the bound, off the scale
    assert "n = 3" in drawn[0].get_supxlabel() and "can-all: 0" in drawn[0].get_supxlabel()


def test_forest_says_which_way_is_better(study, tmp_path, drawn):
    example = study()
    example.manifest["primary"] = "condition_accuracy"
    figures.forest(tmp_path / "f", example.results())
    assert drawn[0].axes[0].get_xlabel().endswith("(better →)")


def test_forest_without_the_baseline_draws_nothing(study, tmp_path):
    results = study(missing=[("native+dw", s) for s in range(3)]).results()
    assert figures.forest(tmp_path / "f.png", results) == []
    assert list(tmp_path.iterdir()) == []


def test_forest_limits_hold_zero_and_every_seed_but_not_a_far_arm():
    def arm(*values):
        return paired_difference(*(_series(v) for v in (values, [0.0] * len(values))))

    near = [arm(1, 2, 3), arm(-1, -1.5, -2), arm(0.5, 1, 0.2)]
    low, high = limits([*near, arm(900, 905, 910)], [False] * 4)
    assert low < -2 and 3 < high < 50
    low, high = limits([*near, arm(900, 905, 910)], [False] * 3 + [True])
    assert 3 < high < 50
    low, high = limits([arm(0, 0, 0)], [False])
    assert low < 0 < high


def _series(values):
    return pd.Series(list(values), dtype=float)


@pytest.mark.parametrize("many", [False, True])
def test_labels_stay_on_the_page_and_apart(study, long_names, tmp_path, drawn, many):
    results = (study(long_names) if many else study()).results()
    for draw in (figures.forest, figures.curves, figures.bins):
        draw(tmp_path / "figure", results)
    forest, lines, heat = drawn
    for figure in (forest, heat):
        names = figure.axes[0].get_yticklabels()
        assert not _texts_overlap(figure, names) and _inside(figure, names)
    direct = lines.axes[1].texts
    assert len(direct) == len(results.contenders)
    assert not _texts_overlap(lines, direct) and _inside(lines, direct)


def test_files_have_the_same_bytes_each_time(study, tmp_path):
    results = study(["native", "native+dw", "can-3"]).results()
    pairs = zip(*(figures.forest(tmp_path / name, results) for name in "ab"), strict=True)
    assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)


@pytest.mark.parametrize("count", [14, 18, 30, 60])
def test_no_two_arms_have_the_same_colour(count):
    assert len(set(palette(count))) == count


def test_forest_bars_are_those_of_one_arm_and_of_all(study, tmp_path, drawn):
    results = study(["native", "native+dw", "can-3"]).results()
    figures.forest(tmp_path / "f", results)
    row = results.compare_arms(["kid"])[2]
    joint = Design.of(results.manifest).jointly(row.difference, 2)
    bars = {
        line.get_linewidth(): list(line.get_xdata())
        for line in drawn[0].axes[0].lines
        if list(line.get_ydata()) == [1, 1]
    }
    low, high = drawn[0].axes[0].get_xlim()
    for width, effect in ((0.8, joint), (2.2, row.difference)):
        ends = [max(1000 * effect.low, low), min(1000 * effect.high, high)]
        assert bars[width] == pytest.approx(ends)


def test_column_heads_break_between_words_or_are_turned():
    upright = _heads(["T-shirt/top", "Bag"], 64)
    assert upright[1].width > upright[1].height
    turned = _heads(["Activities", "Bag"], 64)  # one word, wider than its column
    assert all(head.height > head.width for head in turned)


def test_curves_of_one_seed_one_point_and_none(study, tmp_path, drawn):
    example = study(["native", "native+dw", "can-3"], seeds=1)
    assert len(figures.curves(tmp_path / "one", example.results())) == 3
    for curve in example.curves.values():
        curve["heldout"] = {"images": [7000], "loss": curve["heldout"]["loss"][:1]}
    assert len(figures.curves(tmp_path / "point", example.results())) == 3
    example.curves.clear()
    assert figures.curves(tmp_path / "none", example.results()) == []
    assert heldout(example.results()).empty


def test_curves_on_the_right_are_paired_differences(study, tmp_path, drawn):
    example = study(["native", "native+dw", "can-3"], seeds=2)
    for s in range(2):
        base = example.curves[f"native+dw@{s}"]["heldout"]["loss"]
        example.curves[f"can-3@{s}"]["heldout"]["loss"] = [v - 0.25 for v in base]
    figures.curves(tmp_path / "c", example.results())
    right = drawn[0].axes[1]
    seeds = [points[:, 1] for lines in right.collections for points in lines.get_segments()]
    for losses, count in ((seeds, 2), ([line.get_ydata() for line in right.lines], 1)):  # mean
        assert sum(np.allclose(loss, -0.25) for loss in losses) == count


def test_spread_keeps_order_and_distance():
    near = {"a": 0.5, "b": 0.5, "c": 0.51, "d": 0.95, "e": 0.96, "f": 0.0}
    apart = spread(near, 0.1)
    places = sorted(apart.values())
    assert sorted(apart, key=apart.get) == sorted(near, key=near.get)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 0 and places[-1] <= 1
    assert spread({"x": 0.3}, 0.1) == {"x": 0.3}


def test_bins_are_relative_to_the_baseline(study, tmp_path):
    example = study(["static", "native", "native+dw", "can-3"], seeds=2)
    for s in range(2):
        example.records[f"native+dw@{s}"]["metrics"]["heldout_loss/bin4"] = 0.4 + 0.1 * s
        example.records[f"can-3@{s}"]["metrics"]["heldout_loss/bin4"] = (0.4 + 0.1 * s) * 0.9
    table = by_bin(example.results())
    assert list(table.index) == ["native", "can-3"] and list(table.columns) == list(range(10))
    assert table.loc["can-3", 4] == pytest.approx(-10)
    for record in example.records.values():
        record["metrics"] = {"kid": 1.0}
    assert figures.bins(tmp_path / "b", example.results()) == []


def _flat(colours, size=8):
    """uint8 (k, 3, size, size), each image of one colour."""
    return np.stack([np.full((3, size, size), c, np.uint8) for c in colours])


def _corner(page, colour, size=56):
    """Row and column of the one square of `size` pixels in a grey value (8 x 7)."""
    flat = (page == colour).all(-1)
    squares = np.lib.stride_tricks.sliding_window_view(flat, (size, size)).all((-1, -2))
    assert squares.any(), colour
    return tuple(np.argwhere(squares)[0])


def test_grid_puts_the_same_label_in_the_same_column(tmp_path):
    labels = ["bag", "boot", "bag", "boot"]
    samples = {"one": _flat([10, 20, 30, 40]), "two": _flat([110, 120, 130, 140])}
    (path,) = figures.grid(tmp_path / "g.png", ["one", "two"], samples, labels)
    page = np.asarray(Image.open(path))
    at = {c: _corner(page, c) for c in (10, 20, 30, 40, 110, 120, 130, 140)}
    assert at[10][1] == at[30][1] == at[110][1] == at[130][1] < at[20][1] == at[140][1]
    assert at[10][0] == at[20][0] and at[30][0] - at[10][0] == 58  # 56 and a gap of 2
    assert at[110][0] - at[30][0] == 58 + 12  # and between blocks


def test_grid_names_its_rows(tmp_path):
    samples, labels = {"one": _flat([10, 20, 30, 40])}, ["bag", "boot"] * 2
    (plain,) = figures.grid(tmp_path / "a", ["one"], samples, labels)
    (named,) = figures.grid(tmp_path / "b", ["one"], samples, labels, rows=["flat", "round"])
    before, after = (np.asarray(Image.open(path)) for path in (plain, named))
    (top, left), (below, _) = _corner(after, 10), _corner(after, 30)
    assert left > _corner(before, 10)[1]
    for y in (top, below):  # dark letters beside the row
        assert (after[y + 10 : y + 46, left - 40 : left - 4] < 140).any()


def test_grid_enlarges_without_smoothing(tmp_path):
    images = np.random.default_rng(0).integers(1, 250, (1, 1, 16, 16), dtype=np.uint8)
    (path,) = figures.grid(tmp_path / "g", ["arm"], {"arm": images}, ["bag"])
    page = np.asarray(Image.open(path))[..., 0]
    big = images[0, 0].repeat(4, 0).repeat(4, 1)
    windows = np.lib.stride_tricks.sliding_window_view(page, big.shape)
    assert (windows == big).all((-1, -2)).sum() == 1


def test_grid_of_real_images_and_of_an_arm_that_failed(tmp_path):
    samples, real = {"one": _flat([10, 20])}, _flat([210, 220])
    labels = ["bag", "boot"]
    (path,) = figures.grid(tmp_path / "g", ["one", "gone"], samples, labels, real=real)
    page = np.asarray(Image.open(path))
    (top, left), (middle, same) = _corner(page, 210), _corner(page, 10)
    bottom = 2 * middle - top
    assert top < middle and left == same
    assert (page[bottom + 55, left : left + 56] == 236).all()  # below the words 'no samples'
    assert (page[bottom - 1, left : left + 56] == 255).all()


@pytest.mark.parametrize("count", [3, 12, 30])
def test_grid_holds_every_arm_and_stays_a_page(tmp_path, long_names, classes, count):
    arms = long_names[:count]
    labels = [name for name in classes for _ in range(3)]
    samples = {a: _flat([5 + 7 * i] * 30, 16) for i, a in enumerate(arms)}
    (path,) = figures.grid(tmp_path / "g", arms, samples, labels, real=_flat([230] * 30, 16))
    image = Image.open(path)
    pixels = np.bincount(np.asarray(image)[..., 0].ravel(), minlength=256)
    assert (pixels[5 : 5 + 7 * count : 7] >= 30 * 64 * 64).all()
    assert image.height <= 1.5 * image.width


def test_grid_refuses_what_does_not_match(tmp_path):
    with pytest.raises(ValueError, match="2 images but 1 labels"):
        figures.grid(tmp_path / "g", ["a"], {"a": _flat([1, 2])}, ["x"])
    with pytest.raises(ValueError, match="uint8"):
        figures.grid(tmp_path / "g", ["a"], {"a": _flat([1]).astype(float)}, ["x"])
    with pytest.raises(ValueError, match="differ in size"):
        figures.grid(tmp_path / "g", ["a", "b"], {"a": _flat([1]), "b": _flat([1], 9)}, ["x"])
    with pytest.raises(ValueError, match="no samples"):
        figures.grid(tmp_path / "g", ["a"], {}, ["x"])


def test_analysis_imports_no_torch():
    code = (
        "import sys, cabench.analysis.tables, cabench.analysis.figures, cabench.evidence.verdicts;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_figure_for_a_page_leaves_its_words_beside_it(study, tmp_path):
    results = study(["native", "native+dw", "can-3"]).results()
    svg, words = figures.forest(tmp_path / "forest", results, figures.PAGE)
    caption = json.loads(words.read_text())
    assert caption["title"] == "Difference to native+dw" and "n = 3" in caption["text"]
    assert caption["width"] == pytest.approx(6.69)
    assert "<text" not in svg.read_text() and not (tmp_path / "forest.png").exists()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("look", [figures.SCREEN, figures.PAGE])
def test_quality_against_cost_names_every_arm_once(study, long_names, tmp_path, drawn, many, look):
    example = study(long_names) if many else study()
    figures.cost(tmp_path / "cost", example.results(), look)
    left, right = drawn[0].axes
    names = [t.get_text() for t in right.texts]
    inside = example.results().contenders  # the lower bound is far outside
    assert sorted(names) == sorted(inside)
    assert not _texts_overlap(drawn[0], right.texts) and _inside(drawn[0], right.texts)
    marks = [line for line in left.lines if len(line.get_xdata()) == 1]
    assert sum(line.get_marker() == "s" for line in marks) == 1  # the baseline
    for arm, line in zip(inside, marks, strict=True):
        values = [example.records[f"{arm}@{s}"]["metrics"]["kid"] for s in range(3)]
        assert line.get_ydata()[0] == pytest.approx(1000 * sum(values) / 3)
        assert line.get_xdata()[0] == example.records[f"{arm}@0"]["cost"]["macs"]["total"]


def test_the_floor_is_a_line_when_it_is_near(study, tmp_path, drawn):
    example = study(["native", "native+dw", "can-3"])
    figures.cost(tmp_path / "far", example.results())
    for record in example.records.values():
        record["protocol"]["floor"]["kid"] = 0.0115
    figures.cost(tmp_path / "near", example.results())
    far, near = drawn
    assert "outside the panel" in far.get_supxlabel() and "dashed line" in near.get_supxlabel()
    dashed = [line for line in near.axes[0].lines if list(line.get_ydata()) == [11.5, 11.5]]
    assert len(dashed) == 1 and dashed[0].get_linestyle() == "--"


def test_cost_without_counts_draws_nothing(study, tmp_path):
    example = study()
    for record in example.records.values():
        record["cost"] = {}
    assert figures.cost(tmp_path / "c", example.results()) == []


def _history(images, **measures):
    return {"images": images, "sites": {"depthwise": measures}}


def test_weights_are_means_over_seeds_and_their_ratio(study, tmp_path, drawn):
    example = study(["native", "native+dw", "can-3"])
    assert figures.weights(tmp_path / "w", example.results()) == []
    for s, generated in enumerate([1.0, 2.0, 6.0]):
        example.curves[f"can-3@{s}"]["weights"] = _history(
            [7000, 14000], static=[9.0, 1.5], generated=[0.0, generated]
        )
    figures.weights(tmp_path / "w", example.results())
    axes = drawn[0].axes[0]
    assert [t.get_text() for t in axes.texts] == ["3 / 1.5"]  # of the last point
    assert axes.collections[0].get_array().data.ravel()[0] == pytest.approx(1.0)  # log2 of 2
    assert [t.get_text() for t in axes.get_yticklabels()] == ["can-3"]


def test_weight_curves_are_the_measures_by_images(study, tmp_path, drawn):
    example = study(["native", "native+dw", "can-3"], seeds=2)
    assert figures.weight_curves(tmp_path / "w", example.results()) == []
    images = [7000, 14000, 21000]
    for s in range(2):
        example.curves[f"can-3@{s}"]["weights"] = _history(
            images,
            static=[0, 2, 4],
            generated=[1, 2 + s, 8],
            spread_class=[None, 0.2, 0.3],
            spread_time=[None, 0.0, 0.0],
            share_both=[None, 0.5, 0.25],
            step_static=[0.5, 0.5, 0.5],
            step_generated=[4, 2, 1],
            effective_rank=[9, 8 - s, 7],
        )
    figures.weight_curves(tmp_path / "w", example.results())
    *panels, key = drawn[0].axes
    means = [panel.lines[-1] for panel in panels]  # after those of the seeds
    assert [list(line.get_xdata()) for line in means] == [images[1:]] * 4 + [images] * 2
    assert [list(line.get_ydata()) for line in means] == [
        [1.25, 2],
        [0.2, 0.3],
        [0, 0],
        [0.5, 0.25],
        [8, 4, 2],
        [9, 7.5, 7],
    ]
    assert all(len(panel.collections[0].get_segments()) == 2 for panel in panels)
    assert panels[-1].get_ylim()[0] == 0 and panels[1].get_yscale() == "log"
    low, high = panels[1].get_ylim()
    assert low < 0.2 and 0.3 < high < 3
    assert [t.get_text() for t in key.get_legend().get_texts()] == ["can-3"]
    assert panels[0].get_title() == "depthwise"
    loss = arm_styles(example.results(), ["native", "native+dw", "can-3"])["can-3"]["color"]
    assert means[0].get_color() == loss  # as in the figure of losses


@pytest.mark.parametrize("smallest", [0.0002, 0.003, 0.02, 0.1, 0.3, 0.95])
def test_a_logarithmic_scale_has_several_ticks(study, tmp_path, drawn, smallest):
    example = study(["native", "native+dw", "can-3"], seeds=1)
    history = _history([7000, 14000], static=[2, 4], generated=[2, 8], spread_class=[smallest, 1])
    example.curves["can-3@0"]["weights"] = history
    figures.weight_curves(tmp_path / "w", example.results())
    axes = drawn[0].axes[1]
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "log" and low < smallest < 1 < high
    labels = [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert 2 <= len({text.get_text() for text in labels}) <= 6
    assert not _texts_overlap(drawn[0], labels)


@pytest.mark.parametrize("look", [figures.SCREEN, figures.PAGE])
@pytest.mark.parametrize("many", [False, True])
def test_weight_curves_fit_their_page(study, long_names, tmp_path, drawn, many, look):
    example = study([*long_names, "can-all"] if many else None)
    for trial in example.manifest["trials"]:
        example.curves[trial["key"]]["weights"] = make_weights(trial["arm"], trial["seed"])
    figures.weight_curves(tmp_path / "w", example.results(), look)
    *panels, key = drawn[0].axes
    names = key.get_legend().get_texts()
    assert len(names) == len([arm for arm in example.results().arms if "can" in arm])
    titles = [panel.title for panel in panels[:7]]
    below = [panel.xaxis.label for panel in panels if panel.get_xlabel()]
    ticks = [t for panel in panels[-7:] for t in panel.get_xticklabels() if t.get_text() != "80K"]
    for texts in (names, titles, below, [p.yaxis.label for p in panels if p.get_ylabel()], ticks):
        assert texts and _inside(drawn[0], texts) and not _texts_overlap(drawn[0], texts)
    assert not _texts_overlap(drawn[0], [*below, *names])
    assert min(panel.get_window_extent().height for panel in panels) > 0.5 * drawn[0].dpi


def test_a_strip_holds_the_images_enlarged(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 1, 4, 6), dtype=np.uint8)
    (path,) = figures.strip(tmp_path / "s", images)
    page = np.asarray(Image.open(path))
    assert page.shape == (2 * (4 * 8 + 2) - 2, 3 * (6 * 8 + 2) - 2)
    for c in range(3):
        for r in range(2):
            cell = page[r * 34 : r * 34 + 32, c * 50 : c * 50 + 48]
            assert np.array_equal(cell[::8, ::8], images[c, r, 0])


def test_a_sample_grid_has_the_same_pixels_in_its_pdf(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "samples.png")
    pdf = figures.as_pdf(tmp_path / "samples.png")
    with pypdfium2.PdfDocument(pdf) as document:
        (image,) = document[0].get_objects([pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])
        assert document[0].get_size() == pytest.approx((150 * 72 / DPI, 90 * 72 / DPI))
        assert image.get_matrix().d < 0  # its rows are stored from the bottom
        stored = np.asarray(image.get_bitmap().to_pil().convert("RGB"))
        np.testing.assert_array_equal(stored[::-1], pixels)


def test_arms_of_equal_cost_are_drawn_side_by_side():
    places = side_by_side({"a": 4.5, "b": 4.5, "c": 3.5, "d": 4.502})
    assert places["c"] == 3.5
    xs = sorted(places[arm] for arm in "abd")
    assert min(np.diff(xs)) >= 0.99 * SIDE * 1.002 and abs(np.mean(xs) - 4.5) < SIDE
    assert len(set(side_by_side({"a": 7.0, "b": 7.0}).values())) == 2
    wide = side_by_side({"a": 1.0, "b": 1.0, "c": 100.0})
    assert wide["c"] == 100 and 1.05 < wide["b"] / wide["a"] < 1.15
