"""Schemathesis tests the service, through serve and Flask, against its OpenAPI document.

A failure prints the curl command that reproduces it, and is tried first in the next run.
"""

import sys
from ipaddress import ip_network

import pytest
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from flask_redis_counter import create_app
from flask_redis_counter.store.embedded import EmbeddedValkey
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port
from flask_redis_counter.web.negotiation import HTML, JSON, TEXT, media_type
from flask_redis_counter.web.openapi.document import document
from flask_redis_counter.web.params import parse_idempotency_key

requests = pytest.importorskip("requests")
schemathesis = pytest.importorskip("schemathesis", reason="`nox -s fuzz` installs it")
openapi_checks = pytest.importorskip("schemathesis.specs.openapi.checks")

#: Maximum seconds of a response on a busy machine; more is a hang.
TIMEOUT = 10

ADMIN_KEY = "correct-horse-battery-staple"
#: Expected statuses of a valid request while the store is up: not modified (304), unknown counter
#: (404), overflow (409), the counter exists (412), key reused (422). No other 4xx, and no 5xx.
VALID_STATUSES = ["200", "201", "304", "404", "409", "412", "422"]

# Every check of schemathesis is on. The check "use after free" finds nothing to check here.
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": VALID_STATUSES},
    # A name with a slash is another path (404); a change without the key is a 401; the names of
    # a page may be longer than a URL (414).
    "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "414"]},
    "max_response_time": TIMEOUT,
}


def _accepts(*statuses):
    return {"positive_data_acceptance": {"expected-statuses": [*VALID_STATUSES, *statuses]}}


_STRICTER = _accepts("400")
_SUFFIXED = {
    "allow_header_conformance": {"enabled": False},
    "unsupported_method": {"enabled": False},
}
_LENIENT = {"negative_data_rejection": {"enabled": False}}
_PICTURE = _STRICTER | _LENIENT
ODD = {
    # No schema says that hours have a lower limit than days, and that a page takes no names.
    "GET /counters": _accepts("400", "414"),
    "GET /counters/{name}/series": _STRICTER,
    # 7.0 is an integer by the schema, but not here. Some cases have a generated key (401).
    "PUT /counters/{name}": _accepts("400", "401"),
    "DELETE /counters/{name}": _accepts("401"),
    # GET a.json reads "a"; setting or deleting "a.json" is a 400 with the reason.
    "GET /counters/{name}.json": _SUFFIXED,
    "GET /counters/{name}.txt": _SUFFIXED,
    "GET /counters/{name}.svg": _SUFFIXED | _PICTURE,
    # A picture always has the status 200.
    "GET /hit/{name}.svg": _PICTURE,
    "GET /stats/{name}.svg": _PICTURE,
    "GET /counters/{name}/shields.json": _PICTURE,
    # Not every text is a name, and a page ignores unknown parameters.
    "GET /snippet": _STRICTER | _LENIENT,
    "GET /stats": _STRICTER | _LENIENT,
}


def load_schema(checks=CHECKS, phases=None, odd=ODD):
    """Return the schemathesis schema of the OpenAPI document."""
    operations = [{"include-name": name, "checks": checks | of} for name, of in odd.items()]
    config = schemathesis.config.SchemathesisConfig.from_dict(
        {
            "checks": checks,
            "phases": phases or {},
            "auth": {"openapi": {"admin": {"bearer": ADMIN_KEY}}},
            "operations": operations,
            "request-timeout": TIMEOUT,
            # An Idempotency-Key is not a secret here, and is needed to reproduce a failure.
            "output": {"sanitization": {"enabled": False}},
        }
    )
    api = schemathesis.openapi.from_dict(document(), config=config)
    return api.exclude(path="/live")  # its response has no end


def negotiates(operation):
    """Return whether an operation selects its media type by Accept."""
    return "406" in document()["paths"][operation.path][operation.method.lower()]["responses"]


@schemathesis.deserializer("text/plain")
def text_of(context, response):
    """Return the text, which is compared with what is described as JSON is."""
    return response.text


