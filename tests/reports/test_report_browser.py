"""The HTML report in a browser, offline, as its readers see it."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_report import EVIL, ROW, make_comparison, make_run

from altprop.reports.page import write_report
from altprop.run.experiment import fit

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
    assert len(figures) == 3 + 1
    for figure in figures:
        assert figure.size["width"] > 300 and figure.size["height"] > 100


def test_run_opens(show, tmp_path):
    driver = show(make_run(tmp_path / "one"))
    assert driver.title == "pepita"
    assert [figure.size["height"] > 100 for figure in driver.find_elements(By.CSS_SELECTOR, "svg")] == [True] * 3
    settings, *_, recipe = driver.find_elements(By.TAG_NAME, "details")
    assert not recipe.find_element(By.TAG_NAME, "pre").is_displayed()
    assert not settings.find_element(By.TAG_NAME, "table").is_displayed()
    recipe.find_element(By.TAG_NAME, "summary").click()
    assert 'init = "uniform"' in recipe.find_element(By.TAG_NAME, "pre").text


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with everything that can be looked at."""
    return fit("pepita", "64-32-12-10", epochs=1, probe=True, out=tmp_path_factory.mktemp("runs") / "run").path


def test_a_run_begins_with_its_number_and_ends_with_its_settings(show, measured):
    """In the order of the page, as it is seen: headline, confusion matrix, curves, examples, all else, settings."""
    driver = show(measured)
    last = json.loads((measured / "metrics.jsonl").read_text().splitlines()[-1])
    headline = driver.find_element(By.CSS_SELECTOR, ".headline b")
    assert headline.text == f"{100 * last['test_accuracy']:.2f} %"
    selectors = (".headline", "#figure-confusion", "#figure-accuracy", "#figure-examples", "#figure-depth", "#settings")
    places = driver.execute_script(
        "const all = [...document.querySelectorAll('*')];"
        "return arguments[0].map(one => all.indexOf(document.querySelector(one)))",
        selectors,
    )
    assert -1 not in places and places == sorted(places)
    tops = [driver.find_element(By.CSS_SELECTOR, one).rect["y"] for one in selectors]
    assert tops[0] < min(tops[1:4]) and max(tops[1:4]) < tops[4] < tops[5]


def sizes_of_text(driver):
    """Of every letter in figures, in pixels of the screen."""
    return driver.execute_script(
        "return [...document.querySelectorAll('svg text')].map(text => {"
        "  const svg = text.closest('svg'), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        "  return Math.round(10 * scale * parseFloat(getComputedStyle(text).fontSize)) / 10; })"
    )


@pytest.mark.parametrize("width", [400, 1400])
def test_letters_of_all_figures_have_one_size(show, measured, comparison, width):
    for folder in (measured, comparison):
        assert set(sizes_of_text(show(folder, width=width))) == {13}


@pytest.mark.parametrize("width", [400, 1400])
def test_no_figure_leaves_its_column(show, measured, width):
    driver = show(measured, width=width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    outside = driver.execute_script(
        "return [...document.querySelectorAll('svg')].filter(svg => [...svg.querySelectorAll('text')].some(text =>"
        "  text.getBoundingClientRect().right > svg.getBoundingClientRect().right + 4 ||"
        "  text.getBoundingClientRect().left < svg.getBoundingClientRect().left - 4)).map(svg => svg.ariaLabel)"
    )
    assert outside == []


def test_a_rule_is_lit_wherever_it_stands(show, comparison):
    """Pointed at in one chart, it stands out in all, and in the table."""
    driver = show(comparison, width=1400)
    dot = driver.find_element(By.CSS_SELECTOR, '#figure-reached [data-of="1"][id$="-dot"]')
    ActionChains(driver).move_to_element(dot).perform()
    hot = driver.find_elements(By.CSS_SELECTOR, ".hot")
    assert {one.get_attribute("data-of") for one in hot} == {"1"} and len(hot) > 4
    assert "tr" in {one.tag_name for one in hot} and driver.find_element(By.ID, "told").text == "fa: 95.00"
    other = driver.find_element(By.CSS_SELECTOR, '#figure-reached [data-of="0"][id$="-dot"]')
    WebDriverWait(driver, 5).until(lambda _: float(other.value_of_css_property("opacity")) < 0.5)
    ActionChains(driver).move_to_element(driver.find_element(By.TAG_NAME, "h1")).perform()
    assert driver.find_elements(By.CSS_SELECTOR, ".hot") == []


def test_a_rule_can_be_taken_out_of_the_charts(show, comparison):
    driver = show(comparison, width=1400)
    chips = driver.find_elements(By.CSS_SELECTOR, ".chips button")
    assert [chip.text for chip in chips] == list(RULES)
    line = driver.find_element(By.CSS_SELECTOR, '[data-of="3"][id$="-line"]')
    assert line.is_displayed()
    chips[3].click()
    assert not line.is_displayed() and chips[3].get_attribute("aria-pressed") == "false"
    assert rules_shown(driver) == list(RULES)
    chips[3].click()
    assert line.is_displayed()


def test_without_script_all_is_shown(driver, show, comparison):
    """No dead buttons, and every rule in its charts and in the table."""
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(comparison)
        assert driver.find_elements(By.TAG_NAME, "button") == []
        assert rules_shown(driver) == list(RULES)
        assert all(mark.is_displayed() for mark in driver.find_elements(By.CSS_SELECTOR, '[id$="-dot"]'))
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


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
