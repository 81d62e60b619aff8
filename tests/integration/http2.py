"""Requests over cleartext HTTP/2, which may have a body without a length."""

import socket
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# Indices of ":status" values in HPACK's static table (RFC 7541).
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def request_status(port, method, path, body=None, **headers):
    """Send a request without Content-Length, and return the status of its response."""
    fields = {":method": method, ":scheme": "http", ":path": path, ":authority": "a", **headers}
    # Literals without indexing, and not Huffman-coded.
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    ends = END_HEADERS if body is not None else END_HEADERS | END_STREAM
    with socket.create_connection(("127.0.0.1", port), timeout=10) as server:
        server.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b""))
        server.sendall(_frame(HEADERS, ends, 1, block))
        if body is not None:
            server.sendall(_frame(DATA, END_STREAM, 1, body))
        with server.makefile("rb") as answers:
            while True:
                length, kind, flags, _ = _head(answers)
                payload = answers.read(length)
                if kind == SETTINGS and not flags & ACK:
                    server.sendall(_frame(SETTINGS, ACK, 0, b""))
                elif kind == HEADERS:
                    return _status(payload)
                assert kind not in (RST_STREAM, GOAWAY), payload


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _head(answers):
    head = answers.read(9)
    return int.from_bytes(head[:3]), *struct.unpack(">BBI", head[3:])


def _status(block):
    return STATUSES[block[0] & 0x7F]  # any other status would be a literal
