"""Whose a request is, and whether it is a visit."""

import pytest

from flask_redis_counter.config.config import Config
from flask_redis_counter.extension.visit_filter import VisitFilter

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def make_filter(**settings):
    """Return what settings say of those who visit."""
    return VisitFilter(Config.load(settings))


def address(proxies, peer, forwarded):
    """Return whose a request is, where some proxies are believed."""
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    settings = {
        "COUNTER_TRUSTED_PROXIES": proxies,
        "COUNTER_RATE_LIMIT": "1/1",
        "COUNTER_IPV6_PREFIX": 128,
    }
    return make_filter(**settings).identify(peer, headers.get)[1]


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ("10.0.0.1", "10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/8", "10.9.8.7", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", " 203.0.113.7\t", "203.0.113.7"),
        # What the client itself says is on the left.
        ("10.0.0.1", "10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1, 203.0.113.7", "203.0.113.7"),
        # Several proxies, one behind the other.
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1 192.0.2.1", "10.0.0.1", "1.2.3.4,203.0.113.7,192.0.2.1", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.2"),
        # Nobody but proxies.
        ("10.0.0.0/8", "10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        # With the port that was asked from.
        ("10.0.0.1", "10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.7:4711, 10.0.0.2:80", "203.0.113.7"),
        ("::1", "::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::1", "::1", "[2001:db8::7]", "2001:db8::7"),
        ("::1", "::1", "2001:db8::4711", "2001:db8::4711"),
        # A stranger is not believed.
        ("10.0.0.1", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7", None, "203.0.113.7"),
        # IPv6, and IPv4 as a socket of both shows it.
        ("fd00::/8", "fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::1", "::1", "2001:db8::7, ::1", "2001:db8::7"),
        ("10.0.0.1", "::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1", "203.0.113.7, ::ffff:10.0.0.1", "203.0.113.7"),
        ("fd00::/8", "10.0.0.1", "203.0.113.7", "10.0.0.1"),
    ],
)
def test_the_nearest_that_is_no_proxy_of_ours(proxies, peer, forwarded, client):
    """What it was told by others is not believed."""
    assert address(proxies, peer, forwarded) == client


@pytest.mark.parametrize(
    "forwarded", [None, "", ",", "unknown", "_hidden", "[203.0.113.7", "203.0.113.7:", "[]:4711",
                  "203.0.113.7:http", "[2001:db8::7]4711", ":4711", "203.0.113.7, ",
                  "203.0.113.7, unknown", "203.0.113.256", "\xff"],
)  # fmt: skip
def test_a_header_that_says_nothing(forwarded):
    """It is the proxy's request then, and none of an address further left."""
    assert address("10.0.0.1", "10.0.0.1", forwarded) == "10.0.0.1"


@pytest.mark.parametrize("peer", ["", "unix:", "localhost"])
def test_a_peer_without_an_address(peer):
    """As behind a Unix socket: it is no proxy."""
    assert address("0.0.0.0/0 ::/0", peer, "203.0.113.7") == peer


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
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(first, second, same, proxied):
    """For a rate and as a visitor, however the address is written and whoever says it."""
    it = make_filter(
        COUNTER_RATE_LIMIT="1/1", COUNTER_TRUSTED_PROXIES="10.0.0.1" if proxied else ""
    )

    def sender(address):
        if proxied:
            return it.identify("10.0.0.1", {"x-forwarded-for": address}.get)
        return it.identify(address, {}.get)

    assert (sender(first) == sender(second)) is same


@pytest.mark.parametrize(
    ("prefix", "other", "same"),
    [(56, "2001:db8:0:ff::1", True), (56, "2001:db8:0:100::1", False), (128, "2001:db8::2", False)],
)
def test_the_network_of_a_client_is_as_large_as_it_is_set(prefix, other, same):
    """COUNTER_IPV6_PREFIX bits of it count."""
    it = make_filter(COUNTER_RATE_LIMIT="1/1", COUNTER_IPV6_PREFIX=prefix)
    assert (it.identify("2001:db8::1", {}.get) == it.identify(other, {}.get)) is same


def test_nobody_is_told_where_nobody_asks():
    """Without a rate no client, without visitors none of them."""
    it = make_filter(COUNTER_VISITORS="false")
    assert it.identify("192.0.2.1", {}.get) == (None, None)


def test_a_rate_is_for_everybody():
    """Also for who is no visitor, and whatever the agent."""
    it = make_filter(COUNTER_RATE_LIMIT="1/1")
    sender = it.identify("192.0.2.1", {"dnt": "1", "user-agent": "a"}.get)
    assert sender == (None, "192.0.2.1")


def test_without_proxies_nothing_is_believed():
    """The header may come from anybody."""
    headers = {"x-forwarded-for": "203.0.113.7", "user-agent": "a"}
    assert make_filter().identify("10.0.0.1", headers.get)[0] == "10.0.0.1 a"
    believed = make_filter(COUNTER_TRUSTED_PROXIES="10.0.0.1").identify("10.0.0.1", headers.get)[0]
    assert believed == "203.0.113.7 a"


def test_a_visitor_is_an_address_and_an_agent():
    """Each of the two tells visitors apart; without an agent there is the address."""
    it = make_filter()
    requests = [("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "a")]
    visitors = {it.identify(peer, {"user-agent": agent}.get)[0] for peer, agent in requests}
    assert len(visitors) == 3
    assert it.identify("192.0.2.1", {}.get)[0] == "192.0.2.1 "


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
def test_who_is_no_visitor(settings, headers, known):
    """Who does not want to be, and nobody where visitors are not counted."""
    assert (make_filter(**settings).identify("192.0.2.1", headers.get)[0] is not None) is known


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
def test_what_comes_early_is_no_visit(name, value):
    """In the words of each browser."""
    assert make_filter().skip_reason({name: value}.get) == "prefetch"


@pytest.mark.parametrize(
    "headers", [{}, {"sec-purpose": ""}, {"purpose": "visit"}, {"x-moz": "livebookmarks"},
                {"user-agent": GOOGLEBOT}, {"user-agent": FIREFOX}],
)  # fmt: skip
def test_what_is_a_visit(headers):
    """Crawlers, too, unless they are to be ignored."""
    assert make_filter().skip_reason(headers.get) is None


@pytest.mark.parametrize(
    ("agent", "skip_reason"),
    [(GOOGLEBOT, "bot"), ("curl/8.5.0", "bot"), (FIREFOX, None), ("", None), (None, None)],
)
def test_crawlers_that_are_ignored(agent, skip_reason):
    """Those who say that they are one."""
    pytest.importorskip("crawleruseragents", reason="COUNTER_IGNORE_BOTS=true needs the package")
    it = make_filter(COUNTER_IGNORE_BOTS=True)
    assert it.ignores_bots
    assert it.skip_reason({"user-agent": agent}.get) == skip_reason