# Cases of these phases have no values for the extra strategies of a test.
GENERATED = {"examples": {"enabled": False}, "coverage": {"enabled": False}}
# These checks see the request before the test adds headers, so the test checks it itself.
UNCHECKED = CHECKS | {
    "positive_data_acceptance": {"enabled": False},
    "negative_data_rejection": {"enabled": False},
}
schema = load_schema()
# With per-operation settings, include() would select all operations.
forms = load_schema(phases=GENERATED, odd={}).include(lambda context: negotiates(context.operation))
headers = load_schema(UNCHECKED, GENERATED, odd={})


@pytest.fixture(scope="module", params=["serve", "flask"])
def target(request, tmp_path_factory):
    """The target of requests: the production server, or the Flask app without a server."""
    folder = tmp_path_factory.mktemp("fuzz")
    yield from (serve_from if request.param == "serve" else flask_on)(folder)


addresses = map(str, ip_network("10.0.0.0/8"))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Give each case an address of its own: an address that sends wrong keys is blocked."""
    case.headers.setdefault("X-Forwarded-For", next(addresses))


def serve_from(folder):
    """Run `flask-redis-counter serve` with its embedded store."""
    port = free_port()
    server = Process(
        [sys.executable, "-m", "flask_redis_counter", "serve", f"--port={port}",
         f"--data-dir={folder / 'data'}"],
        log=folder / "log",
        environment={"REDIS_URL": "", "REDIS_HOST": "", "COUNTER_TIMEOUT": f"{TIMEOUT}",
                     "COUNTER_ADMIN_KEY": ADMIN_KEY, "COUNTER_TRUSTED_PROXIES": "127.0.0.1"},
    )  # fmt: skip
    server.start()
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=TIMEOUT).ok, what="an answer")
        assert requests.get(f"{url}/openapi.json", timeout=TIMEOUT).json() == document()
        with requests.Session() as session:
            session.headers.clear()  # they would override those of a case
            yield {"base_url": url, "session": session}
        assert "Traceback" not in server.log()
    finally:
        server.stop()


def flask_on(folder):
    """Call the app as a WSGI server would."""
    with EmbeddedValkey(folder) as store:
        config = {"COUNTER_TIMEOUT": TIMEOUT, "COUNTER_ADMIN_KEY": ADMIN_KEY}
        app = create_app({"REDIS_URL": store.url, **config})
        # It sends another request without the key, but not through the app.
        yield {"app": app, "excluded_checks": [openapi_checks.ignored_auth]}


ACCEPTS = {
    JSON: {JSON, "application/problem+json"},
    TEXT: {TEXT, "application/problem+json"},
    HTML: {HTML},
}
# Valid bytes of a header (RFC 9110, section 5.5), without whitespace around them.
HEADERS = st.sampled_from(["", "a"]) | st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"])
).map(str.strip)


@schema.parametrize()
def test_responses_are_described(case, target):
    """Any request gets a response that is described."""
    case.call_and_validate(**target)


@forms.given(accept=st.sampled_from(sorted(ACCEPTS)))
@forms.parametrize()
def test_media_types(case, accept, target):
    """The response has the media type of Accept."""

    def has_media_type(context, response, case):
        given = response.headers.get("content-type", [""])[0].partition(";")[0]
        bodiless = case.method == "HEAD" or response.status_code == 304
        assert bodiless or given in ACCEPTS[accept]

    # Set in the case and checked by schemathesis, so that a failure prints the whole request.
    case.headers["Accept"] = accept
    case.call_and_validate(additional_checks=[has_media_type], **target)


@headers.given(accept=HEADERS, key=HEADERS)
@headers.parametrize()
def test_any_headers(case, accept, key, target):
    """Any headers get a described response, and nothing counts if one is malformed."""

    def is_rejected_if_malformed(context, response, case):
        if response.status_code < 400 and case.path.startswith("/count"):
            if negotiates(case.operation):
                assert is_valid(media_type, accept), "the Accept header is malformed"
            if "Idempotency-Key" in case.operation.headers:
                assert is_valid(parse_idempotency_key, key), "the Idempotency-Key is malformed"

    case.headers.update({"Accept": accept, "Idempotency-Key": key})
    case.call_and_validate(additional_checks=[is_rejected_if_malformed], **target)


def is_valid(parse, header):
    """Return whether a header is valid."""
    try:
        parse(header)
    except HTTPException:
        return False
    return True
