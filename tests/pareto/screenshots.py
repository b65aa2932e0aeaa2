"""`python -m tests.pareto.screenshots [page] [folder]`: the light, dark and narrow page, to be looked at.

Small enough to be committed beside the report. Needs a chromium.
"""

import sys
import tempfile
from pathlib import Path

from tests.pareto.browser import CHROMIUM, Page, chromium

LIMIT_BYTES = 150_000
SCALES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4)  # of a picture, until it is small enough


def small(page: Page, height: int) -> bytes:
    """The first `height` pixels of the page, as large as LIMIT_BYTES allow."""
    for scale in SCALES:
        picture = page.screenshot(scale=scale, height=height)
        if len(picture) <= LIMIT_BYTES:
            return picture
    raise SystemExit(f"the picture is over {LIMIT_BYTES} bytes at any scale: take fewer pixels than {height}")


def shoot(page: Page, path: Path, folder: Path) -> None:
    """Write light.png, dark.png and narrow.png, the page opened anew for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, about, height in (
        ("light", {"scheme": "light", "width": 1280}, 1500),
        ("dark", {"scheme": "dark", "width": 1280}, 1500),
        ("narrow", {"scheme": "light", "width": 390, "height": 844}, 1700),
    ):
        page.emulate(**about)
        page.open(path)
        (folder / f"{name}.png").write_bytes(small(page, height))


def main() -> None:
    """Look at a page, reports/report.html unless another is named."""
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "reports/report.html")
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "reports/screenshots")
    if CHROMIUM is None:
        raise SystemExit("no chromium on this machine")
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as tab:
        shoot(tab, page, folder)


if __name__ == "__main__":
    main()
