"""The report in a real browser: it opens alone, says nothing wrong, and fits a phone."""

import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from dinov3_metadata.demo import make_demo
from dinov3_metadata.report.html import LIMIT, page
from dinov3_metadata.run import audit_extra, dump_extra
from helpers import REPOSITORY, alone, browser

pytestmark = pytest.mark.needs("playwright", "snakemake", "matplotlib")

ODD = "金鱼 & <gold> {{ 7 * 7 }}"  # HTML, and a template of Jinja
LABELS = f"n01440764,tench\nn01443537,{ODD}\nn01484850,{'great white shark' * 9}\n"
WIDTHS = {"desk": 1200, "phone": 360}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND")
"""A container has no sandbox for Chromium. No name has an address, so that nothing can leave."""

TEXTS = """() => [...document.querySelectorAll("body *")].filter(one => {
    const box = one.getBoundingClientRect();
    return one.innerText && (one.scrollWidth > one.clientWidth + 1 && one.clientWidth
        || box.right > innerWidth + 1);
}).map(one => `${one.tagName} ${one.className} ${one.innerText.slice(0, 40)}`)"""
"""The elements whose text is wider than they are, or than the screen."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a dataset with all faults, and with doubles and a leak."""
    with alone(tmp_path_factory) as common:
        place = common / "browser"
        if not (place / "report.html").exists():
            make_report(place)
    return place / "report.html"


def make_report(place: Path) -> None:
    place.mkdir()
    (place / "labels.txt").write_text(LABELS)
    root, extra = place / "root", place / "extra"
    make_demo(root, place / "labels.txt", {"TRAIN": 8, "VAL": 2, "TEST": 2}, faults=True)
    max((root / "train/n01443537").iterdir()).unlink()
    dump_extra(root, extra, ["TRAIN", "VAL", "TEST"])
    audit_extra(root, extra, splits=["TRAIN", "VAL", "TEST"])
    command = [sys.executable, "-m", "snakemake", "-s", REPOSITORY / "Snakefile", "--config"]
    command += [f"root={root}", f"extra={extra}", "splits=[TRAIN,VAL,TEST]"]
    subprocess.run([*command, "--report", "report.html"], cwd=place, check=True)


