"""The commands ``flask-redis-counter export`` and ``import``."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import click

from ..config.config import Config
from ..console import FAILED, checked_stdout, exit_on_error, print_line, progress_bar
from ..errors import ConfigurationError, ImportFileError
from ..transfer.atomic_file import atomic_write
from ..transfer.formats import begin_csv, begin_json, end_csv, end_json, to_csv, to_json
from ..transfer.import_file import Format, ImportBatch, from_records, read_file
from ..transfer.importing import ImportStatus, OnConflict
from ..transfer.records import InvalidRecord
from ..transfer.redis_source import RedisSource
from ..transfer.transfer import Transfer
from .embedded_store import embedded_fallback

_STATUS_TEXT: dict[ImportStatus, str] = {
    "made": "made",
    "added": "added to",
    "replaced": "replaced",
    "same": "were in already, from an earlier run",
    "left": "were there already and were left alone: --add adds to them, --replace sets them",
    "less": "have less than at an earlier run, and were left alone",
    "refused": "could not be changed",
}

_WRITERS = {
    "csv": (begin_csv, to_csv, end_csv),
    "ndjson": (begin_json, to_json, end_json),
}

_json = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")


@click.command("export")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    help="By default what FILE ends with, otherwise ndjson. There are no days in csv.",
)
@_json
def export_command(file: Path | None, form: str | None, as_json: bool) -> None:
    """Write all counters to FILE, by default to standard output.

    FILE gets its name only when all is in it. The last line is an end mark with the number of
    counters, by which import sees whether the file is complete.

    Exit codes: 0 all written, 1 failed, 2 wrong options or settings, 130 Ctrl-C, 141 nobody
    reads standard output any more.
    """
    to_stdout = file is None or str(file) == "-"
    if as_json and to_stdout:
        raise click.UsageError("--json needs a FILE: standard output has the counters")
    form = form or ("csv" if file and file.suffix.lower() == ".csv" else "ndjson")
    bad: list[InvalidRecord] = []
    done = 0

    def so_far() -> str:
        return "the export is not complete" if to_stdout else f"{file} is as it was"

    with exit_on_error(so_far):
        click.get_current_context().with_resource(embedded_fallback(os.environ))
        config = Config.load(os.environ)
        with _transfer(config) as transfer:
            total = transfer.size()
            place = checked_stdout() if file is None or to_stdout else atomic_write(file)
            with progress_bar("Exporting", total) as advance, place as stream:
                begin, line, end = _WRITERS[form]
                stream.write(begin(total))
                for record in transfer.records(days=form != "csv"):
                    if isinstance(record, InvalidRecord):
                        bad.append(record)
                    else:
                        stream.write(line(record))
                        done += 1
                    advance(1)
                stream.write(end(done))
        if as_json:
            print_line(json.dumps({"file": str(file), "exported": done, "bad": len(bad)}))
        else:
            click.echo(f"{done} counters exported", err=True)
        _print_errors(bad, len(bad))
    if bad:
        raise SystemExit(FAILED)


@click.command("import")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Format)),
    help="What FILE is, by default what its first line looks like.",
)
@click.option("--redis", "url", help="Import keys of another Redis, which is only read.")
@click.option("--match", help="Which keys: a pattern, as 'hits:*'.")
@click.option("--strip", default="", help="What to leave out at the beginning of their names.")
@click.option("--key", help="Or a single key.")
@click.option("--name", help="And how its counter is called, by default as the key.")
@click.option(
    "--source", help="What to remember as where they are from: FILE's name, or HOST:PORT/DB."
)
@click.option("--add", is_flag=True, help="Add to counters that are there.")
@click.option("--replace", is_flag=True, help="Set counters that are there.")
@click.option("--skip-bad", is_flag=True, help="Go on without what is no counter.")
@_json
def import_command(
    file: str | None,
    form: Format | None,
    url: str | None,
    match: str | None,
    strip: str,
    key: str | None,
    name: str | None,
    source: str | None,
    add: bool,
    replace: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Make counters from FILE, or from keys of another Redis.

    FILE - is standard input. It has lines as export writes them, or is a GoatCounter export (CSV or
    JSON); it may be compressed (gzip, ZIP). All is checked before anything is written: an export
    that was cut off is not imported. Counters that are there already are left alone.

    What a source has brought it brings once: an import that was interrupted goes on when it is
    run again, and one that is run twice changes nothing. --add adds only what is new.

    Exit codes: 0 done, 1 failed, or something is no counter or could not be changed, 2 wrong
    options or settings, 130 Ctrl-C.
    """
    if (file is None) == (url is None):
        raise click.UsageError("import either a FILE or from --redis")
    if url is None and (match or strip or key or name):
        raise click.UsageError("--match, --strip, --key and --name are for --redis")
    if url is not None and ((match is None) == (key is None) or form):
        raise click.UsageError("--redis goes with --match or --key, and without --format")
    if (strip and match is None) or (name and key is None):
        raise click.UsageError("--strip goes with --match, and --name with --key")
    if add and replace:
        raise click.UsageError("--add or --replace, not both")
    if source is None and file is not None and not Path(file).is_file():
        raise click.UsageError("what is no file has no name: say with --source where it is from")
    if source == "":
        raise click.UsageError("--source is empty")
    mode: OnConflict = "add" if add else "replace" if replace else "leave"
    tally: Counter[ImportStatus] = Counter()
    intake: ImportBatch | None = None

    def so_far() -> str:
        if intake is None or not tally:
            return "nothing was written"
        return (
            f"{tally.total()} of {intake.total} counters are done; run again, it goes on with "
            "the others, and none counts twice"
        )

    with exit_on_error(so_far):
        click.get_current_context().with_resource(embedded_fallback(os.environ))
        config = Config.load(os.environ)
        with _transfer(config) as transfer, _from_file(file) as path:
            transfer.size()  # whether there is a store, before all else
            if path is not None:
                source = source or path.name
                try:
                    with progress_bar("Checking", path.stat().st_size) as advance:
                        intake = read_file(path, form, advance)
                except ImportFileError as error:
                    raise ImportFileError(f"{source}: {error}") from error
            else:
                address, intake = _from_redis(url or "", match, strip, key, name)
                source = source or address
            if intake.bad_total and not skip_bad:
                _print_errors(intake.bad, intake.bad_total)
                click.echo("Nothing was written; --skip-bad goes on without them.", err=True)
                raise SystemExit(FAILED)
            with progress_bar("Importing", intake.total) as advance:
                for it in transfer.adopt(intake.records(), source, mode=mode):
                    tally[it.verdict] += 1
                    if it.error is not None:
                        click.echo(f"Error: {it.name}: {it.error}", err=True)
                    advance(1)
            full = tally["made"] and transfer.size() >= config.max_counters
        _summarize(source, intake, tally, as_json)
        if intake.complete is False:
            click.echo(
                "Warning: the file has no end mark, as `export` writes it: lines may be missing",
                err=True,
            )
        if full:
            click.echo(
                "Warning: there are as many counters as COUNTER_MAX_COUNTERS "
                f"({config.max_counters}) allows: raise it, or a hit over HTTP makes no other",
                err=True,
            )
    if tally["refused"]:
        raise SystemExit(FAILED)


