"""The Lua scripts in ``lua/``, and the commands that run them.

If a script replies with an error, no counter was changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from .connections import Command

#: Seconds after its last use until the record of a writer or of an idempotency key expires:
#: ``LIFE`` in ``count.lua``.
RECORD_TTL = 24 * 60 * 60

#: Seconds after which a call is not sent again: the store may have deleted its record. One hour
#: less than RECORD_TTL, for clocks that differ.
REPLAY_WINDOW = RECORD_TTL - 3600


class Script:
    """A Lua script.

    :param names: the files in ``lua/`` whose text is joined.
    :ivar text: the source.
    """

    def __init__(self, *names: str) -> None:
        folder = files(__package__).joinpath("lua")
        self.text = "".join(folder.joinpath(name).read_text("utf-8") for name in names)
        self._digest = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324  # Redis wants it

    def evalsha(self, keys: Sequence[str], *arguments: str | int) -> Command:
        """Return the command that runs the script by its digest, once the server has loaded it."""
        return ("EVALSHA", self._digest, len(keys), *keys, *arguments)

    def eval(self, keys: Sequence[str], *arguments: str | int) -> Command:
        """Return the command that sends the script's text and runs it."""
        return ("EVAL", self.text, len(keys), *keys, *arguments)

    def load(self) -> Command:
        """Return the command that loads the script into the server."""
        return ("SCRIPT LOAD", self.text)


#: Counts a batch of hits once per sequence number of its writer.
HIT = Script("publish.lua", "count.lua", "hit.lua")

#: Counts one hit once per idempotency key.
HIT_ONCE = Script("publish.lua", "count.lua", "hit_once.lua")

#: Sets a counter.
SET = Script("publish.lua", "set.lua")

#: Deletes a counter.
DELETE = Script("delete.lua")

#: Lists the name of a counter.
LIST = Script("list.lua")

#: Imports a counter from a source.
IMPORT = Script("publish.lua", "import.lua")