class Opened:
    """The report in a browser, and what was wrong with it: errors, and requests that leave."""

    def __init__(self, page, report: Path) -> None:
        self.page, self.wrong = page, []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", lambda request: self.wrong.append(request.url))
        page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        page.on("request", self.note)
        page.goto(report.as_uri())
        self.names = page.evaluate("Object.values(results).map(one => one.name)")

    def note(self, request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(request.url)

    def show(self, name: str):
        """Show a page of the report, as its menu does; gives the frame that it is in."""
        self.page.evaluate(
            """name => app.setView({content: "html", hideNavbar: true,
            contentPath: Object.values(results).find(one => one.name === name).data_uri})""",
            name,
        )
        return self.shown()

    def shown(self):
        frame = self.page.wait_for_selector("iframe").content_frame()
        frame.wait_for_load_state()
        return frame


@pytest.fixture
def opened(request: pytest.FixtureRequest, report: Path) -> Iterator[Opened]:
    """The report in a browser with a width and colours."""
    from playwright.sync_api import sync_playwright

    width, colours = request.param
    with sync_playwright() as driver:
        program = driver.chromium.launch(executable_path=browser(), args=FLAGS)
        size = {"width": WIDTHS[width], "height": 800}
        page = program.new_page(viewport=size, color_scheme=colours)
        yield Opened(page, report)
        program.close()


views = partial(pytest.mark.parametrize, "opened", ids="-".join, indirect=True)


@views([("desk", "light"), ("phone", "light"), ("phone", "dark")])
def test_each_page_opens_alone_and_fits(opened: Opened) -> None:
    assert len(opened.names) == 16
    dark = opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for name in opened.names:
        frame = opened.show(name)
        assert frame.inner_text("h1"), name
        frame.wait_for_function("[...document.images].every(one => one.complete)")
        images = frame.evaluate(
            "[...document.images].map(one => [one.naturalWidth, one.naturalHeight, one.alt])"
        )
        assert all(width > 0 and height > 0 and alt for width, height, alt in images), name
        assert bool(images) == name.startswith(("mosaic", "sizes", "doubles", "audit-train")), name
        assert frame.evaluate(TEXTS) == [], name
        assert frame.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
        back = frame.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") != dark
        assert min(frame.evaluate(CONTRASTS)) > 4.5, name
    assert opened.wrong == []


CONTRASTS = """() => {
    const light = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const back = one => {
        if (!one) return "rgb(255, 255, 255)";
        const colour = getComputedStyle(one).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? back(one.parentElement) : colour;
    };
    return [...document.querySelectorAll("body *")].filter(one => one.innerText).map(one => {
        const both = [light(getComputedStyle(one).color), light(back(one))].sort((a, b) => a - b);
        return both[1] / both[0];
    });
}"""
"""How much lighter or darker than its ground each text is; WCAG asks for 4.5."""


@views([("desk", "light"), ("phone", "dark")])
def test_the_report_opens_on_the_overview_whose_links_work(opened: Opened) -> None:
    first = opened.page.locator(".overview")
    assert first.locator("h1").inner_text() == "Is this dataset right for training?"
    box = first.locator("h1").bounding_box()
    assert 0 <= box["y"] < 100
    assert box["x"] + box["width"] <= opened.page.viewport_size["width"]
    assert "No: training stops at" in first.inner_text()
    assert ODD in first.inner_text()
    dark = opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(17, 24, 39)") == dark
    inside = CONTRASTS.replace("body *", ".overview, .overview *")
    assert min(opened.page.evaluate(inside)) > 4.5
    first.get_by_role("link", name="Audit, TRAIN").press("Enter")
    assert opened.shown().inner_text("h1") == "Audit, TRAIN"
    assert opened.wrong == []


@views([("phone", "light")])
def test_a_table_sorts_by_keyboard_and_says_how(opened: Opened) -> None:
    frame = opened.show("audit-train.html")
    table = frame.locator("table").first
    images = table.get_by_role("button", name="images")
    column = [head.strip() for head in table.locator("th").all_inner_texts()].index("images")

    def counts() -> list[int]:
        return [
            int(text) for text in table.locator(f"td:nth-child({column + 1})").all_inner_texts()
        ]

    assert counts() != sorted(counts())
    for state, turned in (("ascending", False), ("descending", True)):
        images.press("Enter")
        assert counts() == sorted(counts(), reverse=turned)
        assert images.locator("..").get_attribute("aria-sort") == state
    table.get_by_role("button", name="problem").press("Space")
    assert images.locator("..").get_attribute("aria-sort") == "none"
    names = table.locator("td:first-child").all_inner_texts()
    assert names == sorted(names)


@views([("desk", "light")])
def test_a_page_of_the_largest_size_opens(opened: Opened) -> None:
    fill = "<p>end" + " " * (LIMIT - len(page("", "<p>end")))
    content = page("", fill)
    assert len(content) == LIMIT
    uri = f"{opened.page.evaluate(ONE)}{b64encode(content).decode()}"
    opened.page.evaluate("uri => app.setView({content: 'html', contentPath: uri})", uri)
    assert opened.shown().inner_text("p") == "end"


ONE = "Object.values(results)[0].data_uri.split(',')[0] + ','"
"""How the URL of a page begins in Snakemake's report."""


@views([("phone", "light")])
def test_a_problem_leads_to_its_images(opened: Opened) -> None:
    frame = opened.show("audit-train.html")
    frame.get_by_role("link", name="other-mode").press("Enter")
    frame.wait_for_function("document.querySelector('#other-mode').getBoundingClientRect().top < 9")
    assert opened.wrong == []
