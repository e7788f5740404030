"""Whether the settings fit together, secret included; run it before anything else on a new machine."""

import os

from jobs.wiring import Refusal
from jobs.wiring.keys import key_ring
from schemas.settings import Settings


def main(settings: Settings, arguments: list[str]) -> int:
    """Check what loading leaves open: that there are usable pseudonym keys. The command line has printed the settings.

    Raises:
        Refusal: there are arguments, or no usable pseudonym key.
    """
    if arguments:
        raise Refusal(f'config takes no arguments, got "{" ".join(arguments)}"')
    key_ring(settings.pseudonyms, os.environ)
    return 0
