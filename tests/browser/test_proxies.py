"""The pages behind a real proxy that publishes the service under a root path."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from flask_redis_counter.testing import Stack, send_hit, wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

from ..e2e.conftest import process_stack
from .window import Window

#: As documented in operating.md, "Under a path of a site".
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /counter/ {{
            proxy_pass {service}/;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            {header}
        }}
    }}
}}
"""


@pytest.fixture(params=["header", "setting"])
def published(request, tmp_path) -> Iterator[tuple[Stack, str]]:
    """A stack behind nginx, and the URL under which nginx publishes it."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("no nginx: apt-get install nginx-light")
    header = ""
    settings = {"COUNTER_ROOT_PATH": "/counter"}
    if request.param == "header":
        header = "proxy_set_header X-Forwarded-Prefix /counter;"
        settings = {"COUNTER_TRUSTED_PROXIES": "127.0.0.1"}
    with process_stack(settings=settings) as stack:
        port = free_port()
        written = Path(tmp_path, "nginx.conf")
        written.write_text(
            CONFIGURATION.format(folder=tmp_path, port=port, service=stack.url(), header=header)
        )
        proxy = Process([nginx, "-p", str(tmp_path), "-c", str(written)], log=tmp_path / "log")
        proxy.start()
        try:
            url = f"http://127.0.0.1:{port}/counter"
            wait_until(lambda: requests.get(f"{url}/healthz", timeout=5).ok, what="nginx to answer")
            yield stack, url
        finally:
            proxy.stop()


def test_pages_behind_a_proxy(published, browser):
    """Each link leads to a page with its style, images and script; the number is live."""
    stack, url = published
    context = browser.new_context()
    window = Window(context.new_page())
    assert window.visit(f"{url}/").number == 0
    window.click("Count my visit")
    assert (window.page.url, window.number) == (f"{url}/count", 1)
    window.click("Read without counting")
    assert window.number == 1
    window.click("Back to the start")
    assert window.number == 1
    assert send_hit(stack.url()).values == [2]
    wait_until(lambda: window.number == 2, what="the number to rise by itself")
    window.click("Statistics")
    assert window.page.url == f"{url}/stats"
    assert window.page.locator("img[src*='stats/visits.svg']").count() == 1
    window.click("the count on your site")
    window.page.get_by_label("Counter").fill("shop")
    window.page.get_by_role("button", name="Generate").click()
    window.page.wait_for_load_state("load")
    assert f"{url}/counters/shop.svg" in window.text
    assert window.look()["wide"][0] == window.look()["wide"][1]
    context.close()
    assert window.errors == []


def test_snippets_behind_a_proxy(published, browser):
    """The script and the picture of the snippets count through the proxy."""
    stack, url = published
    context = browser.new_context()
    window = Window(context.new_page()).visit(f"{url}/snippet?name=shop")
    lines = window.page.locator("pre.line").all_inner_texts()
    image, script = (
        next(line for line in lines if line.startswith(tag)) for tag in ("<img", "<script")
    )
    filled = f'<link rel="icon" href="data:,"><main>{image}</main>{script}'
    window.page.route("**/site", lambda route: route.fulfill(body=filled, content_type="text/html"))
    window.visit(f"{url}/site")
    wait_until(
        lambda: stack.run_redis_command("redis", "GET", "counter:{shop}") == "2",
        what="a visit of each kind",
    )
    context.close()
    assert window.errors == []
