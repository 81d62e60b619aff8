"""Static sites that show and count visits: pictures, the script, and the snippet page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest

from flask_redis_counter.testing import Stack, wait_until

from ..e2e.conftest import process_stack
from .conftest import PICTURES
from .test_pages import SCHEMES, WIDTHS

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A site</title>
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<main><h1>A site</h1><p>Seen <span data-count-of="{name}">some</span> times.</p>
<p>{images}</p></main>
<script async src="{service}/static/counter.js" data-counter="{name}"></script>
"""
ROOT = Path(__file__).parents[2]
#: A policy as strict as a site can have that uses a service.
POLICY = "default-src 'none'; script-src {service}; connect-src {service}; img-src {service} data:"


def stored(stack: Stack, name: str) -> int:
    """Return the value in the store."""
    return int(stack.run_redis_command("redis", "GET", f"counter:{{{name}}}") or 0)


@contextmanager
def site(page: str, policy: str) -> Iterator[str]:
    """Serve a page from another origin, and return its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def open_stack() -> Iterator[Stack]:
    """A stack that allows every site to read and hit its counters."""
    with process_stack(settings={"COUNTER_CORS_ORIGINS": "*"}) as stack:
        yield stack


@pytest.fixture
def page(browser, stack) -> Iterator:
    """A window on a page of the service's own origin, which needs no CORS."""
    context = browser.new_context(base_url=stack.url())
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(error))
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.hits = []
    page.on("request", lambda request: request.method == "POST" and page.hits.append(request))
    filled = PAGE.format(name="site", service=stack.url(), images="")
    page.route("**/site", lambda route: route.fulfill(body=filled, content_type="text/html"))
    yield page
    assert context.cookies() == []
    assert page.errors == []
    context.close()


def seen(page) -> str:
    """Return the number that the page shows."""
    return page.locator("[data-count-of]").inner_text()


def sent(page) -> int:
    """Return how many hits the page has sent."""
    page.title()  # Playwright dispatches events only during calls
    return len(page.hits)


def test_another_site(open_stack, open_window):
    """The script counts each visit and shows the number, the pictures load; no cookies."""
    stack = open_stack
    service = stack.url()
    images = "".join(
        f'<img src="{service}/{path}" alt="{path}"> '
        for path in ("hit/pictures.svg?color=brightgreen&format=comma", "hit/pictures.svg",
                     "counters/pictures.svg?label=a+picture+that+only+reads")
    )  # fmt: skip
    stack.run_redis_command("redis", "SET", "counter:{pictures}", "41335")
    stack.run_redis_command("redis", "SET", "counter:{script}", "41335")
    filled = PAGE.format(name="script", service=service, images=images)
    visits = 0
    with site(filled, POLICY.format(service=service)) as url:
        for scheme, width in product(SCHEMES, WIDTHS):
            window = open_window(stack, scheme=scheme, width=width).visit(url)
            visits += 1
            number = f"Seen {41335 + visits:,} times."
            wait_until(lambda w=window, n=number: n in w.text, what=number)
            window.picture(PICTURES / f"site-{scheme}-{width}.png")
            assert all(image["width"] > 40 for image in window.look()["images"])
            assert window.page.context.cookies() == []
            assert stored(stack, "script") == 41335 + visits
            assert stored(stack, "pictures") == 41335 + 2 * visits


