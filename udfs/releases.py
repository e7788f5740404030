"""Why a release is not let in."""


class RefusedRelease(ValueError):  # noqa: N818 - a verdict, named as operators read it
    """A catalogue or model that must not decide anything; the message is one line with channel, place and remedy."""
