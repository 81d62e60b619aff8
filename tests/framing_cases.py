"""Messages that are malformed, or whose framing proxies and servers could read differently.

Most of them hide a hit behind or inside a message: it must not count. Sources: RFC 9110 and 9112,
and the published techniques of request smuggling.
"""

from collections.abc import Iterable
from dataclasses import dataclass

#: A hit that a program sends; a hit hidden in a body or behind a malformed message is this one.
HIT = b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n"

# Status codes, of which one is expected.
_Status = int | frozenset[int]

_BAD = 400
_TOO_LARGE = 413
#: A transfer coding other than `chunked`: 501 if the server reads it, 400 if its parser rejects it.
_CODING = frozenset({400, 501})
_VERSION = frozenset({400, 505})
_NO_TUNNEL = frozenset({400, 405, 501})
_UNKNOWN_METHOD = frozenset({400, 501})
_OVERHEAD = frozenset({400, 413, 431})


@dataclass(frozen=True)
class Case:
    """The bytes of a connection, and the expected responses.

    :ivar sent: bytes from the client.
    :ivar statuses: of the responses, in order, without `100 Continue`.
    :ivar counted: hits that count.
    :ivar closed: whether the server closes the connection after the last response.
    """

    name: str
    sent: bytes
    statuses: tuple[_Status, ...]
    counted: int
    closed: bool

    def check(self, statuses: Iterable[int]) -> None:
        """Check the statuses of the final responses."""
        got = list(statuses)
        expected = [one if isinstance(one, frozenset) else {one} for one in self.statuses]
        assert len(got) == len(expected), f"{got}, expected {expected}"
        for status, one in zip(got, expected, strict=True):
            assert status in one, f"{got}, expected {expected}"


def _request(line: bytes, *fields: bytes, host: bytes = b"Host: a", body: bytes = b"") -> bytes:
    lines = [line, *([host] if host else []), *fields]
    return b"".join(one + b"\r\n" for one in lines) + b"\r\n" + body


def _get(*fields: bytes, line: bytes = b"GET /count HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return _request(line, *fields, host=host)


def _post(*fields: bytes, body: bytes = b"") -> bytes:
    return _request(b"POST /count HTTP/1.1", *fields, body=body)


def _length(value: bytes | int, body: bytes = b"hello") -> bytes:
    text = str(value).encode() if isinstance(value, int) else value
    return _post(b"Content-Length: " + text, body=body)


def _chunked(body: bytes, *fields: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", *fields, body=body)


def _coding(*values: bytes) -> bytes:
    return _post(*(b"Transfer-Encoding: " + one for one in values), body=b"0\r\n\r\n")


def _target(target: bytes) -> bytes:
    return _get(line=b"GET " + target + b" HTTP/1.1")


_UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_HIT_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIT), HIT)

