"""A person who takes the course in a browser. Tests that import this skip without Selenium."""

import contextlib
import json
import re
import shutil
import time

import pytest

from tests.helpers import axe

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

DESKTOP, PHONE = (1280, 800), (390, 844)
SOON = 10  # seconds until a test gives up waiting


@contextlib.contextmanager
def open_browser(downloads):
    """Opens a headless browser. Downloads go to the folder `downloads`, also as `browser.downloads`."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in ("headless=new", "disable-dev-shm-usage", "no-sandbox", "hide-scrollbars", "lang=en"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.downloads = downloads
    chrome.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    chrome.set_script_timeout(30)
    try:
        yield chrome
    finally:
        chrome.quit()


def resize(browser, size, touch=False):
    """Sets the size of the page in CSS pixels; a phone has touch input."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 2 if touch else 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})


class Person:
    """A person in front of the browser. Clicks and keys are repeated, because the page ignores early ones."""

    def __init__(self, browser, course):
        self.browser, self.course = browser, course

    @property
    def state(self):
        """The page's stored state, or None."""
        script = "return Object.entries(localStorage).find(([key]) => key.startsWith('memorable-course:'))?.[1]"
        kept = self.browser.execute_script(script)
        return kept and json.loads(kept)

    @property
    def trials(self):
        return (self.state or {"trials": []})["trials"]

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector="main"):
        return self.browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def sees(self, words):
        self.until(lambda: None, lambda: words in self.text(), words)

    def until(self, act, done, what=""):
        """Repeats `act` until `done()`."""
        end = time.monotonic() + SOON
        while not done():
            assert time.monotonic() < end, f"waited for '{what}', but the page shows: {self.text()}"
            try:
                act()
            except WebDriverException:
                pass  # the screen changed at that moment
            time.sleep(0.04)

    def click(self, words):
        """Waits for the button with `words` and clicks it until the screen changes."""
        self.sees(words)
        before = self.text("h1")
        buttons = "[...document.querySelectorAll('main button')]"
        script = f"{buttons}.find((some) => some.textContent.includes(arguments[0])).click()"
        self.until(lambda: self.browser.execute_script(script, words), lambda: self.text("h1") != before, words)

    def key(self, key):
        self.browser.switch_to.active_element.send_keys(key)

    def answer(self, number, by_key=False):
        """Gives the answer `number`."""
        before = len(self.trials)
        act = (lambda: self.key(str(number + 1))) if by_key else (lambda: self.all(".answers button")[number].click())
        self.until(act, lambda: len(self.trials) > before, f"answer {number}")
        return self.trials[-1]

    def shown(self):
        """Ids of the pictures on the screen. Waits for them."""
        self.until(lambda: None, lambda: len(self.all("main img")) > 0, "pictures")
        sources = [image.get_attribute("src") for image in self.all("main img")]
        return [re.search(r"images/([0-9a-f]{16})\.(?:png|jpg)$", source)[1] for source in sources]

    def start_again(self):
        """Starts again as another person, through the menu; returns the question that this raises."""
        self.all("#menu summary")[0].click()
        self.until(lambda: None, lambda: "Start again" in self.text("#menu"), "menu")
        time.sleep(0.5)
        next(some for some in self.all("#menu button") if "Start again as another person" in some.text).click()
        question = self.browser.switch_to.alert
        text = question.text
        question.accept()
        return text

    def take_lessons(self, end=None):
        for lesson in self.course["lessons"][len(self.trials) : end]:
            self.sees("Which kind")
            self.answer(lesson["label"], by_key=True)
            self.sees("Right: ")
            self.click("Finish" if lesson is self.course["lessons"][-1] else "Next")


def keep_state(browser, state, assignment=""):
    """Stores a state of the page in the browser."""
    script = "localStorage.setItem(`memorable-course:${COURSE.build_id}${arguments[1]}`, arguments[0])"
    browser.execute_script(script, json.dumps(state), assignment)


def show_state(person, state, assignment=""):
    """Reloads the page with a stored state."""
    keep_state(person.browser, state, assignment)
    person.browser.refresh()
    person.until(lambda: None, lambda: person.text("h1") != "", "a screen")


def at_all_widths(person, name, checker):
    """Checks a screen on a desktop and on phones: no wider than the window, controls of at least 44 pixels.

    There are no findings of axe, if there is a `checker`. Browsers must not translate the names of the classes.
    """
    for size, touch in ((DESKTOP, False), (PHONE, True), ((320, 640), True)):
        resize(person.browser, size, touch)
        width, most, controls = person.browser.execute_script(
            "return [document.documentElement.scrollWidth, window.innerWidth,"
            " [...document.querySelectorAll('button, .button, textarea, summary, label')]"
            ".filter((some) => some.checkVisibility())"
            ".map((some) => [some.innerText, some.offsetWidth, some.offsetHeight])]"
        )
        assert width <= most, f"{name}: wider than the window"
        assert [some for some in controls if some[1] < 44 or some[2] < 44] == [], name
        found = axe.violations(person.browser, checker) if checker else []
        assert found == [], f"{name}: {found}"
    resize(person.browser, DESKTOP)
    script = """const names = arguments[0], found = [];
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const note = (words, some) => names.some((name) => words.includes(name)) && found.push(some.translate);
        while (texts.nextNode()) note(texts.currentNode.data, texts.currentNode.parentElement);
        for (const some of document.querySelectorAll("[alt], [aria-label]")) note(some.alt ?? some.ariaLabel, some);
        return found"""
    assert not any(person.browser.execute_script(script, person.course["classes"])), name
