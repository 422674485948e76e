"""Records of environments: what is kept of each, and what of all of them."""

from typing import Any

import numpy as np
import pytest
from hand_made import environment

from vase.lifelong.environments import Environment, Environments

FIRST, SECOND = environment(0, latents=2, kl=[0.5]), environment(1, latents=2, kl=[1, 2])
RECORDS = Environments().enter(SECOND).enter(FIRST)


def test_records_survive_json_and_say_what_is_absent() -> None:
    again = Environments.from_json(RECORDS.to_json())
    assert again.current == 0
    assert [known.index for known in again] == [0, 1]
    assert [known.index for known in again.absent] == [1]
    assert again.present.kl.tolist() == [0.5]
    assert again.to_json() == RECORDS.to_json()


def test_numbers_without_a_point_are_numbers_too() -> None:
    """Other programs write 1 for 1.0; averages of whole numbers are none."""
    saved = {**RECORDS.present.to_json(), "mean": [0] * 4, "variance": [1] * 4, "kl": [1, 2]}
    known = Environment.from_json(saved)
    kinds = {each.dtype for each in (known.moments.mean, known.moments.variance, known.kl)}
    assert kinds == {np.dtype(float)}


@pytest.mark.parametrize(
    "wrong",
    [{"index": "0"}, {"index": -1}, {"batches": 1.5}, {"count": -1.0}, {"variance": [1, 1, 1, -1]}],
)
def test_numbers_that_no_environment_has_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="environment"):
        Environment.from_json({**RECORDS.present.to_json(), **wrong})


def test_a_record_is_removed_by_its_id() -> None:
    assert [known.index for known in RECORDS.without(1, 0)] == [0]
    assert [known.index for known in RECORDS.without(0, 1)] == [1]
    assert RECORDS.without(0, 1).present.index == 1


def test_the_most_kl_is_of_any_environment_but_one() -> None:
    first = environment(0, masked=(2,), latents=3, kl=[3.0, 0.4, 9.0])
    second = environment(1, latents=3, kl=[1.0, 2.0, 0.0])
    fresh = environment(2, latents=3)  # nothing learnt yet
    environments = Environments.of([first, second, fresh], 2)
    assert environments.most_kl(2).tolist() == [3.0, 2.0, 0.0]
    assert environments.most_kl(1).tolist() == [3.0, 0.0, 0.0]