def test_readme(stack, open_window):
    """The Markdown snippet renders as a badge in each colour scheme."""
    markdown = pytest.importorskip("markdown_it")
    stack.run_redis_command("redis", "SET", "counter:{readme}", "41336")
    looks = {"visits": "format=comma&color=green", "*some* [_words_]": "color=brightgreen",
             "<b>": "format=short&color=0969da"}  # fmt: skip
    lines = []
    window = open_window(stack)
    for label, look in looks.items():
        window.visit(f"/snippet?{urlencode({'name': 'readme', 'label': label})}&{look}")
        lines.append(window.page.locator("pre").first.inner_text())
    body = markdown.MarkdownIt().render("# A project\n\n" + "\n".join(lines))
    readme = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>A project</title>
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<main>{body}</main>"""
    with site(readme, f"default-src 'none'; img-src {stack.url()} data:") as url:
        for scheme, width in product(SCHEMES, WIDTHS):
            window = open_window(stack, scheme=scheme, width=width).visit(url)
            window.picture(PICTURES / f"readme-{scheme}-{width}.png")
            images = window.look()["images"]
            assert [image["alternative"] for image in images] == list(looks)
            assert all(image["width"] > 40 for image in images)
    assert stored(stack, "readme") == 41336


def test_site_that_is_not_allowed(page, stack):
    """On a site that is not allowed nothing counts, and the page stays as it is."""
    before = stored(stack, "site")
    page.unroute_all()  # with routing, Playwright itself answers preflight requests
    filled = PAGE.format(name="site", service=stack.url(), images="")
    with site(filled, POLICY.format(service=stack.url())) as url:
        page.goto(url)
        wait_until(lambda: sent(page) == 2, what="two attempts")
    assert seen(page) == "some"
    assert stored(stack, "site") == before


def test_large_number(page, stack):
    """A large number is exact to the last of 63 bits."""
    before = stored(stack, "site")
    stack.run_redis_command("redis", "SET", "counter:{site}", str(2**63 - 2))
    page.goto("/site")
    wait_until(lambda: seen(page) == f"{2**63 - 1:,}", what="the largest value")
    stack.run_redis_command("redis", "SET", "counter:{site}", str(before))


def test_lost_response(page, stack):
    """After a lost response the script retries with the same key, and the visit counts once."""
    before = stored(stack, "site")

    def lose(route) -> None:
        if len(page.hits) > 1:
            route.continue_()
            return
        assert route.fetch().ok
        route.abort()

    page.route("**/hits", lose)
    page.goto("/site")
    wait_until(lambda: seen(page) == f"{before + 1:,}", what="the number")
    first, again = (hit.headers["idempotency-key"] for hit in page.hits)
    assert first == again
    assert stored(stack, "site") == before + 1


def test_blocked_script(page, stack):
    """If a filter blocks its requests, the script tries twice, and leaves the page as it is."""
    before = stored(stack, "site")
    page.route("**/hits", lambda route: route.abort("blockedbyclient"))
    page.goto("/site")
    wait_until(lambda: sent(page) == 2, what="two attempts")
    assert seen(page) == "some"
    assert stored(stack, "site") == before


def test_site_during_an_outage(page, stack, faults):
    """During an outage no number is shown."""
    with faults.killed("redis"):
        with page.expect_response("**/hits") as answered:
            page.goto("/site")
        assert answered.value.status == 503
        assert seen(page) == "some"


def test_prerendered_page(page, stack):
    """A prerendered page counts when it is shown, and not before."""
    before = stored(stack, "site")
    page.add_init_script(
        """let ahead = true;
        Object.defineProperty(document, "prerendering", { get: () => ahead });
        window.look = () => {
            ahead = false;
            document.dispatchEvent(new Event("prerenderingchange"));
        };"""
    )
    page.goto("/site", wait_until="load")
    assert sent(page) == 0
    assert stored(stack, "site") == before
    page.evaluate("look()")
    wait_until(lambda: seen(page) == f"{before + 1:,}", what="the number")
    assert stored(stack, "site") == before + 1


def console_lines(page) -> list[str]:
    """Return the lines that the script has written to the console."""
    page.title()  # Playwright dispatches events only during calls
    return [text for text in page.said if text.startswith("counter.js:")]


LINE = '<p data-count-line hidden>Seen <span data-count-of="site"></span> times.</p>'
#: Loaders that run the script after `document.currentScript` is unset.
LOADERS = {
    "module": '<script type="module" src="{script}" data-counter="site"></script>',
    # Rocket Loader: an inert element, whose source a loader runs.
    "later": """<script type="x/javascript" src="{script}" data-counter="site"></script>
<script>fetch("{script}").then((it) => it.text()).then((it) => new Function(it)())</script>""",
}


def fill(page, body: str) -> None:
    """Set the body of the site's page."""
    filled = f'<!doctype html><link rel="icon" href="data:,"><title>A</title><main>{body}</main>'
    page.unroute("**/site")
    page.route("**/site", lambda route: route.fulfill(body=filled, content_type="text/html"))


