"""Training that was cut off goes on from the last whole epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uplift.errors import ModelFileError


def fingerprint(arrays: Iterable[np.ndarray], settings: object) -> str:
    """Hash of what is trained on and how: a checkpoint of anything else must not be gone on from."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of training is kept, one file a stage, each replaced as a whole.

    Attributes
    ----------
    folder
        Made where it does not exist.
    key
        From `fingerprint`.
    """

    folder: Path
    key: str

    def keep(self, stage: str, epoch: int, variables: list[Any]) -> None:
        """Write the state after so many epochs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {f"v{i}": variable.numpy() for i, variable in enumerate(variables)}
        partial = self.folder / f"{stage}.partial"
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, key=np.array(self.key), epoch=np.array(epoch), **arrays)
        partial.replace(self.folder / f"{stage}.npz")

    def restore(self, stage: str, variables: list[Any]) -> int:
        """Read the state, if there is one of the same data and settings; return the epochs that are done."""
        path = self.folder / f"{stage}.npz"
        if not path.exists():
            return 0
        try:
            with np.load(path) as state:
                if str(state["key"]) != self.key:
                    raise ModelFileError(
                        f"{path} was left by a training on other data or settings; "
                        "give another checkpoint folder or empty this one"
                    )
                for i, variable in enumerate(variables):
                    variable.assign(state[f"v{i}"])
                return int(state["epoch"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ModelFileError(f"{path} is no whole checkpoint ({error}); empty the folder to start again") from error
