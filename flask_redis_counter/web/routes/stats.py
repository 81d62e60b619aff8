"""Routes of the statistics page, and of its charts as images."""

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

#: Counters on one page.
PAGE_SIZE = 20

#: Days that the page shows: minimum, maximum, default, and those with a link.
MIN_DAYS, MAX_DAYS, DEFAULT_DAYS = 7, 365, 30
LINKED_DAYS = (7, 30, 90, 365)

#: The last page, and the maximum characters of a search.
MAX_PAGES, MAX_SEARCH = 1000, 64

#: Maximum rows of all tables on a page. If they have more, each table is on a separate page.
MAX_TABLE_ROWS = 700

blueprint = Blueprint("stats", __name__)
blueprint.before_request(reject_invalid_request)


@dataclass(frozen=True, slots=True)
class CounterRow:
    """One counter on the page.

    :ivar value: None if the counter does not exist, or is not an integer.
    :ivar days: the days that the page shows.
    :ivar is_invalid: whether a key of the counter holds something else than it should.
    """

    name: str
    value: int | None
    days: tuple[SeriesPoint, ...]
    is_invalid: bool

    @property
    def today(self) -> SeriesPoint:
        """The last of its days."""
        return self.days[-1]

    @property
    def hits(self) -> int:
        """The sum of the hits of its days."""
        return sum(day.hits for day in self.days)

    @property
    def alt(self) -> str:
        """Alternative text of the chart."""
        first, last = (f"{day.start.day} {day.start:%B %Y}" for day in (self.days[0], self.today))
        peak = max(self.days, key=lambda day: day.hits)
        text = f"Hits on {self.name} from {first} to {last}: {self.hits:,} in all"
        if not self.hits:
            return f"{text}."
        return f"{text}, the most on {peak.start.day} {peak.start:%B}: {peak.hits:,}."


@dataclass(frozen=True, slots=True)
class PageSelection:
    """Selection of the counters of one page.

    :ivar names: counters at the start of the page.
    :ivar after: also list counters after this name, in the order of names; None: no others.
    :ivar span: first and last rank on the page, if it is ordered by value; else empty.
    :ivar total: number of counters, as text; empty for counters named in the query.
    :ivar next_query: query of the next page; None if this is the last.
    """

    names: list[str]
    after: str | None = None
    span: str = ""
    total: str = ""
    next_query: dict[str, object] | None = None


@blueprint.get("/stats")
@limit_concurrency("name", "q", "after", "page", "days", cached=True)
def page() -> Response:
    """Return the page: counters by value, by name, by a search, or named in the query."""
    days = _days()
    state = current_state()
    own = state.config.name
    selection = _select(own)
    limit = PAGE_SIZE - len(selection.names)
    found = state.counter.overview(selection.names, after=selection.after, limit=limit, days=days)
    # The service's own counter is on the first page.
    counters = [one for one in found.counters if one.name != own or not selection.after]
    next_query = selection.next_query
    if found.more and counters:
        next_query = {"after": counters[-1].name}
    args = {key: request.args.getlist(key) for key in ("name", "q", "after") if key in request.args}
    rows = [_row(summary, own) for summary in counters]
    body = render_template(
        "stats.html",
        rows=rows,
        selection=selection,
        search=_search(),
        days=days,
        default_days=DEFAULT_DAYS,
        spans={span: _link(days=span, **args) for span in LINKED_DAYS},
        orders={"Most hits first": _link(days=days), "By name": _link(days=days, after="")},
        next_link=next_query and _link(days=days, **next_query),
        store=found.store if state.config.show_store else None,
        charts=charts_available(),
        live=SLOT_KEY in request.environ,
        weekly=days_per_bar(days) > 1,
        tables=len(rows) * days <= MAX_TABLE_ROWS,
    )
    return Response(body, headers={"Cache-Control": "no-store"})


def _select(own: str) -> PageSelection:
    """Return the selection of the query.

    :param own: the service's own counter, which comes first if all are listed.
    """
    if names := request.args.getlist("name"):
        if len(names) > PAGE_SIZE:
            raise BadRequest(f"Too many names: send up to {PAGE_SIZE}.")
        return PageSelection(names)
    ranking = current_ranking()
    search = _search()
    found = ranking.find(search)
    if search.lower() in own.lower():
        # It is listed even before its first hit.
        found = [own, *(name for name in found if name != own)]
    total = f"{'' if ranking.is_complete else 'more than '}{len(found):,}"
    after = request.args.get("after")
    if after is not None and not search:
        return PageSelection([] if after else [own], after, total=total)
    number = get_integer_or_default(request.args, "page", 1, MAX_PAGES, 1)
    start = (number - 1) * PAGE_SIZE
    names = found[start : start + PAGE_SIZE]
    span = f"{start + 1:,} to {start + len(names):,}"
    next_query = {"q": search, "page": number + 1} if start + PAGE_SIZE < len(found) else None
    return PageSelection(names, span=span, total=total, next_query=next_query)


def _search() -> str:
    return request.args.get("q", "").strip()[:MAX_SEARCH]


@blueprint.get("/stats/<name>.svg")
@limit_concurrency("days", cached=True)
def chart(name: str) -> Response:
    """Return a chart of a counter's last days."""
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
    # The pages' policy would forbid the chart's inline style when it is opened by itself.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.set_etag(blake2b(repr(found.days).encode(), digest_size=16).hexdigest())
    if make_conditional(response).status_code == HTTPStatus.OK:
        response.set_data(draw(found.days))
    return response


def _days() -> int:
    return get_integer_or_default(request.args, "days", MIN_DAYS, MAX_DAYS, DEFAULT_DAYS)


def _row(summary: CounterSummary, own: str) -> CounterRow:
    # The service's own counter has the value 0 before its first hit.
    value = 0 if summary.value is None and summary.name == own else summary.value
    is_invalid = summary.error is not None
    return CounterRow(summary.name, None if is_invalid else value, summary.days, is_invalid)


def _link(**query: object) -> str:
    args = {key: value for key, value in query.items() if value or key == "after"}
    return f"{url_for('stats.page')}?{urlencode(args, doseq=True)}"
