"""The warm command line, one per test file, and a tree with one healthy file to patch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import USE, WarmCommand


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommand]:
    warm = WarmCommand(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "project"
    root.mkdir()
    (root / "healthy.py").write_bytes(USE)
    yield root
    for path, directories, _ in os.walk(root):  # so that pytest can remove it
        for name in directories:
            os.chmod(os.path.join(path, name), 0o755, follow_symlinks=True)
