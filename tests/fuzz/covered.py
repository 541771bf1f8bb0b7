"""One area under coverage-guided fuzzing (atheris): `python -m tests.fuzz.covered AREA PACKAGES OPTION…`.

PACKAGES is where atheris is installed, beside ours; the options are libFuzzer's. Every input is given to one
parser of the area; what it may not do ends the run with an error, and libFuzzer writes the input down.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

OURS = ("shoudan_kit", "shoudan_gateway", "shoudan_signing", "shoudan_erp_ingest")
OURS += ("shoudan_delivery", "shoudan_finance", "shoudan_order")


def main() -> None:
    """Until the time that the options give is over."""
    _, area, packages, *options = sys.argv
    sys.path.append(packages)
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=list(OURS)):
        tried = import_module("tests.fuzz.areas").tried
    atheris.Setup([area, *options], partial(tried, area))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
