"""The page to share, in a real browser, from a plain file server: whole, quiet, sortable, and open to all readers."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.canvas_at_hand import settled
from helpers.smoke_at_hand import CONTENT

from kitsnb.files import Build
from kitsnb.study import published
from kitsnb.viewing.site import write_site

PAGES = ["", "viewer/index.html", "notebooks/01_data_analysis.html", "notebooks/03_losses.html",
         "notebooks/05_results.html"]


@pytest.fixture(scope="module")
def site(smoke, tmp_path_factory):
    """The site of the smoke build, which shares all with it but the folder that it is written to."""
    folder = tmp_path_factory.mktemp("site") / "build"  # not beside the smoke build, where the start page looks for others
    folder.mkdir()
    for path in smoke.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return write_site(Build(folder), "https://example.org/paper").parent


@pytest.fixture(scope="module")
def page(site, browser):
    """A page of the browser; what goes wrong on it, or asks another host, is listed in ``page.wrong``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.address, page.wrong = f"http://127.0.0.1:{server.server_port}/", []
        here = (page.address, "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(here) or page.wrong.append(request.url))
        page.on("response", lambda response: response.status < 400 or page.wrong.append(response.url))
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and page.wrong.append(message.text))
        yield page
        page.close()
        server.shutdown()


def test_the_site_is_small_and_holds_the_paper(site):
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 30e6
    assert (site / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert (site / "preview.png").is_file()
    assert '"og:image" content="https://example.org/paper/preview.png"' in (site / "index.html").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_quiet_and_open_to_all_readers(page, name):
    page.wrong.clear()
    page.goto(page.address + name)
    page.wait_for_load_state("networkidle")
    assert not page.wrong
    found = Axe().run(page).response["violations"]
    assert not [one for one in found if one["impact"] in ("serious", "critical")]
    assert page.locator("img:not([alt])").count() == 0
    assert "$" not in page.locator("main p").first.inner_text()


def test_the_table_sorts_by_any_column_both_ways(page):
    page.goto(page.address)

    def shown(column: int) -> list[str]:
        return page.locator(f"tbody tr > :nth-child({column})").evaluate_all("cells => cells.map(c => c.dataset.value)")

    about = published.read(published.MAIN).rows if published.MAIN in published.names() else CONTENT["experiments"]
    assert shown(1) and len(shown(1)) == len(about), "the published study's rows, where there is one, as in the paper"
    for column, kind in ((4, float), (1, str)):
        heading = page.locator(f"thead th:nth-child({column})")
        for order in ("descending", "ascending"):
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == order
            values = [kind(value) for value in shown(column)]
            assert values == sorted(values, reverse=order == "descending")


def test_the_viewer_opens_the_case_that_was_asked_for_and_scrolls(page):
    page.goto(page.address)
    link = page.get_by_role("link", name="Open these in the viewer").first
    name = link.get_attribute("href").split("#")[1]
    link.click()
    canvas = page.locator("#stage canvas")
    seen = settled(canvas)
    assert page.locator("#case").input_value() == name
    canvas.press("ArrowUp")
    settled(canvas, seen)
    page.get_by_role("link", name="Back to the story").click()
    assert page.locator("h1").count() == 1


def test_an_unfinished_build_is_named_and_the_site_that_was_there_stays(tmp_path):
    (tmp_path / "site").mkdir()
    with pytest.raises(FileNotFoundError, match="results.json: missing; .* run make first"):
        write_site(Build(tmp_path))
    assert (tmp_path / "site").is_dir()
