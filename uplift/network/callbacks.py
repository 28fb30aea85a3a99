"""Ways to watch a training: give them to `fit(on_epoch=...)`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from uplift.errors import UpliftError
from uplift.network.settings import Progress


def tensorboard(folder: str | Path) -> Callable[[Progress], None]:
    """Write the loss of each stage for TensorBoard; raises `UpliftError` where it is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UpliftError("TensorBoard is not installed: pip install tensorboard")
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))

    def write(progress: Progress) -> None:
        with writer.as_default():
            tf.summary.scalar(f"{progress.stage}/loss", progress.loss, step=progress.epoch)
        writer.flush()

    return write


@contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """Show a bar a stage on stderr while inside `with bar() as on_epoch`; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    with Bars(console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, object] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.epochs)
            bars.update(tasks[progress.stage], completed=progress.epoch)  # type: ignore[arg-type]

        yield show
