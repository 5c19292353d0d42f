"""The page in Chromium: sorting, filtering, pointing, the viewer, widths, and what it requests.

Skipped where Chromium and its driver are not installed.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from example_study import make_record
from PIL import Image
from webpages import page_of

from cabench.web.server import Server

NAMES = ("static", "native", "native+dw", "native+can-3", "can-3")


def shown(browser):
    """The arms in the table's visible rows."""
    return browser.js(
        "return [...document.querySelectorAll('#arms-table tbody tr')]"
        ".filter(r => !r.hidden).map(r => r.dataset.arm)"
    )


def column(browser, index):
    """The sorting keys of a column, in the order of the visible rows."""
    return [
        float(key)
        for key in browser.js(
            "return [...document.querySelectorAll('#arms-table tbody tr')]"
            ".map(r => r.cells[arguments[0]].dataset.key)",
            index,
        )
        if key
    ]


def point_at(browser, chart, arm):
    """Moves the mouse to an arm's mark in a chart; returns what the tip says."""
    return browser.js(
        """
        const [chart, arm] = arguments;
        const svg = document.querySelector(chart + ' svg');
        const entry = charts.find((c) => c.host === svg.parentElement);
        const item = entry.plot.items.find((i) => i.arm === arm);
        svg.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent('pointermove', {
          clientX: box.left + item.x + 2, clientY: box.top + item.y - 2, bubbles: true}));
        const tip = document.getElementById('tip');
        return tip.hidden ? '' : tip.innerText;
        """,
        chart,
        arm,
    )


def check_charts(browser, arm, text):
    tip = point_at(browser, "#forest", arm)
    assert tip.startswith(arm) and text in tip and "after Holm" in tip, tip
    assert browser.all("body.pointing") and browser.all("#curves .active")
    own, joint = (
        browser.js(
            "return document.querySelector(arguments[0]).getBBox().width", f"{row} .bar{bar}"
        )
        for row in (f"#forest g.row[data-arm='{arm}']",)
        for bar in (":not(.thin)", ".thin")
    )
    assert 0 < own < joint
    assert "MACs" in point_at(browser, "#cost-chart", arm)
    assert "images seen" in point_at(browser, "#curves", arm)


def pixels(browser, panel):
    """A panel's canvas as the page draws it, (height, width)."""
    data = browser.driver.execute_async_script(
        """
        const done = arguments[1];
        const canvas = document.querySelector(`[data-panel="${arguments[0]}"] canvas`);
        setTimeout(() => {
          const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          done([canvas.height, canvas.width, [...image.data].filter((_, i) => i % 4 === 0)]);
        }, 200);
        """,
        panel,
    )
    return np.array(data[2], dtype=np.uint8).reshape(data[:2])


def test_a_page_in_a_browser(browser, make_run, tmp_path):
    run = make_run(NAMES, seeds=2, weights=True)
    path = tmp_path / "page.html"
    path.write_text(page_of(run), encoding="utf-8")
    browser.open(path.as_uri())

    scores = column(browser, 2)
    browser.one("#arms-table th:nth-child(3) button").click()
    assert column(browser, 2) == sorted(scores) != scores
    browser.one("#arms-table th:nth-child(3) button").click()
    assert column(browser, 2) == sorted(scores, reverse=True)
    assert browser.one("#arms-table th:nth-child(3)").get_attribute("aria-sort") == "descending"

    browser.one("#filter").send_keys("can")
    assert set(shown(browser)) == {"native+can-3", "can-3"}
    assert browser.one("#shown").text == "2 of 5 arms"
    assert len(browser.all("#forest g.row")) == 2
    browser.one("#filter").clear()
    browser.one("#filter").send_keys(" ")

    check_charts(browser, "can-3", "KID")

    assert browser.one("[data-pick='native+dw']").is_selected()
    for arm in ("can-3", "static"):
        if not browser.one(f"[data-pick={arm}]").is_selected():
            browser.one(f"[data-pick={arm}]").click()
        assert browser.all(f"[data-panel={arm}]")
    browser.choose("#view-seed", 1)
    browser.choose("#view-column", 3)
    grid = np.asarray(Image.open(run.store.beside("can-3@1", ".png")))
    first = np.hstack([grid[16 * row : 16 * row + 16, 48:64] for row in range(4)])
    assert (pixels(browser, "can-3") == first).all()
    canvas = browser.one("[data-panel=can-3] canvas")
    assert canvas.value_of_css_property("image-rendering") == "pixelated"
    assert canvas.get_attribute("aria-label") == "Samples of can-3, seed 1, class Dress: 4 images"

    browser.one("[data-record='can-3@1']").click()
    assert '"key": "can-3@1"' in browser.one("#record-text").text
    browser.one("#record-close").click()
    for width in (1600, 400):
        browser.open(path.as_uri(), width, dark=width == 400)
        assert browser.overflows() <= 0, width
    assert not browser.problems()
    assert set(browser.hosts()) == {path.as_uri()}


