"""What the tests of plans know of finance's statements: which index is theirs, and which read one whole."""

from __future__ import annotations

from typing import Final

_STORE: Final = "shoudan_finance.store"

WHOLE: Final = {
    f"{_STORE}.days._LAST": "the newest one, from the end of the key",
    f"{_STORE}.days._WAITS": "the first row of an index of the days that are not complete",
    f"{_STORE}.days._OPEN": "an index of the days that are not complete",
    f"{_STORE}.trades._LAST": "the newest one, from the end of the key",
    f"{_STORE}.bill_facts._FIRST_DAY": "the oldest one, from the beginning of the key",
    f"{_STORE}.bill_facts._NEWEST_DAY": "the newest one, from the end of the key",
    f"{_STORE}.trades._OPEN": "an index of the days that do not agree yet",
    f"{_STORE}.entries._CLEAR": "an index of accounts in clear, which no new row has",
}
HOT: Final = {
    **{
        f"{_STORE}.movements.{name}": {"movement_pkey"}
        for name in ("_REACHED", "_SUMS", "_ENDS", "_PAGE", "_OF_ACCOUNT")
    },
    f"{_STORE}.days._ACCOUNTS": {"account_fact_pkey"},
    f"{_STORE}.entries._KNOWN": {"entry_once"},
    f"{_STORE}.exceptions._LOCK": {"exception_pkey"},
    f"{_STORE}.matches._PAGE": {"entry_unmatched"},
    f"{_STORE}.matches._LOCK": {"entry_pkey"},
    f"{_STORE}.matches._MOVE": {"entry_pkey"},
    f"{_STORE}.trades._ALL": {"trade_pkey"},
    f"{_STORE}.trades._OF_DOWN": {"trade_down"},
    f"{_STORE}.trades._OF_UP": {"trade_up"},
    f"{_STORE}.trades._MONEY": {"trade_money_no"},
    f"{_STORE}.trades._OWNERS": {"account_fact_of"},
}