def _transfer(config: Config) -> Transfer:
    return Transfer(config.redis_url, prefix=config.prefix)


@contextmanager
def _from_file(file: str | None) -> Iterator[Path | None]:
    """Return a file that can be read twice: what cannot is copied."""
    if file is None or Path(file).is_file():
        yield None if file is None else Path(file)
        return
    with tempfile.NamedTemporaryFile() as copy:
        if file == "-" and sys.stdin is None:
            raise ImportFileError("standard input is closed")
        if file == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with Path(file).open("rb") as pipe:
                shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield Path(copy.name)


def _from_redis(
    url: str, match: str | None, strip: str, key: str | None, name: str | None
) -> tuple[str, ImportBatch]:
    """Return where another Redis is, and the counters that its keys hold."""
    try:
        foreign = RedisSource(url)
    except ConfigurationError as error:
        raise ConfigurationError("--redis", error.problem) from error
    with foreign:
        if key is not None:
            return foreign.address, from_records(foreign.read([key.encode()], name=name or key))
        with progress_bar("Reading", foreign.size()) as advance:
            return foreign.address, from_records(foreign.matching(match or "*", strip, advance))


def _print_errors(bad: Iterable[InvalidRecord], total: int) -> None:
    shown = 0
    for it in bad:
        click.echo(f"Error: {it}", err=True)
        shown += 1
    if total > shown:
        click.echo(f"Error: and {total - shown} more", err=True)


def _summarize(
    source: str, intake: ImportBatch, tally: Counter[ImportStatus], as_json: bool
) -> None:
    if intake.bad_total:
        _print_errors(intake.bad, intake.bad_total)
        views = f", {intake.lost_views} page views with them" if intake.lost_views else ""
        click.echo(f"{intake.bad_total} were left out{views}", err=True)
    if as_json:
        verdicts = {verdict: tally[verdict] for verdict in get_args(ImportStatus)}
        facts = {"source": source, "counters": intake.total, **verdicts}
        left_out = {"bad": intake.bad_total, "lost_views": intake.lost_views, "bots": intake.bots}
        print_line(json.dumps(facts | left_out))
        return
    print_line(f"{intake.total} counters from {source}")
    for verdict, said in _STATUS_TEXT.items():
        if tally[verdict]:
            print_line(f"{tally[verdict]:>8} {said}")
    if intake.bots:
        print_line(f"{intake.bots:>8} page views of bots do not count")