# Messages that are valid: they count once, and the hit behind them counts, too.
_VALID = {
    "a hit": _get(),
    "an empty line before": b"\r\n" + _get(),
    "empty lines before": b"\r\n\r\n\r\n" + _get(),
    "an empty line after": _get() + b"\r\n",
    "an empty value": _get(b"X-A:", b"X-B: "),
    "whitespace around a value": _get(b"X-A: \t a \t "),
    "no space before a value": _get(b"X-A:a", host=b"Host:a"),
    "a tab in a value": _get(b"X-A: a\tb"),
    "bytes over 127 in a value": _get(b"X-A: \xe9\xff"),
    "a name of all token characters": _get(b"!#$%&'*+-.^_`|~9: a"),
    "a name with an underscore": _post(b"Content_Length: 5", b"Transfer_Encoding: chunked"),
    "names in capitals": _request(b"POST /count HTTP/1.1", b"CONTENT-LENGTH: 5", host=b"HOST: a",
                                  body=b"hello"),
    "names that begin with those of the framing": _post(b"Content-Lengths: 5",
                                                        b"Transfer-Encodings: chunked"),
    "no length": _post(),
    "length 0": _length(0, b""),
    "a length": _length(5),
    "a length with a zero in front": _length(b"05"),
    "a length with thousands of zeros in front": _length(6000 * b"0" + b"5"),
    "a length and whitespace": _length(b"\t5 \t"),
    "a body with a GET": _get(b"Content-Length: 5") + b"hello",
    "a chunked body with a GET": _get(b"Transfer-Encoding: chunked") + _CHUNKS,
    "a hit in a body": _length(len(HIT), HIT),
    "a hit in a chunk": _chunked(_HIT_CHUNK),
    "a hit in a body of a GET": _get(b"Content-Length: %d" % len(HIT)) + HIT,
    "chunked": _chunked(_CHUNKS),
    "no chunk but the last": _chunked(b"0\r\n\r\n"),
    "chunked in capitals": _post(b"Transfer-Encoding: CHUNKED", body=_CHUNKS),
    "chunked and whitespace": _post(b"Transfer-Encoding: \tchunked ", body=_CHUNKS),
    "zeros in front of a chunk size": _chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "a chunk size in capitals": _chunked(b"A\r\n0123456789\r\n0\r\n\r\n"),
    "chunk extensions": _chunked(b"5;a;b=c;d=\"e;\\\"f\"\r\nhello\r\n0;g\r\n\r\n"),
    "a trailer": _chunked(b"5\r\nhello\r\n0\r\nX-A: a\r\n\r\n"),
    "trailers that belong into a head": _chunked(
        b"0\r\nHost: b\r\nExpect: x\r\nIdempotency-Key: trailer\r\nAccept: text/html\r\n\r\n"
    ),
    "an absolute target": _target(b"http://a/count"),
    "an absolute target of another host": _target(b"http://b:80/count"),
    "an upgrade": _get(*_UPGRADE),
    "an upgrade to WebSocket": _get(b"Connection: Upgrade", b"Upgrade: websocket"),
    "an upgrade with length 0": _post(*_UPGRADE, b"Content-Length: 0"),
    "an upgrade with a hit in its body": _post(*_UPGRADE, b"Content-Length: %d" % len(HIT),
                                               body=HIT),
    "an upgrade with a hit in a chunk": _post(*_UPGRADE, b"Transfer-Encoding: chunked",
                                              body=_HIT_CHUNK),
    "an upgrade of another hop": _post(b"Proxy-Connection: Upgrade", b"Upgrade: h2c",
                                       b"Content-Length: %d" % len(HIT), body=HIT),
    "names of the framing in Connection": _post(b"Connection: Content-Length, Host",
                                                b"Content-Length: %d" % len(HIT), body=HIT),
    "expected continuation": _post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    "100 fields": _get(*(b"X-%d: a" % number for number in range(99))),
    "an empty Connection": _get(b"Connection:"),
    "a token that begins with close": _get(b"Connection: closed, xclose"),
    "keep-alive in HTTP/1.0": _get(b"Connection: keep-alive", line=b"GET /count HTTP/1.0"),
}  # fmt: skip

# Messages that are valid and count once, and after which the server closes the connection.
_LAST = {
    "close": _get(b"Connection: close"),
    "close in capitals": _get(b"Connection: CLOSE"),
    "close in a list": _get(b"Connection: a ,close\t, b"),
    "close and keep-alive": _get(b"Connection: close, keep-alive"),
    "close and keep-alive in two fields": _get(b"Connection: keep-alive", b"Connection: close"),
    "close with a body": _post(b"Connection: close", b"Content-Length: 5", body=b"hello"),
    "close with an upgrade": _get(b"Connection: Upgrade, close", b"Upgrade: h2c"),
    "close with an upgrade and a body": _post(b"Connection: Upgrade, close", b"Upgrade: h2c",
                                              b"Content-Length: %d" % len(HIT), body=HIT),
    "HTTP/1.0": _get(line=b"GET /count HTTP/1.0"),
    "HTTP/1.0 without Host": _get(line=b"GET /count HTTP/1.0", host=b""),
    "HTTP/1.0 with an upgrade": _get(*_UPGRADE, line=b"GET /count HTTP/1.0"),
    "close and keep-alive in HTTP/1.0": _get(b"Connection: close, keep-alive",
                                             line=b"GET /count HTTP/1.0"),
}  # fmt: skip

