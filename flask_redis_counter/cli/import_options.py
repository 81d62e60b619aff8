"""Options of ``flask-redis-counter import``, and their valid combinations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

from ..transfer.import_file import Format
from ..transfer.importing import OnConflict


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Valid options of an import: either ``file`` or ``url`` is given.

    :ivar file: path of the file; ``-``: standard input.
    :ivar form: format of the file; None: detect it.
    :ivar url: URL of another Redis.
    :ivar match: pattern of keys of the other Redis; None: ``key`` is given.
    :ivar strip: prefix to remove from the keys.
    :ivar key: a single key; None: ``match`` is given.
    :ivar name: name of the counter of ``key``; None: the key.
    :ivar source: name of the source; None: the file's name, or the address of the other Redis.
    :ivar on_conflict: what to do with counters that exist.
    :ivar skip_bad: import the rest if lines or keys are invalid.
    :ivar as_json: print the summary as JSON.
    """

    file: str | None
    form: Format | None
    url: str | None
    match: str | None
    strip: str
    key: str | None
    name: str | None
    source: str | None
    on_conflict: OnConflict
    skip_bad: bool
    as_json: bool

    @classmethod
    def parse(cls, *, add: bool, replace: bool, **options: Any) -> Self:
        """Return the options of a command line.

        :raises click.UsageError: the combination of options is invalid.
        """
        on_conflict: OnConflict = "add" if add else "replace" if replace else "skip"
        parsed = cls(on_conflict=on_conflict, **options)
        parsed._check_input()
        if add and replace:
            raise click.UsageError("use --add or --replace, not both")
        parsed._check_source()
        return parsed

    def _check_input(self) -> None:
        if (self.file is None) == (self.url is None):
            raise click.UsageError("import either a FILE or from --redis")
        if self.url is None and (self.match or self.strip or self.key or self.name):
            raise click.UsageError("--match, --strip, --key and --name are for --redis")
        if self.url is not None and ((self.match is None) == (self.key is None) or self.form):
            raise click.UsageError("--redis goes with --match or --key, and without --format")
        if (self.strip and self.match is None) or (self.name and self.key is None):
            raise click.UsageError("--strip goes with --match, and --name with --key")

    def _check_source(self) -> None:
        if self.source is None and self.file is not None and not Path(self.file).is_file():
            raise click.UsageError(
                "standard input and pipes have no name: name the source with --source"
            )
        if self.source == "":
            raise click.UsageError("--source is empty")
