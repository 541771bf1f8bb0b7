"""What this service keeps credentials for."""

from __future__ import annotations

from typing import Final

from shoudan_kit.credentials.kinds import CredentialKind
from shoudan_signing import goofish

# A channel signs its calls with it; its notifies are signed with it, too, unless there is one for them.
CHANNEL: Final = CredentialKind("channel", "number of a down channel")
NOTIFY: Final = CredentialKind(
    "notify", "number of a down channel, whose notifies are signed with it"
)
# The application of the 虚拟货源 interface; its platform gives the secret, merchants have channel secrets.
GOOFISH: Final = CredentialKind(
    goofish.CREDENTIAL, "app_id of the platform's application", drawn=False
)
ENDPOINT: Final = CredentialKind(
    "endpoint", "number of a notify endpoint, which is sent what is signed with it"
)
KINDS: Final = (CHANNEL, NOTIFY, ENDPOINT, GOOFISH)
