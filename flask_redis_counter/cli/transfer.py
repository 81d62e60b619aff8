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
from typing import Any, get_args

import click

from ..config.config import Config
from ..console import FAILED, checked_stdout, exit_on_error, print_line, progress_bar
from ..errors import ConfigurationError, ImportFileError
from ..transfer.atomic_file import atomic_write
from ..transfer.formats import begin_csv, begin_json, end_csv, end_json, to_csv, to_json
from ..transfer.import_file import Format, ImportBatch, from_records, read_file
from ..transfer.importing import ImportStatus
from ..transfer.records import InvalidRecord
from ..transfer.redis_source import RedisSource
from ..transfer.transfer import Transfer
from .embedded_store import embedded_fallback
from .import_options import ImportOptions

_STATUS_TEXT: dict[ImportStatus, str] = {
    "made": "made",
    "added": "added to",
    "replaced": "replaced",
    "unchanged": "unchanged: imported by an earlier run",
    "skipped": "skipped: they exist already (--add adds to them, --replace sets them)",
    "behind": "skipped: their source imported more in an earlier run",
    "refused": "could not be changed",
}

#: Members of the JSON summary whose names differ from those of the statuses.
_JSON_MEMBERS: dict[ImportStatus, str] = {"unchanged": "same", "skipped": "left", "behind": "less"}

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
    help="By default csv if FILE ends with .csv, otherwise ndjson. csv has no days.",
)
@_json
def export_command(file: Path | None, form: str | None, as_json: bool) -> None:
    """Write all counters to FILE, by default to standard output.

    FILE is replaced only when the export is complete. Its last line is an end mark with the number
    of counters, by which import checks that the file is complete.

    Exit codes: 0 all counters written, 1 failed, 2 wrong options or settings, 130 Ctrl-C,
    141 standard output was closed.
    """
    to_stdout = file is None or str(file) == "-"
    if as_json and to_stdout:
        raise click.UsageError("--json needs a FILE: the counters go to standard output")
    form = form or ("csv" if file and file.suffix.lower() == ".csv" else "ndjson")
    bad: list[InvalidRecord] = []
    done = 0

    def describe_progress() -> str:
        return "the export is not complete" if to_stdout else f"{file} was not written"

    with exit_on_error(describe_progress):
        with _open_transfer(_load_config()) as transfer:
            total = transfer.size()
            output = checked_stdout() if file is None or to_stdout else atomic_write(file)
            with progress_bar("Exporting", total) as advance, output as stream:
                begin, line, end = _WRITERS[form]
                stream.write(begin(total))
                for record in transfer.export_records(days=form != "csv"):
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
            click.echo(f"{done} counter{'s' * (done != 1)} exported", err=True)
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
    help="Format of FILE, by default detected by its first line.",
)
@click.option("--redis", "url", help="Import keys of another Redis, which is only read.")
@click.option("--match", help="Pattern of the keys, such as 'hits:*'.")
@click.option("--strip", default="", help="Prefix to remove from the keys.")
@click.option("--key", help="A single key, instead of --match.")
@click.option("--name", help="Name of the counter of --key, by default the key.")
@click.option("--source", help="Name of the source, by default FILE's name or HOST:PORT/DB.")
@click.option("--add", is_flag=True, help="Add to counters that exist.")
@click.option("--replace", is_flag=True, help="Set counters that exist.")
@click.option("--skip-bad", is_flag=True, help="Skip invalid lines or keys.")
@_json
def import_command(**options: Any) -> None:
    """Create counters from FILE, or from keys of another Redis.

    FILE has the format of export, or is a GoatCounter export (CSV or JSON); it may be compressed
    (gzip, ZIP). The FILE - is standard input. The whole file is checked before anything is written:
    an export that was cut off is not imported. Counters that exist are skipped.

    Each source is imported once: run an interrupted import again to continue it. Another run
    changes nothing, and --add adds only what is new.

    Exit codes: 0 done, 1 failed, invalid lines or keys, or counters that could not be changed,
    2 wrong options or settings, 130 Ctrl-C.
    """
    _ImportRun(ImportOptions.parse(**options)).run()


