"""The HTML report in a browser, offline, as its readers see it."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from test_report import EVIL, ROW, make_comparison, make_run

from altprop.reports.page import write_report

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
RULES = ("bp", "fa", "drtp", "pepita")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    service = shutil.which("chromedriver")
    if not (browser and service):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(service))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start here: {error.msg}")
    yield driver
    driver.quit()


@pytest.fixture
def show(driver, tmp_path):
    """Opens the report of a folder, at a width in pixels; what a page asked for or complained of fails the test."""

    def open_report(folder, width=1280, scheme="light"):
        driver.get_log("performance")
        driver.get_log("browser")
        # A window has a least width; what the device is said to have has none.
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.get(write_report(folder).as_uri())
        return driver

    yield open_report
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The browser's own first tab asks for things too.
    asked = [request["request"]["url"] for request in sent if request["documentURL"] == driver.current_url]
    assert asked and [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def comparison(tmp_path):
    figures = zip(RULES, (0.96, 0.95, None, 0.938), (12345, 9000, 123456, None), strict=True)
    rows = [{**ROW, "rule": rule, "test_accuracy_mean": mean, "peak_activation_bytes": memory}
            for rule, mean, memory in figures]  # fmt: skip
    return make_comparison(tmp_path / "all", RULES, rows=rows)


def rules_shown(driver):
    return [head.text for head in driver.find_elements(By.CSS_SELECTOR, ".results tbody th")]


def test_comparison_opens(show, comparison):
    driver = show(comparison)
    assert driver.title == "Comparison on digits"
    assert rules_shown(driver) == list(RULES)
    figures = driver.find_elements(By.CSS_SELECTOR, "svg[role=img]")
    assert len(figures) == 3
    for figure in figures:
        assert figure.size["width"] > 300 and figure.size["height"] > 100


def test_run_opens(show, tmp_path):
    driver = show(make_run(tmp_path / "one"))
    assert driver.title == "pepita"
    assert [figure.size["height"] > 100 for figure in driver.find_elements(By.CSS_SELECTOR, "svg")] == [True] * 3
    recipe = driver.find_element(By.TAG_NAME, "details")
    assert not recipe.find_element(By.TAG_NAME, "pre").is_displayed()
    recipe.find_element(By.TAG_NAME, "summary").click()
    assert 'init = "uniform"' in recipe.find_element(By.TAG_NAME, "pre").text


def test_sorting(show, comparison):
    driver = show(comparison)
    heads = driver.find_elements(By.CSS_SELECTOR, ".results thead tr:last-child th")
    buttons = {head.text.replace("\n", " "): head.find_element(By.TAG_NAME, "button") for head in heads}
    orders = {
        "Rule": (["bp", "drtp", "fa", "pepita"], ["pepita", "fa", "drtp", "bp"]),
        # Rules without a figure come last, either way.
        "Test accuracy (%)": (["bp", "fa", "pepita", "drtp"], ["pepita", "fa", "bp", "drtp"]),
        "Peak activation memory": (["drtp", "bp", "fa", "pepita"], ["fa", "bp", "drtp", "pepita"]),
    }
    for name, (first, second) in orders.items():
        sort_states = []
        for order in (first, second):
            buttons[name].click()
            assert rules_shown(driver) == order, name
            sort_states += [head.get_attribute("aria-sort") for head in heads if head.get_attribute("aria-sort")]
        assert sorted(sort_states) == ["ascending", "descending"]


@pytest.mark.parametrize("single", [False, True])
def test_narrow_pages_scroll_only_inside_tables_and_figures(show, comparison, single):
    driver = show(comparison / "fa-seed0" if single else comparison, width=400)
    assert driver.execute_script("return innerWidth") == 400
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 400
    if not single:
        table = driver.find_element(By.CSS_SELECTOR, ".scroll")
        assert table.get_property("scrollWidth") > table.get_property("clientWidth")


def test_paper_holds_the_whole_table(show, comparison):
    driver = show(comparison, width=960)  # letter paper, which is the smaller, on its side and within the margins
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 960
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_wide_pages_show_the_whole_table(show, comparison):
    table = show(comparison, width=1280).find_element(By.CSS_SELECTOR, ".scroll")
    assert table.get_property("scrollWidth") <= table.get_property("clientWidth")


def luminance(colour):
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(part) / 255 for part in colour[colour.index("(") + 1 :].rstrip(")").split(",")[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(show, comparison, scheme):
    driver = show(comparison, scheme=scheme)
    page = luminance(driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert (page > 0.5) == (scheme == "light")
    for selector, name in (("p", "color"), ("figcaption", "color"), ("caption", "color"), ("svg text", "fill")):
        for element in driver.find_elements(By.CSS_SELECTOR, selector)[:30]:
            text = luminance(element.value_of_css_property(name))
            assert (max(text, page) + 0.05) / (min(text, page) + 0.05) >= 4.5


def test_names_are_shown_and_never_run(show, tmp_path):
    rows = [{**ROW, "rule": EVIL, "activation": '"><img src=x onerror=alert(1)>'}]
    driver = show(make_comparison(tmp_path / "all", (), rows=rows, data=EVIL))
    assert driver.title == f"Comparison on {EVIL}"
    assert rules_shown(driver) == [EVIL]
    assert driver.find_elements(By.TAG_NAME, "img") == []
