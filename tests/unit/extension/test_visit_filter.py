"""The visit filter: skip reasons and identities of requests."""

import pytest

from flask_redis_counter.config.config import Config
from flask_redis_counter.extension.visit_filter import VisitFilter
from flask_redis_counter.extension.visits import HitRequest

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def make_filter(**settings):
    """Return the visit filter of some settings."""
    return VisitFilter(Config.load(settings))


def address(proxies, peer, forwarded):
    """Return the client address behind trusted proxies."""
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    settings = {
        "COUNTER_TRUSTED_PROXIES": proxies,
        "COUNTER_RATE_LIMIT": "1/1",
        "COUNTER_IPV6_PREFIX": 128,
    }
    return make_filter(**settings).identify(peer, headers.get).client


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ("10.0.0.1", "10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/8", "10.9.8.7", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", " 203.0.113.7\t", "203.0.113.7"),
        # The entries that the client sent itself are on the left.
        ("10.0.0.1", "10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1, 203.0.113.7", "203.0.113.7"),
        # A chain of proxies.
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1 192.0.2.1", "10.0.0.1", "1.2.3.4,203.0.113.7,192.0.2.1", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.2"),
        # Only proxies.
        ("10.0.0.0/8", "10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        # With the client's port.
        ("10.0.0.1", "10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.7:4711, 10.0.0.2:80", "203.0.113.7"),
        ("::1", "::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::1", "::1", "[2001:db8::7]", "2001:db8::7"),
        ("::1", "::1", "2001:db8::4711", "2001:db8::4711"),
        # An untrusted peer.
        ("10.0.0.1", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7", None, "203.0.113.7"),
        # IPv6, and IPv4-mapped addresses of a dual-stack socket.
        ("fd00::/8", "fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::1", "::1", "2001:db8::7, ::1", "2001:db8::7"),
        ("10.0.0.1", "::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "203.0.113.7, ::ffff:10.0.0.1", "203.0.113.7"),
        ("fd00::/8", "10.0.0.1", "203.0.113.7", "10.0.0.1"),
    ],
)
def test_client_address_is_the_nearest_untrusted_one(proxies, peer, forwarded, client):
    """Addresses to the left of the first untrusted one are ignored."""
    assert address(proxies, peer, forwarded) == client


@pytest.mark.parametrize(
    "forwarded", [None, "", ",", "unknown", "_hidden", "[203.0.113.7", "203.0.113.7:", "[]:4711",
                  "203.0.113.7:http", "[2001:db8::7]4711", ":4711", "203.0.113.7, ",
                  "203.0.113.7, unknown", "203.0.113.256", "\xff"],
)  # fmt: skip
def test_malformed_forwarded_for_falls_back_to_the_proxy(forwarded):
    """The last entry is malformed: addresses further left are not used either."""
    assert address("10.0.0.1", "10.0.0.1", forwarded) == "10.0.0.1"


@pytest.mark.parametrize("peer", ["", "unix:", "localhost"])
def test_peer_of_a_unix_socket_is_a_proxy_if_unix_is_trusted(peer):
    """The peer of a Unix socket has no address; servers call it differently."""
    assert address("0.0.0.0/0 ::/0", peer, "203.0.113.7") == peer
    assert address("unix", peer, "203.0.113.7") == "203.0.113.7"
    assert address("10.0.0.1 unix", peer, "198.51.100.1, 203.0.113.7, 10.0.0.1") == "203.0.113.7"
    for forwarded in (None, "", "unknown", "unix:"):
        assert address("unix", peer, forwarded) == peer


def test_unix_does_not_trust_addresses():
    """Only peers without an address are trusted, and no entry of the header."""
    assert address("unix", "203.0.113.7", "198.51.100.1") == "203.0.113.7"
    assert address("unix", "", "198.51.100.1, unix:") == ""
    assert address("unix", "", "198.51.100.1, 203.0.113.7") == "203.0.113.7"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:DB8:0:0::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::ffff:c000:201", True),
        ("192.0.2.1", "64:ff9b::192.0.2.1", True),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "0:0:0:0:0:0:192.0.2.1", False),
    ],
)
@pytest.mark.parametrize("proxied", [True, False])
def test_client_is_an_ipv4_address_or_an_ipv6_network(first, second, same, proxied):
    """For the rate limit and as a visitor, in any notation, direct or forwarded."""
    it = make_filter(
        COUNTER_RATE_LIMIT="1/1", COUNTER_TRUSTED_PROXIES="10.0.0.1" if proxied else ""
    )

    def identify(address):
        if proxied:
            return it.identify("10.0.0.1", {"x-forwarded-for": address}.get)
        return it.identify(address, {}.get)

    assert (identify(first) == identify(second)) is same


