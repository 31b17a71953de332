"""What the person watching may change while it runs: hide, pause, step, save, quit."""

from collections.abc import Sequence

HELP = "space pause, n step, 1-9 hide or show an output, s save the frame, q quit"


class Controls:
    """Shared by the window, the page and the loop. Fields are only ever replaced whole, so one
    thread may read while another writes."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self.outputs = tuple(outputs)
        self.hidden: frozenset[str] = frozenset()
        self.paused = self.step = self.save = self.quit = self.interrupted = False

    def toggle(self, name: str) -> None:
        """Hides an output, or shows it again; an unknown name does nothing."""
        if name in self.outputs:
            self.hidden ^= {name}

    def key(self, key: str) -> None:
        """Acts on a key of the window."""
        if key == " ":
            self.paused = not self.paused
        elif key == "n":
            self.paused = self.step = True
        elif key == "s":
            self.save = True
        elif key in ("q", "\x1b"):
            self.quit = True
        elif key.isdigit() and 1 <= int(key) <= len(self.outputs):
            self.toggle(self.outputs[int(key) - 1])