# Messages that are rejected with 400; the hit behind them does not count.
_MALFORMED = {
    # Line ends.
    "LF for all line ends": HIT.replace(b"\r\n", b"\n"),
    "LF after the request line": b"GET /count HTTP/1.1\nHost: a\r\n\r\n",
    "LF after a field": b"GET /count HTTP/1.1\r\nHost: a\nX-A: a\r\n\r\n",
    "LF at the end of the head": b"GET /count HTTP/1.1\r\nHost: a\r\n\n",
    "CR for all line ends": HIT.replace(b"\r\n", b"\r"),
    "CR CR LF after the request line": b"GET /count HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "CR CR LF after a field": _get(b"X-A: a\r"),
    "CR in a value": _get(b"X-A: a\rContent-Length: 5"),
    "CR and a byte at the end of the head": b"GET /count HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n",
    # Fields.
    "a folded value": _get(b"X-A: a\r\n b"),
    "a value folded with a tab": _get(b"X-A: a\r\n\tb"),
    "a folded length": _post(b"Content-Length:\r\n 5", body=b"hello"),
    "a folded coding": _post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "a folded part of a coding": _post(b"Transfer-Encoding: chunk\r\n ed", body=b"0\r\n\r\n"),
    "a line of whitespace": _get(b"X-A: a\r\n "),
    "whitespace before the first field": _get(host=b" Host: a"),
    "a space before a colon": _get(b"X-A : a"),
    "a tab before a colon": _get(b"X-A\t: a"),
    "a space before the colon of the length": _post(b"Content-Length : 5", body=b"hello"),
    "a space before the colon of the coding": _post(b"Transfer-Encoding : chunked",
                                                    body=b"0\r\n\r\n"),
    "a space before the name of the coding": _post(b" Transfer-Encoding: chunked",
                                                   body=b"0\r\n\r\n"),
    "a space in a name": _get(b"X A: a"),
    "no colon": _get(b"X-A"),
    "no name": _get(b": a"),
    "NUL in a name": _get(b"X\0: a"),
    "a byte over 127 in a name": _get(b"X\xe9: a"),
    "a parenthesis in a name": _get(b"X(A): a"),
    "NUL in a value": _get(b"X-A: a\0b"),
    "a control character in a value": _get(b"X-A: a\x01"),
    "a vertical tab in a value": _get(b"X-A: \x0ba"),
    "DEL in a value": _get(b"X-A: \x7f"),
    # Lengths.
    "length +5": _length(b"+5"),
    "length -5": _length(b"-5"),
    "length -0": _length(b"-0", b""),
    "length 0x5": _length(b"0x5"),
    "length 5.0": _length(b"5.0"),
    "length 5_0": _length(b"5_0"),
    "length 5e0": _length(b"5e0"),
    "a quoted length": _length(b'"5"'),
    "an empty length": _length(b"", b""),
    "a length and a space inside": _length(b"5 5"),
    "a length and a comma": _length(b"5,"),
    "a list of equal lengths": _length(b"5, 5"),
    "a list of lengths": _length(b"5, 0"),
    "a length and a vertical tab": _length(b"5\x0b"),
    "a length and a no-break space": _length(b"5\xa0"),
    "a length in other digits": _length("\u0665".encode()),
    "two equal lengths": _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "two lengths": _post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello"),
    "two lengths, the second 0": _post(b"Content-Length: 5", b"content-length: 0", body=b"hello"),
    "a length over 64 bits": _length(2**64 + 5),
    "length and coding": _post(b"Content-Length: 5", b"Transfer-Encoding: chunked",
                               body=b"0\r\n\r\n"),
    "coding and length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5",
                               body=b"0\r\n\r\n"),
    "coding and length 0": _post(b"Transfer-Encoding: chunked", b"Content-Length: 0",
                                 body=b"0\r\n\r\n"),
    "length and an empty coding": _post(b"Content-Length: 5", b"Transfer-Encoding:", body=b"hello"),
    "an upgrade, length and coding": _post(*_UPGRADE, b"Transfer-Encoding: chunked",
                                           b"Content-Length: 5", body=b"0\r\n\r\n"),
    "a coding in HTTP/1.0": _request(b"POST /count HTTP/1.0", b"Connection: keep-alive",
                                     b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "an empty coding": _coding(b""),
    # Chunks.
    "a space after a chunk size": _chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "a space before a chunk size": _chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size 0x5": _chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size +5": _chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size -5": _chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size g": _chunked(b"g\r\nhello\r\n0\r\n\r\n"),
    "chunk size 5_": _chunked(b"5_\r\nhello\r\n0\r\n\r\n"),
    "no chunk size": _chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "only an extension": _chunked(b";a=b\r\nhello\r\n0\r\n\r\n"),
    "a chunk size over 64 bits": _chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "LF after a chunk size": _chunked(b"5\nhello\r\n0\r\n\r\n"),
    "CR after a chunk size": _chunked(b"5\rXhello\r\n0\r\n\r\n"),
    "CR CR LF after a chunk size": _chunked(b"5\r\r\nhello\r\n0\r\n\r\n"),
    "LF after a chunk": _chunked(b"5\r\nhello\n0\r\n\r\n"),
    "nothing after a chunk": _chunked(b"5\r\nhello0\r\n\r\n"),
    "two bytes for the line end after a chunk": _chunked(b"5\r\nhelloXX0\r\n\r\n"),
    "a chunk that is too long": _chunked(b"5\r\nhello!\r\n0\r\n\r\n"),
    "a chunk that is too short": _chunked(b"5\r\nhell\r\n0\r\n\r\n"),
    "LF after the last chunk": _chunked(b"5\r\nhello\r\n0\n\r\n"),
    "LF after the trailers": _chunked(b"5\r\nhello\r\n0\r\n\n"),
    "no empty line after the last chunk": _chunked(b"5\r\nhello\r\n0\r\n"),
    "LF in an extension": _chunked(b"5;a\nhello\r\n0\r\n\r\n"),
    "CR in an extension": _chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "NUL in an extension": _chunked(b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    "an open quote in an extension": _chunked(b'5;a="\r\nhello\r\n0\r\n\r\n'),
    "a length in a trailer": _chunked(b"0\r\nContent-Length: %d\r\n\r\n" % len(HIT)),
    "a coding in a trailer": _chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a folded trailer": _chunked(b"0\r\nX-A: a\r\n b\r\n\r\n"),
    "LF after a trailer": _chunked(b"0\r\nX-A: a\n\r\n"),
    # Request lines.
    "no method": _get(line=b" /count HTTP/1.1"),
    "a space before the method": b" " + _get(),
    "NUL before the method": b"\0" + _get(),
    "a byte order mark before the method": b"\xef\xbb\xbf" + _get(),
    "tabs in the request line": _get(line=b"GET\t/count\tHTTP/1.1"),
    "a space after the request line": _get(line=b"GET /count HTTP/1.1 "),
    "the protocol in small letters": _get(line=b"GET /count http/1.1"),
    "another protocol": _get(line=b"GET /count HTTPS/1.1"),
    "the protocol RTSP": _get(line=b"GET /count RTSP/1.0"),
    "the protocol RTSP of a version of HTTP": _post().replace(b"HTTP/", b"RTSP/"),
    "the protocol ICE": _get(line=b"SOURCE /count ICE/1.0"),
    "two spaces before the target": _get(line=b"GET  /count HTTP/1.1"),
    "two spaces before the protocol": _get(line=b"GET /count  HTTP/1.1"),
    "LF before the request line": b"\n" + _get(),
    "two LF before the request line": b"\n\n" + _get(),
    "CR before the request line": b"\r" + _get(),
    "LF and an empty line before the request line": b"\n\r\n" + _get(),
    "CR and an empty line before the request line": b"\r\r\n" + _get(),
    "no minor version": _get(line=b"GET /count HTTP/1"),
    "a TLS handshake": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xfc\x03\x03\r\n\r\n",
    # Targets.
    "a fragment": _target(b"/count#a"),
    "a space in the target": _target(b"/count a"),
    "a tab in the target": _target(b"/count\ta"),
    "NUL in the target": _target(b"/count\0"),
    "DEL in the target": _target(b"/count\x7f"),
    "a byte over 127 in the target": _target(b"/count\xc3\xa9"),
    "a byte over 127 in the query": _target(b"/count?\xc3\xa9"),
    "a relative target": _target(b"count"),
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "only a query": _target(b"?a"),
    "a host as the target": _target(b"a:80"),
    "an asterisk with a GET": _target(b"*"),
    "an absolute target without a host": _target(b"http:///count"),
    "an absolute target with a user": _target(b"http://a@b/count"),
    # Hosts.
    "no Host": _get(host=b""),
    "two Hosts": _get(b"Host: b"),
    "two equal Hosts": _get(b"Host: a"),
    "two Hosts and an absolute target": _request(b"GET http://a/count HTTP/1.1", b"Host: b"),
    "an absolute target and no Host": _request(b"GET http://a/count HTTP/1.1", host=b""),
}  # fmt: skip

# Messages that are rejected with another status.
_REJECTED: dict[str, tuple[_Status, bytes]] = {
    "coding gzip": (_CODING, _coding(b"gzip")),
    "coding identity": (_CODING, _coding(b"identity")),
    "coding xchunked": (_CODING, _coding(b"xchunked")),
    "coding chunkedx": (_CODING, _coding(b"chunkedx")),
    "a quoted coding": (_CODING, _coding(b'"chunked"')),
    "a coding with a parameter": (_CODING, _coding(b"chunked;q=1")),
    "a coding and a word": (_CODING, _coding(b"x chunked")),
    "a coding and a word behind it": (_CODING, _coding(b"chunked x")),
    "a coding and a vertical tab": (_CODING, _coding(b"\x0bchunked")),
    "a coding and a tab behind it": (_CODING, _coding(b"chunked\t")),
    "codings gzip, chunked": (_CODING, _coding(b"gzip, chunked")),
    "codings chunked, gzip": (_CODING, _coding(b"chunked, gzip")),
    "codings identity, chunked": (_CODING, _coding(b"identity, chunked")),
    "codings chunked, identity": (_CODING, _coding(b"chunked, identity")),
    "codings chunked, chunked": (_CODING, _coding(b"chunked, chunked")),
    "a comma before chunked": (_CODING, _coding(b", chunked")),
    "a comma after chunked": (_CODING, _coding(b"chunked,")),
    "chunked twice": (_CODING, _coding(b"chunked", b"chunked")),
    "gzip and chunked in two fields": (_CODING, _coding(b"gzip", b"chunked")),
    "chunked and gzip in two fields": (_CODING, _coding(b"chunked", b"gzip")),
    "chunked and identity in two fields": (_CODING, _coding(b"chunked", b"identity")),
    "coding identity with a length": (
        _CODING, _post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello")
    ),
    "an upgrade and coding gzip": (
        _CODING, _post(*_UPGRADE, b"Transfer-Encoding: gzip", body=_HIT_CHUNK)
    ),
    "an unknown method": (_UNKNOWN_METHOD, _get(line=b"HIT /count HTTP/1.1")),
    "a method in small letters": (_UNKNOWN_METHOD, _get(line=b"get /count HTTP/1.1")),
    "a response": (_UNKNOWN_METHOD, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/0.9": (_VERSION, b"GET /count\r\n"),
    "HTTP/0.9 and LF": (_VERSION, b"GET /count\n"),
    "HTTP/0.9 and LF with fields": (
        _VERSION, b"GET /count\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    ),
    "version 0.9": (_VERSION, _get(b"Connection: keep-alive", line=b"GET /count HTTP/0.9")),
    "version 1.2": (_VERSION, _get(line=b"GET /count HTTP/1.2")),
    "version 1.10": (_VERSION, _get(line=b"GET /count HTTP/1.10")),
    "version 01.1": (_VERSION, _get(line=b"GET /count HTTP/01.1")),
    "version 2.0": (_VERSION, _get(b"Connection: keep-alive", line=b"GET /count HTTP/2.0")),
    "version 3.0": (_VERSION, _get(line=b"GET /count HTTP/3.0")),
    "the preface of HTTP/2": (_VERSION, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    "CONNECT": (_NO_TUNNEL, _get(line=b"CONNECT a:80 HTTP/1.1")),
    "CONNECT with a path": (_NO_TUNNEL, _get(line=b"CONNECT /count HTTP/1.1")),
    "CONNECT with a body": (
        _NO_TUNNEL, _request(b"CONNECT a:80 HTTP/1.1", b"Content-Length: 5", body=b"hello")
    ),
    "another expectation": (417, _post(b"Expect: a", b"Content-Length: 5", body=b"hello")),
    "two expectations": (417, _post(b"Expect: 100-continue, a", b"Content-Length: 5",
                                    body=b"hello")),
    "a long target": (414, _target(b"/count?" + 17_000 * b"a")),
    "a long value": (431, _get(b"X-A: " + 34_000 * b"a")),
    "a long name": (431, _get(34_000 * b"a" + b": a")),
    "long values": (431, _get(*(b"X-%d: %b" % (number, 1000 * b"a") for number in range(40)))),
    "101 fields": (431, _get(*(b"X-%d: a" % number for number in range(100)))),
    "a long body": (_TOO_LARGE, _length(70_000, (70_000 // len(HIT) + 1) * HIT)),
    "a length of 64 bits": (_TOO_LARGE, _length(2**64 - 1)),
    "a length of thousands of digits": (
        _OVERHEAD, _length(6000 * b"9")
    ),
    "a long chunked body": (
        _TOO_LARGE, _chunked(70 * (b"400\r\n" + 1024 * b"a" + b"\r\n") + b"0\r\n\r\n")
    ),
    "a chunk size of 64 bits": (
        frozenset({400, 413}), _chunked(b"ffffffffffffffff\r\n" + 70_000 * b"a")
    ),
    "long chunk extensions": (
        _OVERHEAD, _chunked(b"1;a=" + 600_000 * b"a" + b"\r\na\r\n0\r\n\r\n")
    ),
    "zeros in front of a chunk size, without end": (_OVERHEAD, _chunked(600_000 * b"0")),
    "long trailers": (_OVERHEAD, _chunked(b"0\r\nX-A: " + 600_000 * b"a" + b"\r\n\r\n")),
    "many trailers": (_OVERHEAD, _chunked(b"0\r\n" + 70_000 * b"X-A: a\r\n" + b"\r\n")),
}  # fmt: skip


def _cases() -> Iterable[Case]:
    for name, sent in _VALID.items():
        yield Case(name, sent + HIT, (200, 200), counted=2, closed=False)
    for name, sent in _LAST.items():
        yield Case(name, sent + HIT, (200,), counted=1, closed=True)
    for name, sent in _MALFORMED.items():
        yield Case(name, sent + HIT, (_BAD,), counted=0, closed=True)
    for name, (status, sent) in _REJECTED.items():
        yield Case(name, sent + HIT, (status,), counted=0, closed=True)
    for name in (
        "length and coding",
        "a folded value",
        "chunk size 0x5",
        "LF before the request line",
        "the protocol RTSP",
    ):
        sent = HIT + _MALFORMED[name] + HIT
        yield Case(f"{name} after a hit", sent, (200, _BAD), counted=1, closed=True)
    for body in (_length(5), _chunked(_CHUNKS)):
        kind = "chunked" if b"chunked" in body else "counted"
        sent = body + b"\n" + HIT
        yield Case(f"LF after a {kind} body", sent, (200, _BAD), counted=1, closed=True)
    yield Case("an unsupported method", _get(line=b"PROPFIND /count HTTP/1.1") + HIT,
               (405, 200), counted=1, closed=False)  # fmt: skip


#: All cases; the names are unique.
CASES = [*_cases()]
