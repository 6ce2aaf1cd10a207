"""The links over which one attempt at a test case goes, and the time between them."""


class Links:
    """Where the station is heard. ``cut_us`` is the first end of a link, ``restored_us`` the last opening."""

    def __init__(self, link: str) -> None:
        self.link = link
        self.left = ""
        self.down = False
        self.cut_us: int | None = None
        self.restored_us: int | None = None

    @property
    def outage_s(self) -> float | None:
        """How long the station was away, in seconds."""
        if self.cut_us is None or self.restored_us is None:
            return None
        return (self.restored_us - self.cut_us) / 1e6

    def end(self, at_us: int) -> None:
        """The link is gone."""
        self.down = True
        self.cut_us = self.cut_us if self.cut_us is not None else at_us

    def move(self, link: str, at_us: int) -> None:
        """The station is back over another one."""
        self.left, self.link, self.down = self.link, link, False
        self.restored_us = at_us
