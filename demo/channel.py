"""A bounded queue between two threads that either of them can end."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class EndedError(Exception):
    """No item will come any more."""


class Channel(Generic[Item]):
    """First in, first out.

    With `newest`, a full queue forgets its oldest item instead of holding up who puts: a camera
    does not wait, and a car wants to know what is, not what was.
    """

    def __init__(self, size: int, newest: bool = False) -> None:
        self.items: deque[Item] = deque()
        self.size, self.newest, self.dropped = size, newest, 0
        self.ended = self.aborted = False
        self.changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Waits for room where it must; False when nobody will ever take the item."""
        with self.changed:
            if self.newest and len(self.items) >= self.size:
                self.items.popleft()
                self.dropped += 1
            self.changed.wait_for(lambda: self.aborted or len(self.items) < self.size)
            if not self.aborted:
                self.items.append(item)
            self.changed.notify_all()
            return not self.aborted

    def get(self, patience: float | None = None) -> Item:
        """The next item. Raises EndedError where none will come, and TimeoutError where none came
        for `patience` seconds."""
        with self.changed:
            there = self.changed.wait_for(
                lambda: self.items or self.ended or self.aborted, patience
            )
            if not there:
                raise TimeoutError
            if self.aborted or not self.items:
                raise EndedError
            item = self.items.popleft()
            self.changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Item]:
        while True:
            try:
                item = self.get()
            except EndedError:
                return
            yield item

    def end(self) -> None:
        """No item comes after those already in."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def abort(self) -> None:
        """Frees everyone who waits; what is still in is lost."""
        with self.changed:
            self.aborted = True
            self.changed.notify_all()
