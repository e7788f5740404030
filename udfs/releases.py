"""Why a release is not let in."""


class RefusedRelease(ValueError):  # noqa: N818 - a verdict, named as operators read it
    """A catalogue, model or norms that must not decide anything; its message is a line with channel, place, remedy."""
