"""Random orders of events on one connection, against a model of its responses.

The model knows which bytes are requests, and which responses they get. It knows nothing of how the
bytes are split, when the client reads, and when the application answers: they must not matter.
"""

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flask_redis_counter.web.http.connection_table import ConnectionTable

from .transport import Clock, Echo, Transport


@dataclass(frozen=True)
class Message:
    """Bytes of a client, and the response that they get.

    :ivar raw: the bytes.
    :ivar answer: the line that the application answers; None: none.
    :ivar status: status of the response; None: no response.
    :ivar ends: whether the connection ends after it.
    :ivar has_interim: whether ``100 Continue`` may come before the response.
    """

    raw: bytes
    answer: bytes | None
    status: int | None = 200
    ends: bool = False
    has_interim: bool = False


def request(method, target, *fields, version="1.1", body=b"", raw_body=None, ends=False):
    """Return a message that the application answers."""
    lines = [f"{method} {target} HTTP/{version}", "Host: a", *fields]
    head = "\r\n".join([*lines, "", ""]).encode()
    answer = f"{method} {target} {version} {len(body)} ".encode() + body
    interim = any(field.startswith("Expect") for field in fields) and body != b""
    return Message(
        head + (body if raw_body is None else raw_body),
        b"" if method == "HEAD" else answer,
        ends=ends,
        has_interim=interim,
    )


def bodied(method, target, body, *fields, **options):
    """Return a message with a length."""
    return request(method, target, *fields, f"Content-Length: {len(body)}", body=body, **options)


def chunked(method, target, body, *fields, chunk=7, trailer=b"", ends=False):
    """Return a message in chunks."""
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    raw = b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts)
    raw += b"0\r\n" + trailer + b"\r\n"
    field = "Transfer-Encoding: chunked"
    return request(method, target, *fields, field, body=body, raw_body=raw, ends=ends)


def rejected(raw, status):
    """Return a message that the connection rejects."""
    return Message(raw, None, status, ends=True)


BODY = b"POST /hit HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")
GOOD = [
    request("GET", "/hit"),
    request("GET", "/hit"),
    request("POST", "/hit/now"),
    request("POST", "/hit", "Content-Length: 0"),
    request("GET", "/hit", *UPGRADE),
    request("GET", "/hit", "Expect: 100-continue"),
    request("GET", "/hit/large"),
    request("GET", "/page"),
    request("GET", "/page/now"),
    request("GET", "/large"),
    request("GET", "/large/now"),
    request("HEAD", "/page"),
    request("OPTIONS", "/page"),
    request("GET", "/hit", "Connection: keep-alive", version="1.0"),
    request("GET", "/page", "Connection: keep-alive", version="1.0"),
    bodied("POST", "/page", BODY),
    bodied("POST", "/page/now", BODY),
    bodied("POST", "/page", BODY, "Expect: 100-continue"),
    bodied("POST", "/page", BODY, *UPGRADE),
    bodied("POST", "/page", BODY, "Connection: keep-alive", version="1.0"),
    bodied("GET", "/hit", b"body"),
    chunked("POST", "/page", BODY),
    chunked("POST", "/page", BODY * 9, chunk=100),
    chunked("POST", "/page", BODY, *UPGRADE, "Expect: 100-continue", trailer=b"Host: b\r\n"),
    chunked("POST", "/hit", b""),
    Message(b"\r\n", None, None),
    Message(b"\r\n\r\n\r\n", None, None),
    Message(b"\r\n" * 15, None, None),  # as long as the first one
]
ENDS = [
    request("GET", "/hit", "Connection: close", ends=True),
    request("GET", "/page", "Connection: close", ends=True),
    request("GET", "/large", "Connection: close", ends=True),
    request("GET", "/hit", version="1.0", ends=True),
    request("GET", "/hit", "Connection: close, keep-alive", version="1.0", ends=True),
    bodied("POST", "/page", BODY, "Connection: close", ends=True),
    bodied("POST", "/page", BODY, "Connection: keep-alive, close", version="1.0", ends=True),
    bodied("POST", "/page", BODY, "Connection: close, upgrade", "Upgrade: h2c", ends=True),
    chunked("POST", "/page", BODY, trailer=b"Connection: close\r\n", ends=True),
    rejected(b"GET /hit HTTP/1.1\r\n\r\n", 400),
    rejected(b"GET /hit HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
    rejected(b"garbage\r\n\r\n", 400),
    rejected(b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413),
    rejected(
        b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"fa\r\n" + b"x" * 250 + b"\r\n") * 5,
        413,
    ),
    rejected(
        b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX", 400
    ),
    rejected(b"POST /hit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    rejected(b"GET /hit HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
]


@st.composite
def scenarios(draw):
    """Return messages, the end of their bytes, and events in between."""
    pool = draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4))
    messages = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=10))
    messages *= draw(st.sampled_from([1, 1, 1, 2, 8]))
    messages += draw(st.lists(st.sampled_from(ENDS), max_size=1))
    messages += draw(st.lists(st.sampled_from(GOOD), max_size=2))
    size = sum(len(message.raw) for message in messages)
    cut = draw(st.one_of(st.just(size), st.integers(0, size)))
    end = draw(st.sampled_from(["open", "half-closed", "lost"]))
    sent = st.tuples(st.just("send"), st.one_of(st.just(0), st.integers(1, 60), st.just(5000)))
    read = st.tuples(st.just("read"), st.sampled_from([1, 100, 10_000, 100_000]))
    release = st.tuples(st.just("release"), st.integers(0, 31))
    other = st.tuples(st.sampled_from(["step", "tick"]), st.just(0))
    exchange = st.tuples(st.just("exchange"), st.just(0))
    events = st.one_of(sent, sent, exchange, release, read, other)
    actions = draw(st.lists(events, max_size=40))
    if draw(st.integers(0, 3)) == 0:
        actions.insert(draw(st.integers(0, len(actions))), ("drain", 0))
    return messages, cut, end, actions


