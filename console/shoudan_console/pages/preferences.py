"""What a browser remembers of its operator's taste: language and theme."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from shoudan_console.language import LANGUAGES
from shoudan_console.page import Page
from shoudan_console.visits import THEMES, Visit, local

YEAR_S: Final = 31_536_000


async def act(visit: Visit) -> Response:
    """Keep language or theme in a cookie, and go back."""
    response = visit.redirect(local(visit.form.get("next", "/")))
    for name, known in (("lang", tuple(LANGUAGES)), ("theme", THEMES)):
        value = visit.form.get(name, "")
        if value in known:
            response.set_cookie(
                name,
                value,
                max_age=YEAR_S,
                secure=visit.site.settings.secure,
                httponly=True,
                samesite="lax",
            )
    return response


PAGES: Final = (Page("/preferences", act=act, open=True, enrolling=True),)
