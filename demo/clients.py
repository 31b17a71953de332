"""One connection to the page: cut off when it asks nothing, or takes nothing, for too long.

A server that waits for ever for everyone can be filled up by anyone.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
MAX_HEADER = 16 << 10
PATIENCE_S = 10.0


class Client(H11Protocol):
    """uvicorn's connection with bounds. One that stands still at two looks in a row is cut off."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.taken = 0
        self.seen: tuple[Any, int] | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self.later()

    def later(self) -> None:
        asyncio.get_running_loop().call_later(PATIENCE_S, self.look)

    def resume_writing(self) -> None:
        """The other side took what was waiting for it."""
        self.taken += 1
        super().resume_writing()

    def look(self) -> None:
        """Idle is a request that does not come or end, and a picture that is not fetched."""
        if self.transport.is_closing():
            return
        asked = self.cycle is not None and not self.cycle.response_complete
        idle = self.flow.write_paused if asked else True
        state = (self.cycle, self.taken)
        if idle and state == self.seen:
            self.transport.abort()
            return
        self.seen = state if idle else None
        self.later()
