"""Hits and changes as various clients frame them: the same responses under each server."""

import shutil
import socket
import subprocess
import textwrap

import pytest

from .conftest import ADMIN_KEY

CHUNKED = "Transfer-Encoding: chunked\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
TEXT = "Content-Type: text/plain;charset=UTF-8\r\n"
UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n"
)
EXPECT = "Expect: 100-continue\r\n"

#: Bytes after the request line and Host, by client, and the amount that they count.
HITS = {
    "curl -X POST": ("\r\n", 1),
    "curl -d ''": (f"Content-Length: 0\r\n{FORM}\r\n", 1),
    "curl -d amount=2": (f"Content-Length: 8\r\n{FORM}\r\namount=2", 0),
    "curl -T - < /dev/null": (f"{CHUNKED}{EXPECT}\r\n0\r\n\r\n", 1),
    "curl -T - < file": (f"{CHUNKED}{EXPECT}\r\n8\r\namount=2\r\n0\r\n\r\n", 0),
    "sendBeacon(url)": ("Content-Length: 0\r\nOrigin: http://a.example\r\n\r\n", 1),
    "sendBeacon(url, text)": (f"Content-Length: 1\r\n{TEXT}\r\nx", 0),
    "fetch": ("Content-Length: 0\r\nSec-Fetch-Mode: cors\r\n\r\n", 1),
    "fetch with a stream": (f"{CHUNKED}Sec-Fetch-Mode: cors\r\n\r\n1\r\nx\r\n0\r\n\r\n", 0),
    "fetch with an empty stream": (f"{CHUNKED}Sec-Fetch-Mode: cors\r\n\r\n0\r\n\r\n", 1),
    "node http": (f"{CHUNKED}Connection: keep-alive\r\n\r\n0\r\n\r\n", 1),
    "Go, nil": ("Content-Length: 0\r\nAccept-Encoding: gzip\r\n\r\n", 1),
    "Go, an empty reader": (f"{CHUNKED}Accept-Encoding: gzip\r\n\r\n0\r\n\r\n", 1),
    "Java, noBody": (f"{UPGRADE}Content-Length: 0\r\n\r\n", 1),
    "Java, an empty stream": (f"{CHUNKED}\r\n0\r\n\r\n", 1),
    "Java, a stream": (f"{CHUNKED}\r\n4\r\namou\r\n4\r\nnt=2\r\n0\r\n\r\n", 0),
}
CHANGES = {
    "curl -T file": 'Content-Length: 12\r\n\r\n{"value": 7}',
    "curl -T -": f'{CHUNKED}{EXPECT}\r\nc\r\n{{"value": 7}}\r\n0\r\n\r\n',
    "Go, Java, node": f'{CHUNKED}\r\n5\r\n{{"val\r\n7\r\nue": 7}}\r\n0\r\n\r\n',
}

NODE = """
    const http = require("http"), url = process.argv[1];
    const post = (headers, body) => new Promise((done) => {
        const request = http.request(url, { method: "POST", headers }, (answer) => {
            answer.resume();
            answer.on("end", () => done(answer.statusCode));
        });
        request.flushHeaders();
        request.end(body);
    });
    const stream = (chunks) => new ReadableStream({
        start(it) { chunks.forEach((one) => it.enqueue(Buffer.from(one))); it.close(); },
    });
    const send = async (body) =>
        (await fetch(url, { method: "POST", body, duplex: "half" })).status;
    (async () => console.log(
        await post({}), await post({ "Content-Length": 0 }), await post({}, "x"),
        await send(), await send(stream([])), await send(stream(["x"])), await send("x")))();
"""
JAVA = """
    import java.io.ByteArrayInputStream;
    import java.net.URI;
    import java.net.http.*;
    import java.net.http.HttpRequest.BodyPublishers;

    class Post {
        public static void main(String[] arguments) throws Exception {
            HttpClient client = HttpClient.newHttpClient();
            for (String body : new String[] {null, "", "x"}) {
                HttpRequest.BodyPublisher sent = body == null ? BodyPublishers.noBody()
                    : BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes()));
                URI url = URI.create(arguments[0]);
                HttpRequest post = HttpRequest.newBuilder(url).POST(sent).build();
                System.out.println(
                    client.send(post, HttpResponse.BodyHandlers.discarding()).statusCode());
            }
        }
    }
"""


@pytest.fixture
def name(server, request):
    """A counter name for each test."""
    return f"clients-{server.port}-{abs(hash(request.node.name))}"


@pytest.fixture(autouse=True)
def _that_reads_chunks(request):
    if request.node.callspec.params.get("server") == "uwsgi":
        pytest.skip("uWSGI hands no chunked body to an app: 411")


def status(server, request):
    """Send bytes, and return the status of the final response."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request.encode())
        with client.makefile("rb") as answer:
            while (line := answer.readline()).startswith(b"HTTP/1.1 100 "):
                answer.readline()
            return int(line.split()[1])


def value(server, name):
    """Return a counter's value, 0 if it does not exist."""
    return server.value(name) if server.request("GET", f"/counters/{name}").ok else 0


@pytest.mark.parametrize("client", HITS)
def test_hit_of_each_client(server, name, client):
    """A hit without a body counts, in any framing; a body is a 400."""
    rest, amount = HITS[client]
    expected = 200 if amount else 400
    answered = status(server, f"POST /counters/{name}/hits HTTP/1.1\r\nHost: a\r\n{rest}")
    assert (answered, value(server, name)) == (expected, amount)


@pytest.mark.parametrize("client", HITS)
def test_visit_of_each_client(server, client):
    """`/count` ignores the body."""
    before = value(server, "visits")
    assert status(server, f"POST /count HTTP/1.1\r\nHost: a\r\n{HITS[client][0]}") == 200
    assert value(server, "visits") == before + 1


@pytest.mark.parametrize("client", CHANGES)
def test_change_of_each_client(server, name, client):
    """The body of a change is read in any framing."""
    key = f"Host: a\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
    request = f"PUT /counters/{name} HTTP/1.1\r\n{key}{CHANGES[client]}"
    assert (status(server, request), value(server, name)) == (201, 7)


def run_client(*command, sent=None):
    """Run a client, or skip the test; return the words of its output."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    done = subprocess.run(command, input=sent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("options", "sent", "amount"),
    [(["-X", "POST"], "", 1), (["-d", ""], "", 1), (["-d", "amount=2"], "", 0),
     (["-X", "POST", "-T", "-"], "", 1), (["-X", "POST", "-T", "-"], "amount=2", 0)],
)  # fmt: skip
def test_curl(server, name, options, sent, amount):
    """curl with its common options."""
    url = f"http://127.0.0.1:{server.port}/counters/{name}/hits"
    told = ["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}"]
    assert run_client("curl", *told, *options, url, sent=sent) == ["200" if amount else "400"]
    assert value(server, name) == amount


def test_node(server, name):
    """Node's `http` and `fetch`, with and without a body."""
    url = f"http://127.0.0.1:{server.port}/counters/{name}/hits"
    told = run_client("node", "-e", textwrap.dedent(NODE), url)
    assert told == ["200", "200", "400", "200", "200", "400", "400"]
    assert value(server, name) == 4


def test_java(server, name, tmp_path):
    """Java's client, which offers HTTP/2 with each request."""
    source = tmp_path / "Post.java"
    source.write_text(textwrap.dedent(JAVA), "utf-8")
    url = f"http://127.0.0.1:{server.port}/counters/{name}/hits"
    assert run_client("java", str(source), url) == ["200", "200", "400"]
    assert value(server, name) == 2
