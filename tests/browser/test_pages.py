"""Layout of the pages: in both colour schemes, on desktop and phone widths."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import pytest

from flask_redis_counter.testing import Faults, Stack, send_hit, wait_until

from .conftest import PICTURES
from .window import connect_all

#: Minimum contrast of text of ordinary size (WCAG 2.2, success criterion 1.4.3, level AA).
CONTRAST = 4.5

SCHEMES = ("light", "dark")
WIDTHS = (1280, 320)

#: The longest name and the largest value of a counter.
LONGEST, LARGEST = "n" * 64, 2**63 - 1


@dataclass(frozen=True)
class Case:
    """A page, and the fault of the store while it is visited.

    :ivar path: its path.
    :ivar status: its expected status.
    :ivar says: text that identifies it.
    :ivar fault: the fault of the store, or None.
    :ivar full: the name of a counter at its largest value.
    :ivar spools: whether the service spools hits.
    """

    path: str
    status: int
    says: str
    fault: str | None = None
    full: str | None = None
    spools: bool = False


CASES = {
    "welcome": Case("/", 200, "so far"),
    "welcome-full": Case("/", 200, f"{LARGEST:,}", full="visits"),
    "welcome-away": Case("/", 200, "No number just now", fault="killed"),
    "count": Case("/count", 200, "Your visit was counted"),
    "count-full": Case("/count", 409, "The counter cannot hold more", full="visits"),
    "count-away": Case("/count", 503, "Your visit was not counted", fault="killed"),
    "count-unknown": Case("/count", 503, "We do not know", fault="responses_dropped"),
    "count-spooled": Case("/count", 202, "It will be counted", fault="killed", spools=True),
    "value": Case("/counters/visits", 200, "was not counted"),
    "value-longest": Case(f"/counters/{LONGEST}", 200, f"{LARGEST:,}", full=LONGEST),
    "snippet": Case("/snippet", 200, "data-count-of", full="visits"),
    "snippet-longest": Case(
        f"/snippet?name={LONGEST}&label={'W' * 64}&format=comma", 200, "shields", full=LONGEST
    ),
    "stats": Case("/stats", 200, "unique visitor"),
    "stats-full": Case(f"/stats?days=365&name={LONGEST}", 200, f"{LARGEST:,}", full=LONGEST),
    "stats-search": Case("/stats?q=visit&days=90", 200, "with “visit” in the name"),
    "stats-none": Case("/stats?name=none", 200, "There is no such counter"),
    "stats-away": Case("/stats", 503, "not available just now", fault="killed"),
    "malformed": Case("/counters/%20", 400, "Bad Request"),
    "missing": Case("/nowhere", 404, "There is nothing here"),
}


#: A word of each layout error.
ERROR_WORDS = ["language", "title", "headings", "words", "image", "link", "wide", "paper", "group"]
ERROR_WORDS += ["contrast", "again"]


@pytest.mark.parametrize("name", CASES)
def test_page_layout(name, request, open_window):
    """Each page has one heading, a title, alternative texts, contrast, no overflow, no errors."""
    case = CASES[name]
    stack = request.getfixturevalue("spooling_stack" if case.spools else "stack")
    wrong = []
    with full(stack, case.full):
        for scheme, width in product(SCHEMES, WIDTHS):
            with with_fault(stack, case.fault):
                window = open_window(stack, scheme=scheme, width=width)
                # A hit in flight when the store dies may be unknown first.
                wait_until(lambda w=window: case.says in w.visit(case.path).text, what=case.says)
                assert window.status == case.status
                window.picture(PICTURES / f"{name}-{scheme}-{width}.png")
                complaints = list(layout_errors(window.look(), scheme))
            wrong += [f"{scheme}, {width} px: {complaint}" for complaint in complaints]
    assert wrong == []


def test_statistics_of_many_counters(stack, open_window):
    """A page of twenty counters is short: charts are folded, and absent without hits."""
    names = [f"page-{number:02}" for number in range(40)]
    for name in names:
        stack.run_redis_command("redis", "SET", f"counter:{{{name}}}", "7")
        stack.run_redis_command("redis", "ZADD", "counter:{}:names", "0", name)
    for name in ("visits", *names[::2]):
        assert send_hit(stack.url(), counter=name).values
    for scheme, width in product(SCHEMES, WIDTHS):
        window = open_window(stack, scheme=scheme, width=width).visit("/stats")
        window.picture(PICTURES / f"stats-many-{scheme}-{width}.png")
        look = window.look()
        assert list(layout_errors(look, scheme)) == []
        assert "1 to 20 of" in window.text
        assert look["height"] < (2500 if width > 1000 else 5000)
    assert window.page.locator("img:visible[src*=stats]").count() == 2
    window.page.get_by_text("Chart and days").nth(2).click()
    chart = window.page.locator("img[src*=stats]").nth(2)
    wait_until(lambda: chart.evaluate("image => image.naturalWidth"), what="the chart")
    window.page.get_by_label("Find a counter").fill("PAGE-3")
    window.page.keyboard.press("Enter")
    window.page.wait_for_load_state("load")
    wait_until(lambda: "1 to 10 of 10 counters" in window.text, what="what was found")


def test_layout_check_finds_errors(stack, open_window):
    """The layout check reports each kind of error on a page that was broken on purpose."""
    window = open_window(stack, width=390).visit("/")
    assert list(layout_errors(window.look(), "light")) == []
    window.page.evaluate(
        """() => {
            document.documentElement.lang = "";
            document.title = "";
            document.body.append(document.createElement("h1"));
            document.images[0].removeAttribute("alt");
            document.images[0].src = "/healthz";
            document.querySelector(".lead").style.color = "#949494";
            document.querySelector("main").style.width = "500px";
            document.querySelector(".lead").textContent = document.querySelector("h1").innerText;
            document.links[0].firstChild.nextSibling.remove();
            // A copy, which live.js does not update.
            const number = document.querySelector("data.number").cloneNode();
            number.innerHTML = "1,2<br>34";
            document.querySelector("data.number").replaceWith(number);
        }"""
    )
    wait_until(lambda: window.look()["images"][0]["width"] == 0, what="the image is gone")
    wrong = "\n".join(layout_errors(window.look(), "dark"))
    for word in ERROR_WORDS:
        assert word in wrong


@contextmanager
def full(stack: Stack, counter: str | None) -> Iterator[None]:
    """Set a counter to its largest value, and restore it afterwards."""
    if counter is None:
        yield
        return
    key = f"counter:{{{counter}}}"
    before = stack.run_redis_command("redis", "GET", key)
    stack.run_redis_command("redis", "SET", key, str(LARGEST))
    try:
        yield
    finally:
        stack.run_redis_command("redis", *(("SET", key, before) if before else ("DEL", key)))


@contextmanager
def with_fault(stack: Stack, fault: str | None) -> Iterator[None]:
    """Inject a fault into the store."""
    if fault is None:
        yield
        return
    connect_all(stack)
    with getattr(Faults(stack), fault)("redis"):
        yield
    stack.wait_ready()


def layout_errors(look: dict, scheme: str) -> Iterator[str]:
    """Yield the layout errors of a page, given its measurements."""
    if look["language"] != "en":
        yield f"the language is {look['language']!r}"
    if not look["title"].strip():
        yield "it has no title"
    if len(look["headings"]) != 1 or not look["headings"][0].strip():
        yield f"not one heading: the headings are {look['headings']}"
    for image in look["images"]:
        if image["alternative"] is None or (image["alone"] and not image["alternative"]):
            yield f"no words for {image['source']}"
        if not image["width"]:
            yield f"the image {image['source']} is broken"
    if not all(look["links"]):
        yield f"a link without words: {look['links']}"
    if look["repeats"]:
        yield f"it says its heading again: {look['repeats']}"
    if look["wide"][0] > look["wide"][1]:
        yield f"it is {look['wide'][0]} px wide, and the window {look['wide'][1]}"
    if (look["paper"] > 0.5) != (scheme == "light"):
        yield f"the paper's luminance is {look['paper']:.2f}"
    if any(len(line.rpartition(",")[2]) not in (0, 3) for line in look["number"][:-1]):
        yield f"the number is broken within a group: {look['number']}"
    if not look["texts"]:
        yield "it has no text"
    for text in look["texts"]:
        if text["contrast"] < CONTRAST:
            yield f"a contrast of {text['contrast']:.2f}: {text['tag']} {text['text']!r}"


#: The focused element: its position, whether it is visible, and its outline.
FOCUSED = """() => {
    const { activeElement: element } = document;
    const { top, left, bottom, right } = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    return {
        at: [top + scrollY, left + scrollX], seen: right > left && bottom > top,
        outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        end: element === document.body, words: element.innerText || element.name,
    };
}"""


@pytest.mark.parametrize("path", ["/", "/stats", "/snippet", "/count", "/nowhere"])
@pytest.mark.parametrize("width", WIDTHS)
def test_keyboard_order(stack, open_window, path, width):
    """Tab reaches everything in reading order, with a visible focus."""
    assert send_hit(stack.url()).values
    window = open_window(stack, width=width).visit(path)
    reached = []
    for _ in range(100):
        window.page.keyboard.press("Tab")
        focused = window.page.evaluate(FOCUSED)
        if focused["end"]:
            break
        reached.append(focused)
    assert len(reached) > 3
    assert [one["words"] for one in reached if not (one["seen"] and one["outline"])] == []
    if width < 1000:  # one column
        assert [one["at"][0] for one in reached] == sorted(one["at"][0] for one in reached)