class _ImportRun:
    """One run of ``import``."""

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._source = options.source or ""
        self._batch: ImportBatch | None = None
        self._tally: Counter[ImportStatus] = Counter()
        # Counters may be imported whose results are not known.
        self._is_writing = False

    def run(self) -> None:
        """Check the input, import it, and print the summary."""
        with exit_on_error(self._describe_progress):
            config = _load_config()
            with _open_transfer(config) as transfer, _open_file(self._options.file) as path:
                transfer.size()  # fail first if there is no store
                self._batch = self._read(path)
                self._reject_invalid(self._batch)
                self._write(transfer, self._batch)
                is_full = self._tally["made"] and transfer.size() >= config.max_counters
            self._summarize(self._batch)
            if self._batch.complete is False:
                _warn("the file has no end mark, as `export` writes it: lines may be missing")
            if is_full:
                _warn(
                    f"COUNTER_MAX_COUNTERS ({config.max_counters}) is reached: raise it, or hits "
                    "over HTTP cannot create counters"
                )
        if self._tally["refused"]:
            raise SystemExit(FAILED)

    def _describe_progress(self) -> str:
        if self._batch is None or not self._is_writing:
            return "nothing was written"
        return (
            f"{self._tally.total()} of {self._batch.total} counters are done; run it again to "
            "continue: no counter is imported twice"
        )

    def _read(self, path: Path | None) -> ImportBatch:
        if path is None:
            return self._read_redis(self._options.url or "")
        self._source = self._source or path.name
        try:
            with progress_bar("Checking", path.stat().st_size) as advance:
                return read_file(path, self._options.form, advance)
        except ImportFileError as error:
            raise ImportFileError(f"{self._source}: {error}") from error

    def _read_redis(self, url: str) -> ImportBatch:
        options = self._options
        try:
            redis_source = RedisSource(url)
        except ConfigurationError as error:
            raise ConfigurationError("--redis", error.problem) from error
        with redis_source:
            self._source = self._source or redis_source.address
            if options.key is not None:
                keys = [options.key.encode()]
                return from_records(redis_source.read_keys(keys, name=options.name or options.key))
            with progress_bar("Reading", redis_source.size()) as advance:
                return from_records(redis_source.scan(options.match or "*", options.strip, advance))

    def _reject_invalid(self, batch: ImportBatch) -> None:
        if batch.bad_total and not self._options.skip_bad:
            _print_errors(batch.bad, batch.bad_total)
            click.echo("Nothing was written; --skip-bad skips the invalid ones.", err=True)
            raise SystemExit(FAILED)

    def _write(self, transfer: Transfer, batch: ImportBatch) -> None:
        self._is_writing = True
        results = transfer.import_records(
            batch.open_records(), self._source, on_conflict=self._options.on_conflict
        )
        with progress_bar("Importing", batch.total) as advance:
            for result in results:
                self._tally[result.status] += 1
                if result.error is not None:
                    click.echo(f"Error: {result.name}: {result.error}", err=True)
                advance(1)

    def _summarize(self, batch: ImportBatch) -> None:
        if batch.bad_total:
            _print_errors(batch.bad, batch.bad_total)
            views = f", with {batch.lost_views} page views" if batch.lost_views else ""
            click.echo(f"{batch.bad_total} invalid, skipped{views}", err=True)
        if self._options.as_json:
            statuses = {
                _JSON_MEMBERS.get(status, status): self._tally[status]
                for status in get_args(ImportStatus)
            }
            summary = {"source": self._source, "counters": batch.total, **statuses}
            skipped = {"bad": batch.bad_total, "lost_views": batch.lost_views, "bots": batch.bots}
            print_line(json.dumps(summary | skipped))
            return
        print_line(f"{batch.total} counters from {self._source}")
        for status, text in _STATUS_TEXT.items():
            if self._tally[status]:
                print_line(f"{self._tally[status]:>8} {text}")
        if batch.bots:
            print_line(f"{batch.bots:>8} page views of bots, not counted")


def _load_config() -> Config:
    click.get_current_context().with_resource(embedded_fallback(os.environ))
    return Config.load(os.environ)


def _open_transfer(config: Config) -> Transfer:
    return Transfer(config.redis_url, prefix=config.prefix)


@contextmanager
def _open_file(file: str | None) -> Iterator[Path | None]:
    """Yield the path of a file that can be read twice: standard input and pipes are copied."""
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


def _warn(message: str) -> None:
    click.echo(f"Warning: {message}", err=True)


def _print_errors(bad: Iterable[InvalidRecord], total: int) -> None:
    shown = 0
    for record in bad:
        click.echo(f"Error: {record}", err=True)
        shown += 1
    if total > shown:
        click.echo(f"Error: and {total - shown} more", err=True)
