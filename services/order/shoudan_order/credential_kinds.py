"""What this service keeps credentials for."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.kinds import CredentialKind

# A channel signs its calls with it; its notifies are signed with it, too, unless there is one for them.
CHANNEL: Final = CredentialKind("channel", "number of a down channel")
NOTIFY: Final = CredentialKind(
    "notify", "number of a down channel, whose notifies are signed with it"
)
KINDS: Final = (CHANNEL, NOTIFY)
