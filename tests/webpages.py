"""Pages as text, as parsed HTML, and as a browser shows them."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from cabench.evidence.results import Results
from cabench.web.page import study_page


def page_of(run, **options):
    """The page of a run as text."""
    return study_page(run, Results.of(run, with_curves=True), **options)


class Parsed(HTMLParser):
    """The elements of a page, their attributes, and the text outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.scripts, self._open = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        parts = self.scripts if self._open in ("script", "style") else self.texts
        parts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self):
        return next(json.loads(text) for text in self.scripts if text.startswith("{"))


class Browser:
    """Chromium without a window, and what it logs and requests."""

    def __init__(self, driver):
        self.driver = driver
        self.requests = []

    def open(self, address, width=1600, height=1000, dark=False):
        """Opens a page at a width in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.cdp("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        self.driver.get(str(address))
        return self

    def cdp(self, command, options):
        self.driver.execute_cdp_cmd(command, options)

    def js(self, code, *arguments):
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(code, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def choose(self, selector, value):
        """Sets a select element, as a person would."""
        self.js(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('change', {bubbles: true}))",
            selector,
            str(value),
        )

    def problems(self):
        """Errors and warnings of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def hosts(self):
        """Addresses, other than of data in the page, that were requested since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [e for e in events if e["method"] == "Network.requestWillBeSent"]
        urls = [e["params"]["request"]["url"] for e in sent]
        return [url for url in urls if not url.startswith(("data:", "chrome:", "about:"))]

    def overflows(self):
        """By how many pixels the page is wider than the window."""
        return self.js(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
