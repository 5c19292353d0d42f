"""Runs on disk to draw pages of, and a real browser."""

from __future__ import annotations

import os
import shutil

import pytest
from example_study import make_study, write_run
from webpages import Browser

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def make_run(tmp_path):
    """make(names, edit, weights, folder, **study options) -> Run, written below tmp_path."""

    def make(
        names=("static", "native+dw", "can-3"),
        edit=None,
        weights=False,
        folder="a",
        **options,
    ):
        study = make_study(list(names), **options)
        if edit:
            edit(study.manifest, study.records)
        return write_run(tmp_path / folder, study, weights=weights)

    return make


@pytest.fixture
def browser(chromium):
    """The module's browser, whose logs begin with the test."""
    chromium.problems()
    chromium.hosts()
    return chromium


@pytest.fixture(scope="module")
def chromium():
    """A Browser; tests are skipped where Chromium or its driver is not installed."""
    binary = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
        options.add_argument(f"--{word}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    chrome = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
