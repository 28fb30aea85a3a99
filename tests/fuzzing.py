"""How many examples the laws are tried on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings

Test = TypeVar("Test", bound=Callable[..., None])
SHARE = 1 if os.environ.get("FUZZ") == "all" else 5


def tried_on(many: int, **more: Any) -> Callable[[Test], Test]:
    """Try a law on so many examples in `.ci/run` (FUZZ=all, -m fuzz), on a fifth of them by default."""

    def decorate(test: Test) -> Test:
        marked: Test = pytest.mark.fuzz(settings(max_examples=many // SHARE, deadline=None, **more)(test))
        return marked

    return decorate