@pytest.mark.parametrize("loader", LOADERS)
def test_loader_without_a_current_script(page, stack, loader):
    """As a module, or run by an optimiser, the script finds its element, counts once and shows."""
    before = stored(stack, "site")
    fill(page, LINE + LOADERS[loader].format(script="/static/counter.js"))
    page.goto("/site")
    wait_until(lambda: seen(page) == f"{before + 1:,}", what="the number")
    assert page.locator("[data-count-line]").is_visible()
    assert stored(stack, "site") == before + 1
    assert console_lines(page) == []


def test_module_of_another_origin(open_stack, browser):
    """As a module on an allowed site, the script counts."""
    service = open_stack.url()
    loader = LOADERS["module"].format(script=f"{service}/static/counter.js")
    body = f'<!doctype html><link rel="icon" href="data:,"><title>A</title>{LINE}{loader}'
    with site(body, POLICY.format(service=service)) as url:
        context = browser.new_context()
        window = context.new_page()
        window.goto(url)
        wait_until(lambda: seen(window) == "1", what="the number")
        context.close()
    assert stored(open_stack, "site") == 1


@pytest.mark.parametrize("copies", [2, 3])
def test_page_with_the_script_twice(page, stack, copies):
    """A page with the script twice counts once per counter."""
    before, other = stored(stack, "site"), stored(stack, "other")
    lines = [f'<script async src="/static/counter.js" data-counter="{name}"></script>'
             for name in [*["site"] * copies, "other"]]  # fmt: skip
    fill(page, "".join(lines) + LINE)
    page.goto("/site", wait_until="load")
    wait_until(lambda: seen(page) == f"{before + 1:,}", what="the number")
    wait_until(lambda: stored(stack, "other") == other + 1, what="the other counter")
    assert sent(page) == 2
    assert stored(stack, "site") == before + 1


@pytest.mark.parametrize(
    ("element", "words"),
    [
        ('<script src="/static/counter.js"></script>', "the name is missing"),
        ('<script src="/static/counter.js" data-counter=""></script>', "the name is missing"),
        ('<script type="module" src="/static/counter.js"></script>', "the name is missing"),
        ('<script src="/static/counter.js" data-counter="a b"></script>', '"a b" is invalid'),
        ('<script src="/static/counter.js" data-counter="a.svg"></script>', '"a.svg" is invalid'),
        ('<script src="/static/counter.js" data-counter=".."></script>', '".." is invalid'),
        ('<script src="/js/site/counter.js" data-counter="site"></script>', "data-service="),
        ('<script src="/static/counter.js" data-counter="a" data-service="x:/"></script>', "x:/"),
        ('<script src="/static/counter.js" data-counter="a" data-service="%"></script>',
         "the address of the service is unknown or invalid"),
    ],
)  # fmt: skip
def test_console_messages(page, stack, element, words):
    """A script that cannot count logs the reason and the fix."""
    source = (ROOT / "flask_redis_counter/web/static/counter.js").read_text("utf-8")
    page.route(
        "**/js/site/counter.js",
        lambda route: route.fulfill(body=source, content_type="text/javascript"),
    )
    fill(page, LINE + element)
    page.goto("/site", wait_until="load")
    wait_until(lambda: console_lines(page), what="a line on the console")
    [line] = console_lines(page)
    assert words in line
    assert not page.locator("[data-count-line]").is_visible()


@pytest.mark.parametrize("slash", ["", "/"])
def test_copy_of_the_script(open_stack, browser, slash):
    """A copy of the script on the site counts at the service in data-service."""
    service = open_stack.url()
    source = (ROOT / "flask_redis_counter/web/static/counter.js").read_text("utf-8")
    body = f"""<!doctype html><link rel="icon" href="data:,"><title>A</title>{LINE}
<script src="/copy.js" data-counter="site" data-service="{service}{slash}"></script>"""
    with site(body, f"default-src 'self'; img-src data:; connect-src {service}") as url:
        context = browser.new_context()
        window = context.new_page()
        window.route(
            "**/copy.js", lambda route: route.fulfill(body=source, content_type="text/javascript")
        )
        window.goto(url)
        wait_until(lambda: seen(window) == "1", what="the number")
        context.close()
    assert stored(open_stack, "site") == 1


