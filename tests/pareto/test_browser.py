"""The page in a real browser: charts are drawn, nothing fails, nothing is fetched, the table obeys.

Skipped where no chromium is installed.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.pareto.__main__ import run
from tests.pareto.laboratory import EXPERIMENT, build, policy

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# Appended to a copy of the page: presses buttons as a keyboard does, and writes down what it saw.
DRIVER = """
<script>
addEventListener("load", () => setTimeout(() => {
  const seen = {};
  const names = () => [...document.querySelectorAll("#table-candidates tbody tr:not([hidden])")]
    .map((row) => row.cells[2].dataset.value);
  const button = document.querySelectorAll("#table-candidates thead button")[2];
  button.focus();
  seen.focused = document.activeElement === button;
  button.click();
  seen.sort = button.parentElement.getAttribute("aria-sort");
  seen.descending = names();
  button.click();
  seen.ascending = names();
  const filter = document.getElementById("filter-outcome");
  filter.value = "rejected";
  filter.dispatchEvent(new Event("change"));
  seen.rejected = names().length;
  seen.count = document.getElementById("filter-count").textContent;
  seen.marks = document.querySelectorAll("#chart-front svg .mark-symbol path").length;
  seen.charts = document.querySelectorAll(".chart.drawn > div svg").length;
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
}, 1500));
</script>
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    run(EXPERIMENT, policy(front={"bootstrap": 200}), build(root / "data"), root / "reports")
    return root / "reports"


def browse(page: Path, *flags: str) -> tuple[str, str]:
    """(document after the scripts ran, console lines)."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr", "--v=0",
        "--virtual-time-budget=10000", *flags, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_without_a_word_on_the_console(reports: Path, scheme: str) -> None:
    flags = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    document, console = browse(reports / "report.html", *flags)
    assert console == ""
    assert document.count('class="chart drawn"') == 3
    ink = {"light": "#1c2128", "dark": "#e8ecf1"}[scheme]
    assert f'fill="{ink}"' in document


def test_the_page_asks_the_network_for_nothing(reports: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    browse(reports / "report.html", f"--log-net-log={log}")
    text = log.read_text(encoding="utf-8")
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', text))
    # The browser's own services (update checks and the like) are not the page's.
    assert not {url for url in asked if not re.match(r"https?://[^/]*(google|gstatic|chrome)[^/]*/", url)}
    assert not {url for url in asked if "vega" in url or "jsdelivr" in url}


def test_the_table_sorts_and_filters_from_its_buttons(reports: Path, tmp_path: Path) -> None:
    page = (reports / "report.html").read_text(encoding="utf-8")
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    copy = tmp_path / "driven.html"
    copy.write_text(DRIVER.join(page.rsplit("</body>", 1)), encoding="utf-8")
    document, console = browse(copy)
    assert console == ""
    found = re.search(r'<pre id="seen">(.*?)</pre>', document)
    assert found
    seen = json.loads(found[1])
    assert seen["focused"]
    assert seen["sort"] == "descending"
    numbers = [float(value) for value in seen["descending"] if value]
    assert numbers == sorted(numbers, reverse=True)
    assert seen["descending"][-1] == ""  # the merge that was never evaluated stays last, both ways
    assert seen["ascending"][-1] == ""
    assert [float(value) for value in seen["ascending"] if value] == sorted(numbers)
    assert (seen["rejected"], seen["count"]) == (4, "4 of 17 shown")
    assert seen["charts"] == 3
    assert seen["marks"] >= 16


def test_a_narrow_page_does_not_scroll_sideways(reports: Path, tmp_path: Path) -> None:
    copy = tmp_path / "narrow.html"
    script = (
        '<script>addEventListener("load", () => setTimeout(() => {'
        'const page = document.querySelector("iframe").contentDocument.documentElement;'
        "document.title = page.scrollWidth + ' ' + page.clientWidth;}, 2000));</script>"
    )
    frame = f'<iframe src="{(reports / "report.html").as_uri()}" style="width:360px;height:900px"></iframe>'
    copy.write_text(f"<!doctype html><title>wait</title>{frame}{script}", encoding="utf-8")
    document, _ = browse(copy, "--allow-file-access-from-files")
    found = re.search(r"<title>(\d+) (\d+)</title>", document)
    assert found
    assert int(found[1]) <= int(found[2])
