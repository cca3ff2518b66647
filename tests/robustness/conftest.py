"""The warm command line, one per test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import WarmCommand


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommand]:
    warm = WarmCommand(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()
