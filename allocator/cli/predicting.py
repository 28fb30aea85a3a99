"""From the command line's words to offers that a model made: checks first, heavy packages after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from allocator.cli import exits
from allocator.cli.screen import Screen
from allocator.errors import UsageError

if TYPE_CHECKING:
    from allocator.campaign import Campaign
    from allocator.learning.streaming import Scored
    from allocator.tables.model_folder import History, ModelFolder

ALONE = "--products tells what kinds of things users buy; that needs --transactions too"


@dataclass(frozen=True, eq=False)
class Ready:
    """What to score with: checked as far as that needs no model."""

    folder: ModelFolder
    campaign: Campaign
    users: str
    history: History


def ready(model: str | Path, users: str, campaign: Campaign, transactions: str | None, products: str | None) -> Ready:
    """Check what a model is to be used with.

    A planner who forgot an option is told at once: TensorFlow, which takes seconds to load, is not needed for that.

    Raises
    ------
    UsageError
        Where the folder holds no model, or the model needs something that is neither given nor known.
    DataError
        Where the model is damaged, or there is no such file.
    """
    from allocator.scoring import check_basket
    from allocator.tables.files import files_of
    from allocator.tables.model_folder import read_model_folder

    if products is not None and transactions is None:
        raise UsageError(ALONE)
    exits.check_learning()
    folder = read_model_folder(model)
    history = folder.history(transactions, products)
    check_basket(folder.knows_baskets, campaign.campaign.basket)
    for path in (users, history.transactions, history.products):
        if path is not None:
            files_of(path)
    return Ready(folder, campaign, users, history)


def predict(
    inputs: Ready,
    target: Path,
    screen: Screen,
    *,
    draws: int = 0,
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
) -> Scored:
    """Score the users into a file, and tell on stderr what a reader of the offers should know."""
    if inputs.folder.is_network:
        exits.load_tensorflow()
    from allocator.learning import load_model
    from allocator.learning.offers import Scorer
    from allocator.learning.past import Past
    from allocator.learning.streaming import score_file

    with screen.stage("score"):
        history = inputs.history
        past = None if history.transactions is None else Past.read(history.transactions, history.products)
        scorer = Scorer(load_model(inputs.folder.path), inputs.campaign, draws, seed, past)
        made = score_file(scorer, inputs.users, target, resume=resume, force=force, progress=screen.progress)
    for note in (*history.notes, *made.notes):
        screen.note(note)
    return made
