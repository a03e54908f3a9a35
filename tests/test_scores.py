"""What a search maximises: pure functions of measurements, frozen as data."""

import json
import math
from typing import Any

import numpy as np
import pytest

from lanas import LaNAS
from lanas.errors import UserError
from lanas.history import History
from lanas.scores import PLAIN, Score, make, score_from_data
from lanas.trials import Trial
from tests import toys

MEASURED = {"accuracy": 0.8, "soft": 0.6, "macs": 100.0, "loss": 0.5}
LEARNED = {"intercept": 0.5, "measurements": {"soft": 2.0}, "logs": {"macs": -0.25}}


def test_a_score_is_a_function_of_what_was_measured() -> None:
    assert make("accuracy")(MEASURED) == 0.8 and make("soft")(MEASURED) == 0.6
    assert make("loss")(MEASURED) == make("loss", lower=True)(MEASURED) == -0.5, "less is better"
    assert make("loss", lower=False)(MEASURED) == 0.5
    assert make("rmse", lower=True)({"rmse": 2.0}) == -2.0
    assert make("f1_score")({"f1_score": 0.25}) == 0.25
    learned = make("learned", settings=LEARNED)(MEASURED)
    assert learned == pytest.approx(0.5 + 1.2 - 0.25 * math.log(100))


@pytest.mark.parametrize("score", [make("soft"), make("soft", size_prior=5, median_macs=10),
                                   make("learned", settings=LEARNED), PLAIN])  # fmt: skip
def test_what_was_not_measured_gives_no_score(score: Score) -> None:
    assert math.isnan(score({"accuracy": 0.8}))
    assert math.isnan(score({"soft": 0.8})) == (score != make("soft"))


@pytest.mark.parametrize("name", ["accuracy", "soft", "f1", "learned"])
@pytest.mark.parametrize(("macs", "left"), [(25, 1 / 0.8**2), (100, 1.0), (800, 0.8**3)])
def test_a_size_prior_takes_a_share_off_the_error_for_every_doubling(
    name: str, macs: float, left: float
) -> None:
    settings = {"intercept": 0.0, "measurements": {"soft": 1.0}, "logs": {}}
    score = make(
        name, size_prior=20, median_macs=100, settings=settings if name == "learned" else {}
    )
    measured = {"accuracy": 0.75, "soft": 0.75, "f1": 0.75, "macs": macs}
    assert score(measured) == pytest.approx(1 - 0.25 * left)
    assert score(measured | {"macs": 0}) == -math.inf


def test_no_prior_is_the_plain_score() -> None:
    assert (
        make("soft", size_prior=0, median_macs=5) == make("soft", size_prior=None) == Score("soft")
    )


@pytest.mark.parametrize("score", [PLAIN, make("soft", size_prior=5, median_macs=4e7),
                                   make("learned", settings=LEARNED)])  # fmt: skip
def test_data_says_the_whole_score(score: Score) -> None:
    data = json.loads(json.dumps(score.to_data()))
    assert score_from_data(data) == score
    assert {"name", "version", "settings"} <= data.keys()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is no score"),
        ({"name": 3}, "is no score"),
        ({"name": "soft", "version": 2}, "score soft of version 2; this is version 1"),
        ({"name": "soft"}, "version None"),
        ({"name": "wiser", "formula": "wiser", "version": 1}, "unknown score 'wiser'"),
        ({"name": "../x", "version": 1}, "measurement's name"),
        ({"name": "soft", "version": 1, "settings": []}, "settings"),
        ({"name": "soft", "version": 1, "settings": {"weight": 1}}, "soft has no setting weight"),
        ({"name": "soft", "version": 1, "settings": {"size_prior": 5}}, "median_macs None"),
        ({"name": "soft", "version": 1, "settings": {"size_prior": 100, "median_macs": 1}}, "100"),
        ({"name": "loss", "version": 1, "settings": {"size_prior": 5, "median_macs": 1}}, "lower"),
        ({"name": "learned", "version": 1}, "learned needs intercept"),
        ({"name": "learned", "version": 1, "settings": LEARNED | {"logs": {"macs": math.nan}}},
         "finite"),
        ({"name": "learned", "version": 1, "settings": LEARNED | {"logs": {"macs": "1"}}},
         "finite"),
        ({"name": "learned", "version": 1, "settings": LEARNED | {"logs": [1]}}, "coefficient"),
        ({"name": "learned", "version": 1,
          "settings": {"intercept": 1, "measurements": {}, "logs": {}}}, "at least one"),
    ],
)  # fmt: skip
def test_data_of_no_score_is_refused_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        score_from_data(data)
    assert "\n" not in str(caught.value)


# -- where it is applied -------------------------------------------------------------------------


def test_the_score_is_applied_when_trials_are_told() -> None:
    history = History(toys.plain(1, 4), ("score", "macs"), make("soft"))
    history.add([Trial((0,), MEASURED), Trial((1,), {"macs": 5.0}, error="failed")])
    assert history.scores[0] == 0.6 and history.points[0].tolist() == [0.6, -100]
    assert np.isnan(history.scores[1]) and np.isnan(history.points[1]).all()
    with pytest.raises(UserError, match="no measurement 'soft', which this search needs"):
        history.add([Trial((2,), {"accuracy": 0.5, "macs": 5.0})])
    with pytest.raises(UserError, match="no measurement 'macs'"):
        history.add([Trial((2,), {"soft": 0.5})])
    assert len(history.archs) == 2, "nothing is half remembered"


def test_whole_numbers_and_failures_without_costs_are_trials() -> None:
    """An int score is a score; nan without the costs that are objectives is a failed trial."""
    space = toys.plain(3, 3)
    optimiser = LaNAS(space, seed=0, objectives=("score", "cost"))
    optimiser.tell([toys.scored((0, 0, 0), 1, {"cost": 2}), toys.failed((1, 0, 0), nan=True)])
    optimiser.tell([toys.failed((2, 0, 0))])
    history = optimiser.history
    assert history.points[0].tolist() == [1, -2]
    assert np.isnan(history.points[1:]).all()
    assert (history.rewards[0] > history.rewards[1:]).all()