class Run:
    """A scenario on a connection."""

    def __init__(self, messages, cut):
        self.clock = Clock()
        self.table = ConnectionTable(self.clock, 10)
        self.echo = Echo()
        self.wire = Transport(self.table, self.echo)
        self.stream = b"".join(message.raw for message in messages)[:cut]
        self.bounds = [0]
        for message in messages:
            self.bounds.append(self.bounds[-1] + len(message.raw))
        self.at = 0

    def act(self, action, number):
        """Let an event happen."""
        match action:
            case "send":  # 0: the rest of a message
                bound = min((b for b in self.bounds if b > self.at), default=self.at)
                size = number or bound - self.at
                if piece := self.stream[self.at : self.at + size]:
                    self.at += len(piece)
                    self.wire.send(piece)
            case "exchange":
                self.act("send", 0)
                self.act("release", 0)
            case "read":
                self.wire.receive(number)
            case "release":
                self.echo.release(number)
            case "step":
                self.wire.step()
            case "tick":
                self.clock.now += 0.01
                self.table.now = self.clock.now
                self.wire.protocol.check_timeout(self.clock.now)
            case "drain":
                self.table.is_draining = True
                self.wire.protocol.drain()

    def settle(self):
        """Let everything happen that is due."""
        for _ in range(300):
            self.wire.step()
            self.wire.receive(1_000_000)
            self.echo.release(0)


def take_response(data, message):
    """Remove a response from the client's bytes; return it: status, number, body, close, rest."""
    head, _, rest = data.partition(b"\r\n\r\n")
    if message.has_interim and head == b"HTTP/1.1 100 Continue":
        head, _, rest = rest.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    size = int(fields.get("Content-Length", 0))
    assert message.answer == b"" or "Content-Length" in fields
    assert len(rest) >= size, "a response is cut"
    number, _, body = rest[:size].partition(b" ")
    return int(status.split()[1]), number, body, fields.get("Connection") == "close", rest[size:]


def expected(messages, cut):
    """Return the messages that get a response, and the one that is cut."""
    due, at = [], 0
    for message in messages:
        at += len(message.raw)
        if at > cut:
            return due, message if cut > at - len(message.raw) else None
        if message.status is not None:
            due.append(message)
        if message.ends:
            break
    return due, None


def whole(*messages, end="open", actions=()):
    """Return a scenario without a cut."""
    return list(messages), sum(len(message.raw) for message in messages), end, list(actions)


HIT = GOOD[0]
EXCHANGE = ("exchange", 0)
ABC = bodied("POST", "/page/now", b"abc")
# Bytes that equal those of the last request, and are not a request.
LINE_BREAKS = Message(b"\r\n" * (len(HIT.raw) // 2), None, None)
FRAGMENT = rejected(HIT.raw[2:], 501)


@example(whole(HIT, LINE_BREAKS, LINE_BREAKS, actions=[EXCHANGE] * 4))
@example(whole(ABC, HIT, FRAGMENT, actions=[("send", len(ABC.raw) + 2), *[EXCHANGE] * 3]))
@example(whole(*[request("GET", "/hit/large")] * 2, actions=[EXCHANGE] * 2))
@example(whole(ABC, ENDS[-1], actions=[("send", 9), ("drain", 0), ("send", len(ABC.raw) - 12)]))
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_responses_are_in_order_and_complete(scenario):
    """Each request gets its response, in order, whatever happens in between; nothing else is sent.

    The connection closes after the last request, and holds nothing afterwards.
    """
    check(*scenario)


def check(messages, cut, end, actions):
    """Run a scenario, and compare it with the model."""
    run = Run(messages, cut)
    for action, number in actions:
        run.act(action, number)
    run.act("send", len(run.stream) + 1)
    is_drained = run.table.is_draining
    if end == "half-closed":
        run.wire.send_end()
    if end == "lost":
        run.wire.lose()
    run.settle()

    due, partial = expected(messages, cut)
    if partial is not None:
        # A copy, as the same message may be among the others.
        partial = replace(partial)
        if partial.answer is None or end == "half-closed":
            due.append(partial)
    data = run.wire.read
    numbers, closes = [], False
    taken = 0
    for message in due:
        if not data or end == "lost":
            break
        assert not closes, "a response after the last one"
        status, number, body, closes, data = take_response(data, message)
        taken += 1
        if message is partial:
            assert status in (400, message.status)
            assert closes
        elif message.answer is None:
            assert status == message.status
            assert closes
        else:
            assert status == 200
            assert body.rstrip(b"x") == message.answer or message.answer == b""
            assert closes or not message.ends
            numbers += [int(number)] if number else []
    if end != "lost":
        assert data in (b"", b"HTTP/1.1 100 Continue\r\n\r\n") if partial else data == b""
        assert numbers == sorted(set(numbers))
        missing = due[taken:]
        if not is_drained:
            assert missing in ([], [partial])
            assert closes == any(message.ends for message in due[:taken]) or due[-1] is partial
        assert taken >= len(run.echo.started)
        if closes or end == "half-closed":
            assert run.wire.sees_end
    assert not run.echo.pending or end == "lost"
    run.wire.lose()
    assert len(run.table) == 0
    assert run.table.held_bytes == 0
    assert not run.table._holding
