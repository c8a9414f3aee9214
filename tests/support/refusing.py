"""How the tests say that a source is refused."""

import pytest

from tdedge.errors import UsageError
from tdedge_exporters.capture import capture


def refused(path, match, **options):
    with pytest.raises(UsageError, match=match) as caught:
        capture(path, **options)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))
