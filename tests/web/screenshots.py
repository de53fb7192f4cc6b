"""Pictures of every page for docs/screenshots: `.venv/bin/python -m tests.web.screenshots`. Needs Debian's chromium."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from service.logs import configure_logging
from tenancy.embedded import embedded_server
from tests.web.showroom import Showroom, showroom

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
LARGEST = 150_000
# Looks: the colours, and width and height.
LOOKS = {"light": ("light", 1200, 720), "dark": ("dark", 1200, 720), "phone": ("light", 390, 844)}
NOT_SHOWN = {"coverage", "folder", "search", "small-run", "progress"}
PERSONAL = {"keys": "profile/keys", "password": "profile/password"}


async def take(room: Showroom, folder: Path) -> None:
    """Take a picture of each page in each look, and raise if one is wider than the screen or too large a file."""
    base = f"http://{room.visitor.tenant.host}:{room.visitor.tenant.port}{room.visitor.root}"
    # Of a case's tabs, the tab is what differs.
    paths = {name: path + "#more" * ("?tab=" in path) for name, path in room.paths.items() if name not in NOT_SHOWN}
    paths |= PERSONAL
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        for look, (scheme, width, height) in LOOKS.items():
            context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
            page = await context.new_page()
            await page.goto(f"{base}/sign-in")
            await save(page, folder / f"sign-in-{look}.png")
            place = {"domain": room.visitor.tenant.host, "path": room.visitor.root}
            await context.add_cookies([{"name": "session", "value": room.visitor.cookie, **place}])
            for name, path in paths.items():
                answer = await page.goto(f"{base}/{path}", wait_until="networkidle")
                assert answer is not None
                assert page.url == f"{base}/{path}", (name, page.url)
                await save(page, folder / f"{name}-{look}.png")
            await context.close()
        await browser.close()


async def save(page, path: Path) -> None:
    too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(too_wide), f"{path.stem} is wider than the screen"
    content = await page.screenshot()
    assert len(content) <= LARGEST, f"{path.stem} has {len(content):,} bytes"
    await asyncio.to_thread(path.write_bytes, content)


async def run(server, folder: Path) -> None:
    async with showroom(server) as room:
        await take(room, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    configure_logging(form="json", level="error")
    with (
        tempfile.TemporaryDirectory(prefix="to-screenshots-") as name,
        embedded_server(Path(name) / "data", durable=False) as server,
    ):
        asyncio.run(run(server, options.folder))


if __name__ == "__main__":
    main()
