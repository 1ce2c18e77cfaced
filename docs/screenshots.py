"""Take pictures of the running console: wide and narrow, light and dark. The README's picture is made by this script.

Usage: python docs/screenshots.py BASE_URL EMAIL PASSWORD FOLDER PATH [PATH …]
Each PATH gives FOLDER/<path>-<width>-<theme>.png. Needs Chromium (Debian's, or the one CHROMIUM names).
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

WIDTHS = (1440, 390)
THEMES = ("light", "dark")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main(base_url: str, email: str, password: str, folder: Path, paths: list[str]) -> None:
    """Sign in once, then photograph every path in every width and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=ARGUMENTS
        )
        state = sign_in(browser, base_url, email, password)
        for width in WIDTHS:
            for theme in THEMES:
                context = browser.new_context(
                    storage_state=state,
                    viewport={"width": width, "height": 900},
                    color_scheme=theme,
                    reduced_motion="reduce",
                )
                page = context.new_page()
                for path in paths:
                    page.goto(base_url + path, wait_until="load")
                    page.wait_for_timeout(300)
                    name = path.strip("/").replace("/", "_").replace("?", "_") or "landing"
                    page.screenshot(path=str(folder / f"{name}-{width}-{theme}.png"), full_page=True)
                context.close()
        browser.close()


def sign_in(browser: Browser, base_url: str, email: str, password: str) -> dict[str, object]:
    """A signed-in browser's cookies."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{base_url}/account/login/")
    page.fill("input[name=login]", email)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/o/**")
    state = context.storage_state()
    context.close()
    return dict(state)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