def test_reloads_of_a_page(browser):
    """Five loads within COUNTER_VISITOR_WINDOW are one hit, and each shows the number."""
    settings = {"COUNTER_CORS_ORIGINS": "*", "COUNTER_VISITOR_WINDOW": "300"}
    with process_stack(settings=settings) as stack:
        loader = f'<script src="{stack.url()}/static/counter.js" data-counter="site"></script>'
        body = f'<!doctype html><link rel="icon" href="data:,"><title>A</title>{LINE}{loader}'
        with site(body, POLICY.format(service=stack.url())) as url:
            context = browser.new_context()
            window = context.new_page()
            for _ in range(5):
                window.goto(url)
                wait_until(lambda: seen(window) == "1", what="the number")
            context.close()
        assert stored(stack, "site") == 1


def test_store_without_memory_for_keys(browser):
    """If the store has no memory for its key, the script retries without one, and counts once."""
    with process_stack(settings={"COUNTER_CORS_ORIGINS": "*"}) as stack:
        used = re.search(
            r"used_memory:(\d+)", str(stack.run_redis_command("redis", "INFO", "memory"))
        )
        stack.run_redis_command(
            "redis", "CONFIG", "SET", "maxmemory", str(int(used[1]) * 115 // 100)
        )
        loader = f'<script src="{stack.url()}/static/counter.js" data-counter="site"></script>'
        body = f'<!doctype html><link rel="icon" href="data:,"><title>A</title>{LINE}{loader}'
        with site(body, POLICY.format(service=stack.url())) as url:
            context = browser.new_context()
            window = context.new_page()
            keyed = []
            window.on(
                "request",
                lambda it: it.method == "POST" and keyed.append("idempotency-key" in it.headers),
            )
            window.goto(url)
            wait_until(lambda: seen(window) == "1", what="the number")
            assert keyed == [True, False]
            context.close()
        assert stored(stack, "site") == 1


def test_copy_buttons(stack, open_window):
    """Each snippet has a button that copies it, and confirms it."""
    window = open_window(stack)
    window.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window.visit("/snippet?name=shop")
    lines = window.page.locator("pre.line").all_inner_texts()
    buttons = window.page.get_by_role("button", name="Copy the")
    assert buttons.count() == len(lines) == 5
    for number, line in enumerate(lines):
        buttons.nth(number).click()
        wait_until(
            lambda line=line: window.page.evaluate("navigator.clipboard.readText()") == line,
            what=line,
        )
        assert window.page.get_by_role("status").nth(number).inner_text() == "Copied."


def test_snippet_page(stack, open_window):
    """The filled-in form shows the badge and working snippets."""
    window = open_window(stack).visit("/count")
    before = stored(stack, "visits")
    window.click("the count on your site")
    assert window.heading == "Put the count on your site"
    page = window.page
    page.get_by_label("Label").fill('all "visits" <ever>')
    page.get_by_label("Colour").fill("#abc")
    page.get_by_label("Number").select_option("comma")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_load_state("load")
    markdown, image, script, place, _ = page.locator("pre").all_inner_texts()
    assert markdown.startswith('![all "visits" \\<ever\\>](http')
    assert page.get_by_label("Label").input_value() == 'all "visits" <ever>'
    filled = f'<link rel="icon" href="data:,"><main>{image} {place}</main>{script}'
    page.route("**/site", lambda route: route.fulfill(body=filled, content_type="text/html"))
    window.visit("/site")
    wait_until(lambda: seen(page) in (f"{before + 1:,}", f"{before + 2:,}"), what="the number")
    wait_until(lambda: stored(stack, "visits") == before + 2, what="a visit of each kind")
    assert window.look()["images"][0]["alternative"] == 'all "visits" <ever>'
    assert window.look()["images"][0]["width"] > 100
