"""From history and trials to a model folder, and from a model to predictions: where uplift and cf are joined.

model = train("trial.csv", columns={"coupon": "segment"}, control="No E-Mail")
model.save("model/")
model = load_model("model/")
model.predict(users, campaign)   # purchases without and with each coupon, baskets, redemption, errors
score(model, users, campaign)    # a table of offers
"""

from allocator.learning.candidates import (
    Candidate,
    LogisticCandidate,
    NetworkCandidate,
    PooledCandidate,
    default_candidates,
    quick_candidates,
)
from allocator.learning.card import Card
from allocator.learning.model import Model, Prediction
from allocator.learning.offers import score
from allocator.learning.storing import load_model
from allocator.learning.training import train
from allocator.learning.trials import TrialArrays, read_trial

__all__ = [
    "Candidate",
    "Card",
    "LogisticCandidate",
    "Model",
    "NetworkCandidate",
    "PooledCandidate",
    "Prediction",
    "TrialArrays",
    "default_candidates",
    "load_model",
    "quick_candidates",
    "read_trial",
    "score",
    "train",
]
