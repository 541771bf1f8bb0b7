"""What a call may come to besides its answer."""

from __future__ import annotations


class Failed(Exception):
    """A call without the answer it asked for; the subclass says what to do."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        advice: str = "",
        status: int = 0,
        request_id: str = "",
    ) -> None:
        """`code` and `advice` are those of the answer's headers; `request_id` finds it in `requests`."""
        super().__init__(message)
        self.code, self.advice = code, advice
        self.status, self.request_id = status, request_id


class Refused(Failed):
    """It will not be accepted as it is: change the call, or take another number where `advice` says so."""


class Busy(Failed):
    """Nothing was begun, however often it was tried: the same call may be made later."""


class Unknown(Failed):
    """What became of it is not known. Ask, or call with the same number, later; never with another."""
