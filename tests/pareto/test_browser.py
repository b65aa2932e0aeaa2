"""The page in a real browser: charts are drawn, nothing is fetched, keys and screen readers reach everything.

Skipped where no chromium is installed.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.pareto.__main__ import run
from tests.pareto.browser import CHROMIUM, Page, chromium
from tests.pareto.laboratory import EXPERIMENT, policy
from tests.pareto.matrix import whole

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

ROWS = '[...document.querySelectorAll("#table-candidates tbody tr:not([hidden])")]'
VALUES = f"{ROWS}.map((row) => row.cells[2].dataset.value)"
FOLDED = "document.querySelectorAll('.fold:not([open])').length"
OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"

# Contrast of every visible text with what lies behind it, as WCAG 2.2 defines it; the texts under 4.5.
CONTRAST = """(() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map(), grounds = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) known.set(colour, painted(colour));
    return known.get(colour);
  };
  const painted = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data].map((one) => one / 255);
  };
  const over = (top, under) => [0, 1, 2].map((k) => top[k] * top[3] + under[k] * (1 - top[3]));
  const behind = (node) => {
    if (!node) return [1, 1, 1];
    if (!grounds.has(node)) {
      const own = rgba(getComputedStyle(node).backgroundColor);
      grounds.set(node, over(own, behind(node.parentElement)));
    }
    return grounds.get(node);
  };
  const light = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const weak = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.checkVisibility({ checkOpacity: true })) continue;
    if (["SCRIPT", "STYLE", "TITLE", "DESC", "OPTION"].includes(node.tagName.toUpperCase())) continue;
    const style = getComputedStyle(node), ground = behind(node);
    const ink = over(rgba(node instanceof SVGElement ? style.fill : style.color), ground);
    const [high, low] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    texts += 1;
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 30)}`);
  }
  return { texts, weak: [...new Set(weak)] };
})()"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the whole planted study."""
    root = tmp_path_factory.mktemp("browser")
    run(EXPERIMENT, policy(front={"bootstrap": 200}), whole(root / "data"), root / "reports")
    return root / "reports" / "report.html"


@pytest.fixture(scope="module")
def page(report: Path) -> Iterator[Page]:
    """One tab with it, every section open, for all tests here."""
    with chromium(report.parent.parent / "profile") as tab:
        tab.emulate()
        yield fresh(tab, report)


def fresh(tab: Page, path: Path) -> Page:
    """The page opened anew, and every section of it."""
    tab.open(path)
    tab.evaluate("document.getElementById('unfold').click()")
    tab.drawn()
    return tab


def test_a_section_is_folded_until_a_link_opens_it(page: Page, report: Path) -> None:
    page.open(report)
    folded = page.evaluate(FOLDED)
    page.evaluate("document.querySelector('nav a[href=\"#safety\"]').click()")
    page.drawn()
    assert page.evaluate("document.querySelector('#safety > details').open")
    assert page.evaluate("document.querySelectorAll('#safety .chart.drawn').length") > 0
    assert page.evaluate(FOLDED) == folded - 1 > 10
    fresh(page, report)
    assert page.evaluate(FOLDED) == 0


def test_every_chart_is_drawn_without_a_word_on_the_console_or_a_request(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('.chart.drawn > div svg').length") == page.evaluate(
        "Object.keys(JSON.parse(document.getElementById('specs').textContent)).length"
    )
    assert page.evaluate("document.querySelectorAll('#chart-front svg .mark-symbol path').length") >= 18
    assert page.console == []
    assert set(page.requested) == {page.evaluate("location.href").partition("#")[0]}


def test_the_content_policy_stops_a_fetch(page: Page) -> None:
    before = len(page.requested)
    stopped = page.evaluate("fetch('https://example.org').then(() => false, () => true)")
    image = page.evaluate(
        "new Promise((done) => { const one = new Image(); one.onerror = () => done('refused');"
        " one.onload = () => done('loaded'); one.src = 'https://example.org/x.png'; })"
    )
    assert (stopped, image) == (True, "refused")
    assert page.requested[before:] == [] or all("example.org" in url for url in page.requested[before:])
    page.console.clear()  # the policy says on it what it stopped


@pytest.mark.parametrize(("scheme", "ink"), [("dark", "#e8ecf1"), ("light", "#1c2128")])
def test_texts_stand_out_from_what_lies_behind_them(page: Page, scheme: str, ink: str) -> None:
    page.emulate(scheme=scheme)
    page.evaluate(f"new Promise((done) => setTimeout(done, 300)).then(() => {{ {OPEN} }})")
    inks = "[...document.querySelectorAll('#chart-front svg text')].map((one) => one.getAttribute('fill'))"
    assert ink in page.evaluate(inks)  # the charts were drawn again in the scheme's colours
    found = page.evaluate(CONTRAST)
    assert found["texts"] > 1000
    assert found["weak"] == []


def test_the_first_key_offers_to_skip_to_the_report(page: Page) -> None:
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("key", ["Enter", " "])
def test_a_heading_sorts_by_key_and_says_so(page: Page, key: str) -> None:
    page.evaluate("document.querySelectorAll('#table-candidates thead th')[2].removeAttribute('aria-sort')")
    page.evaluate("document.querySelectorAll('#table-candidates thead button')[2].focus()")
    page.press(key)
    state = "document.querySelectorAll('#table-candidates thead th')[2].getAttribute('aria-sort')"
    assert page.evaluate(state) == "descending"
    falling = page.evaluate(VALUES)
    numbers = [float(value) for value in falling if value]
    assert numbers == sorted(numbers, reverse=True)
    page.press(key)
    assert page.evaluate(state) == "ascending"
    rising = page.evaluate(VALUES)
    assert [float(value) for value in rising if value] == sorted(numbers)
    assert falling[-1] == rising[-1] == ""  # the merge that was never evaluated stays last, both ways


def test_the_table_is_filtered_by_keys_and_what_is_shown_is_what_is_saved(page: Page) -> None:
    page.evaluate(
        "window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob.text()); return '#'; };"
        "HTMLAnchorElement.prototype.click = () => {};"
    )
    page.evaluate("document.getElementById('filter-outcome').focus()")
    page.press("r")  # a select chooses by the first letter: 'router', then 'rejected'
    page.press("e")
    chosen = page.evaluate("document.getElementById('filter-outcome').value")
    page.evaluate("document.getElementById('filter-text').focus()")
    page.write("dare")
    labels = page.evaluate(f"{ROWS}.map((row) => row.cells[0].dataset.value)")
    count = page.evaluate("document.getElementById('filter-count').textContent")
    for button in ("export-csv", "export-json"):
        page.evaluate(f"document.getElementById('{button}').focus()")
        page.press("Enter")
    csv, tree = page.evaluate("Promise.all(saved)")
    page.evaluate(
        "for (const id of ['filter-outcome', 'filter-text']) { const one = document.getElementById(id);"
        "one.value = ''; one.dispatchEvent(new Event('input')); one.dispatchEvent(new Event('change')); }"
    )
    assert chosen == "rejected"
    assert sorted(labels) == ["dare_linear 1", "dare_linear anchor", "dare_ties 1"]
    assert count == "3 of 20 shown"
    assert csv.count("\r\n") == 3
    assert csv.startswith('"Id","Subject"')
    records = json.loads(tree)
    assert [record["Subject"] for record in records] == labels
    assert all(isinstance(record["Recovered"], float | None) for record in records)


def test_a_screen_reader_finds_a_name_for_everything(page: Page) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("image", "table", "button", "link", "combobox", "searchbox", "region", "heading"):
        assert named.get(role), role
        assert all(named[role]), role
    assert len(named["main"]) == len(named["navigation"]) == 1
    assert {"Verdict", "Calibration", "Safety", "Long context"} <= set(named["heading"])


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_page_does_not_scroll_sideways(page: Page, width: int) -> None:
    page.emulate(width=width, height=800)
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    page.emulate()
    assert (wide, room) == (width, width)


def test_motion_and_print_are_as_asked(page: Page) -> None:
    page.emulate(motion="reduce")
    still = page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
    page.emulate(media="print")
    navigation = page.evaluate("getComputedStyle(document.querySelector('nav')).display")
    page.emulate()
    assert (still, navigation) == ("auto", "none")
