"""The page of statistics, and its charts, each an image of its own."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request, url_for
from werkzeug.exceptions import BadRequest

from ...errors import CounterNotFoundError
from ...extension.state import current_state
from ...series import SeriesPoint
from ...store.overview import CounterSummary
from ..charts import charts_available, days_per_bar, draw
from ..concurrency import limit_concurrency
from ..negotiation import SVG
from ..params import get_integer_or_default
from ..problems import problem_response
from ..ranking import current_ranking
from ..request_checks import reject_invalid_request
from ..responses import make_conditional
from .live import SLOT_KEY

#: How many counters one page has.
PAGE_SIZE = 20

#: How far the page goes back, in days: at least, at most, by default, and what it has links for.
MIN_DAYS, MAX_DAYS, DEFAULT_DAYS = 7, 365, 30
SPANS = (7, 30, 90, 365)

#: The last page that can be asked for, and the characters of a search.
MAX_PAGES, MAX_SEARCH = 1000, 64

#: Lines of all tables on a page; where there would be more, each counter's page has its own.
MAX_LINES = 700

blueprint = Blueprint("stats", __name__)
blueprint.before_request(reject_invalid_request)


@dataclass(frozen=True, slots=True)
class Row:
    """A counter as the page shows it."""

    name: str
    value: int | None
    days: tuple[SeriesPoint, ...]
    broken: bool

    @property
    def today(self) -> SeriesPoint:
        """The day that it is."""
        return self.days[-1]

    @property
    def hits(self) -> int:
        """The hits of all its days."""
        return sum(day.hits for day in self.days)

    @property
    def words(self) -> str:
        """What the chart shows, for who does not see it."""
        first, last = (f"{day.start.day} {day.start:%B %Y}" for day in (self.days[0], self.today))
        most = max(self.days, key=lambda day: day.hits)
        said = f"Hits on {self.name} from {first} to {last}: {self.hits:,} in all"
        if not self.hits:
            return f"{said}."
        return f"{said}, the most on {most.start.day} {most.start:%B}: {most.hits:,}."


@dataclass(frozen=True, slots=True)
class Listing:
    """The counters of one page, and where they are in the order of all.

    :ivar names: the counters that the page begins with.
    :ivar after: and those that come after this name; None: no others.
    :ivar span: the first and the last number of them, where they are in the order of their hits.
    :ivar total: how many there are.
    :ivar following: query of the next page; None where there is none.
    """

    names: list[str]
    after: str | None = None
    span: str = ""
    total: str = ""
    following: dict[str, object] | None = None


@blueprint.get("/stats")
@limit_concurrency("name", "q", "after", "page", "days", cached=True)
def page() -> Response:
    """Answer the page: counters by their hits, by name, those searched for, or those asked for."""
    days = _days()
    state = current_state()
    own = state.config.name
    listing = _listing(own)
    most = PAGE_SIZE - len(listing.names)
    found = state.counter.overview(listing.names, after=listing.after, limit=most, days=days)
    # The service's own counter is on the first page.
    counters = [one for one in found.counters if one.name != own or not listing.after]
    following = listing.following
    if found.more and counters:
        following = {"after": counters[-1].name}
    sent = {key: request.args.getlist(key) for key in ("name", "q", "after") if key in request.args}
    rows = [_row(one, own) for one in counters]
    body = render_template(
        "stats.html",
        rows=rows,
        listing=listing,
        search=_search(),
        days=days,
        usual=DEFAULT_DAYS,
        spans={span: _link(days=span, **sent) for span in SPANS},
        orders={"Most hits first": _link(days=days), "By name": _link(days=days, after="")},
        following=following and _link(days=days, **following),
        store=found.store if state.config.show_store else None,
        charts=charts_available(),
        live=SLOT_KEY in request.environ,
        weekly=days_per_bar(days) > 1,
        tables=len(rows) * days <= MAX_LINES,
    )
    return Response(body, headers={"Cache-Control": "no-store"})


def _listing(own: str) -> Listing:
    """Return the counters that the query asks for.

    :param own: the service's own counter, which is the first one where all are listed.
    """
    if names := request.args.getlist("name"):
        if len(names) > PAGE_SIZE:
            raise BadRequest(f"Ask for up to {PAGE_SIZE} names.")
        return Listing(names)
    ranking = current_ranking()
    search = _search()
    found = ranking.find(search)
    if search.lower() in own.lower():
        # It is there before its first hit.
        found = [own, *(name for name in found if name != own)]
    total = f"{'' if ranking.is_whole else 'more than '}{len(found):,}"
    after = request.args.get("after")
    if after is not None and not search:
        return Listing([] if after else [own], after, total=total)
    number = get_integer_or_default(request.args, "page", 1, MAX_PAGES, 1)
    begin = (number - 1) * PAGE_SIZE
    shown = found[begin : begin + PAGE_SIZE]
    span = f"{begin + 1:,} to {begin + len(shown):,}"
    more = {"q": search, "page": number + 1} if begin + PAGE_SIZE < len(found) else None
    return Listing(shown, span=span, total=total, following=more)


def _search() -> str:
    return request.args.get("q", "").strip()[:MAX_SEARCH]


@blueprint.get("/stats/<name>.svg")
@limit_concurrency("days", cached=True)
def chart(name: str) -> Response:
    """Answer a chart of a counter's last days."""
    if not charts_available():
        detail = "Charts need pygal: pip install 'flask-redis-counter[server]'."
        return problem_response(HTTPStatus.NOT_IMPLEMENTED, detail)
    state = current_state()
    days = _days()
    [found] = state.counter.overview([name], days=days).counters
    if found.error is not None:
        raise found.error
    if found.value is None and name != state.config.name:
        raise CounterNotFoundError(name)
    response = Response(mimetype=SVG)
    # It has its own style, which a page's policy would forbid where it is opened by itself.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.set_etag(blake2b(repr(found.days).encode(), digest_size=16).hexdigest())
    if make_conditional(response).status_code == HTTPStatus.OK:
        response.set_data(draw(found.days))
    return response


def _days() -> int:
    return get_integer_or_default(request.args, "days", MIN_DAYS, MAX_DAYS, DEFAULT_DAYS)


def _row(one: CounterSummary, own: str) -> Row:
    # Nobody has visited yet, where the service's own is not there.
    value = 0 if one.value is None and one.name == own else one.value
    broken = one.error is not None
    return Row(one.name, None if broken else value, one.days, broken)


def _link(**query: object) -> str:
    given = {key: value for key, value in query.items() if value or key == "after"}
    return f"{url_for('stats.page')}?{urlencode(given, doseq=True)}"