@pytest.mark.full
@pytest.mark.parametrize("study", ["layer_placement", "control_methods"])
def test_the_committed_studies_in_a_browser(browser, tmp_path, study):
    from specs import ROOT

    from cabench.records.runs import find_run

    run = find_run(ROOT / "results" / "reference", study)
    path = tmp_path / "page.html"
    path.write_text(page_of(run), encoding="utf-8")
    for width, dark in ((1600, False), (400, True), (800, False)):
        browser.open(path.as_uri(), width, dark=dark)
        assert browser.overflows() <= 0, width
        arms = shown(browser)
        for metric in browser.js("return DATA.metrics.map((m) => m.name)"):
            browser.choose("#effect-metric", metric)
            browser.choose("#cost-metric", metric)
            assert len(browser.all("#forest g.row")) == len(arms) - 1
            drawn = "return [...document.querySelectorAll('.chart')].map((c) => c.innerHTML).join()"
            assert "NaN" not in browser.js(drawn), metric
        for kind in ("macs", "params", "time"):
            browser.choose("#cost-kind", kind)
            assert browser.all("#cost-chart .front")
        for i in range(len(browser.all("#curve-kind option"))):
            browser.choose("#curve-kind", i)
            assert browser.all("#curves path.line")
        for i in range(len(browser.all("#weight-measure option"))):
            browser.choose("#weight-measure", i)
            assert browser.all("#weight-panels path.line")
        for index in range(len(browser.all("#arms-table thead button"))):
            browser.all("#arms-table thead button")[index].click()
            assert sorted(shown(browser)) == sorted(arms)
        for value in ("", 0, 9):
            browser.choose("#view-column", value)
            assert len(browser.all("#view-panels canvas")) >= 7
            assert browser.overflows() <= 0, (width, value)
        assert point_at(browser, "#forest", "can-3")
        browser.choose("#group", "alone")
        assert 0 < len(shown(browser)) < len(arms)
        browser.choose("#group", "")
    assert not browser.problems()
    assert set(browser.hosts()) == {path.as_uri()}


def test_the_page_works_by_keyboard(browser, make_run, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page_of(make_run(NAMES, weights=True)), encoding="utf-8")
    browser.open(path.as_uri())
    from selenium.webdriver.common.keys import Keys

    def focused():
        return browser.driver.switch_to.active_element

    browser.js(
        "window.reached = [];"
        "document.addEventListener('focusin', ({ target: e }) => reached.push("
        "e.id || e.dataset.record || e.closest('[id]')?.id || e.tagName))"
    )
    focused().send_keys(Keys.TAB * 90)
    reached = browser.js("return reached")
    places = "filter", "group", "arms-table", "can-3@0", "forest", "cost-chart", "curves"
    for place in (*places, "view-seed"):
        assert place in reached, place
    browser.one("#forest svg").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert browser.one("#tip").text.startswith("native")
    focused().send_keys(Keys.ESCAPE)
    assert not browser.one("#tip").is_displayed()
    browser.one("[data-record='can-3@0']").send_keys(Keys.ENTER)
    assert browser.one("#record").is_displayed()
    focused().send_keys(Keys.ESCAPE)
    assert not browser.one("#record").is_displayed()


@pytest.mark.full
def test_a_served_page_refreshes_and_keeps_its_settings(browser, make_run):
    run = make_run(missing=[("can-3", 2)])
    with Server(run.store.results) as server:
        threading.Thread(target=server.serve, daemon=True).start()
        browser.open(f"{server.address}{run.name}.html")
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        browser.one("#filter").send_keys("can")
        assert "8 of 9 trials" in browser.one("#answer").text
        complete = run.records()["can-3@1"]
        run.store.write_record(make_record("can-3", 2, dict(complete.metrics)))
        wait = WebDriverWait(browser.driver, 60, ignored_exceptions=(WebDriverException,))
        wait.until(lambda _: "8 of 9 trials" not in browser.one("#answer").text)
        assert browser.one("#shown").text == "1 of 3 arms"
        assert all(url.startswith(server.address) for url in browser.hosts())
        server.close()
    assert not browser.problems()


@pytest.mark.full
def test_the_site_in_a_browser(browser, make_run, tmp_path):
    from cabench.web.site import Site

    Site.of([make_run(NAMES)]).write(tmp_path / "site")
    for width in (1600, 400):
        browser.open((tmp_path / "site" / "leaderboard.html").as_uri(), width)
        assert browser.overflows() <= 0
        browser.one("form input").send_keys("native+can-3")
        assert browser.one("form [role=status]").text == "1 of 5 rows"
        browser.open((tmp_path / "site" / "index.html").as_uri(), width)
        assert browser.overflows() <= 0
        browser.one(".cards a").click()
        assert browser.one("h1").text == "Which layers should be condition-aware?"
        browser.one("nav.site a[href='leaderboard.html']").click()
    assert not browser.problems()
