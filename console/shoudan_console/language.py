"""The languages of the console: Chinese first, and English, in which its texts are written."""

from __future__ import annotations

import gettext
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

LOCALE: Final = Path(__file__).with_name("locale")
DOMAIN: Final = "console"
LANGUAGES: Final = {"zh": "中文", "en": "English"}
DEFAULT: Final = "zh"
HTML: Final = {"zh": "zh-CN", "en": "en"}


@cache
def translations(language: str) -> gettext.NullTranslations:
    """The texts of a language."""
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALE, [language])


def texts(language: str) -> Callable[[str], str]:
    """What gives a text in this language."""
    return translations(language).gettext


def chosen(cookie: str, accepted: str) -> str:
    """The language of a browser: what its operator chose, else the first of ours that it names."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(",")[:20]:
        named = part.partition(";")[0].strip().lower().partition("-")[0]
        if named in LANGUAGES:
            return named
    return DEFAULT