@pytest.mark.parametrize(
    ("prefix", "other", "same"),
    [(56, "2001:db8:0:ff::1", True), (56, "2001:db8:0:100::1", False), (128, "2001:db8::2", False)],
)
def test_ipv6_prefix_sets_the_size_of_a_clients_network(prefix, other, same):
    """COUNTER_IPV6_PREFIX is the number of significant bits."""
    it = make_filter(COUNTER_RATE_LIMIT="1/1", COUNTER_IPV6_PREFIX=prefix)
    assert (it.identify("2001:db8::1", {}.get) == it.identify(other, {}.get)) is same


def test_identity_is_empty_without_visitors_and_rate_limit():
    """identify returns None for a visitor and a client that no setting needs."""
    it = make_filter(COUNTER_VISITORS="false")
    assert it.identify("192.0.2.1", {}.get) == HitRequest(None, None, None)


def test_rate_limit_applies_to_clients_that_opt_out():
    """`DNT: 1` removes the visitor, and not the client."""
    it = make_filter(COUNTER_RATE_LIMIT="1/1")
    visit = it.identify("192.0.2.1", {"dnt": "1", "user-agent": "a"}.get)
    assert visit == HitRequest(None, None, "192.0.2.1")


def test_forwarded_for_is_ignored_without_trusted_proxies():
    """Any client may send the header."""
    headers = {"x-forwarded-for": "203.0.113.7", "user-agent": "a"}
    assert make_filter().identify("10.0.0.1", headers.get).visitor == "10.0.0.1 a"
    trusted = (
        make_filter(COUNTER_TRUSTED_PROXIES="10.0.0.1").identify("10.0.0.1", headers.get).visitor
    )
    assert trusted == "203.0.113.7 a"


def test_visitor_is_an_address_and_a_user_agent():
    """Each of the two tells visitors apart. Without a user agent the address remains."""
    it = make_filter()
    requests = [("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "a")]
    visitors = {it.identify(peer, {"user-agent": agent}.get).visitor for peer, agent in requests}
    assert len(visitors) == 3
    assert it.identify("192.0.2.1", {}.get).visitor == "192.0.2.1 "


@pytest.mark.parametrize(
    ("settings", "headers", "known"),
    [
        ({}, {}, True),
        ({}, {"dnt": "1"}, False),
        ({}, {"sec-gpc": "1"}, False),
        ({}, {"dnt": "0", "sec-gpc": "?0"}, True),
        ({"COUNTER_RESPECT_DNT": "false"}, {"dnt": "1", "sec-gpc": "1"}, True),
        ({"COUNTER_VISITORS": "false"}, {}, False),
    ],
)
def test_visitor_is_none_after_opt_out_or_without_visitors(settings, headers, known):
    """`DNT` and `Sec-GPC` opt out; COUNTER_VISITORS=false turns visitors off."""
    assert (make_filter(**settings).identify("192.0.2.1", headers.get).visitor is not None) is known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "Prefetch; anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("purpose", "preview"),
        ("x-purpose", " preview"),
        ("x-moz", "prefetch"),
    ],
)
def test_skip_reason_of_a_prefetch(name, value):
    """skip_reason knows the headers of all browsers."""
    assert make_filter().skip_reason({name: value}.get) == "prefetch"


@pytest.mark.parametrize(
    "headers", [{}, {"sec-purpose": ""}, {"purpose": "visit"}, {"x-moz": "livebookmarks"},
                {"user-agent": GOOGLEBOT}, {"user-agent": FIREFOX}],
)  # fmt: skip
def test_skip_reason_of_a_visit_is_none(headers):
    """Also for crawlers, unless they are to be ignored."""
    assert make_filter().skip_reason(headers.get) is None


@pytest.mark.parametrize(
    ("agent", "skip_reason"),
    [(GOOGLEBOT, "bot"), ("curl/8.5.0", "bot"), (FIREFOX, None), ("", None), (None, None)],
)
def test_skip_reason_of_a_crawler(agent, skip_reason):
    """With COUNTER_IGNORE_BOTS, by the user agent."""
    pytest.importorskip("crawleruseragents", reason="COUNTER_IGNORE_BOTS=true needs the package")
    it = make_filter(COUNTER_IGNORE_BOTS=True)
    assert it.ignores_bots
    assert it.skip_reason({"user-agent": agent}.get) == skip_reason
