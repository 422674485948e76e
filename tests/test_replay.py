"""What VASE is compared with: replay as data, stored images, masks and replay without detection."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from vase import config
from vase.errors import ConfigError
from vase.lifelong.environments import Environment
from vase.lifelong.learner import Learner
from vase.lifelong.replay import Reservoir
from vase.lifelong.state import restore, state
from vase.nets import Architecture
from vase.objective.atypicality import atypicality
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.records import Observation
from vase.settings import LearnerSettings

ARCHITECTURE = Architecture(
    channels=1, height=32, width=32, latents=5, encoder_channels=16, hidden=32,
    decoder_channels=16, space_to_depth=2,
)  # fmt: skip
CPU = torch.device("cpu")
STORED = {"method": "replay", "stored_images": 40}


HERE = Environment(0, np.ones(5, bool), Moments(np.zeros(7), np.ones(7), 64), Capacity(1.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(**sections: Mapping[str, Any]) -> LearnerSettings:
    """Settings by section, such as replay={"ratio": 0.25}."""
    return LearnerSettings.model_validate(sections)


def learner(**sections: Mapping[str, Any]) -> Learner:
    return Learner(ARCHITECTURE, settings(**sections), seed=0, device=CPU)


SINGLE = {"rule": "none"}
OFF = {"enabled": False}


def run(subject: Learner, steps: int) -> list[Observation]:
    """Images whose brightness grows: every batch is a little different."""
    return [
        subject.observe(torch.rand(8, 1, 32, 32, generator=generator(subject.step)))
        for _ in range(steps)
    ]


# ---- stored images -----------------------------------------------------------------------------


def test_a_reservoir_is_a_uniform_sample_of_all_that_was_offered() -> None:
    """Each of 120 images is kept with probability 1/4, wherever in the stream it was."""
    kept = np.zeros(120)
    draws = 400
    source = generator()
    for _ in range(draws):
        reservoir = Reservoir(30)
        for start in range(0, 120, 8):
            numbers = torch.arange(start, start + 8, dtype=torch.float32)
            reservoir.add(numbers.view(8, 1, 1, 1), source)
        stored = reservoir.images.flatten().long().numpy()
        assert len(np.unique(stored)) == len(reservoir) == 30
        kept[stored] += 1
    # Of a binomial with this mean, 5 standard deviations: one failure in 17,000 for 120 images.
    spread = np.sqrt(draws * 0.25 * 0.75)
    assert abs(kept - draws * 0.25).max() < 5 * spread
    assert abs(kept[:60].mean() - kept[60:].mean()) < 5 * spread / np.sqrt(30)


def test_a_reservoir_keeps_what_algorithm_r_says() -> None:
    """Image number t takes the place floor(u (t + 1)), if there is such a one."""
    reservoir, slow = Reservoir(5), list(range(5))
    for start in range(0, 80, 8):
        numbers = torch.arange(start, start + 8, dtype=torch.float32)
        reservoir.add(numbers.view(8, 1, 1, 1), generator(start))
        for t, u in enumerate(torch.rand(8, generator=generator(start)).tolist(), start):
            if t >= 5 and (place := int(u * (t + 1))) < 5:
                slow[place] = t
    assert reservoir.images.flatten().tolist() == slow


def test_an_empty_reservoir_gives_nothing_and_a_small_one_what_it_has() -> None:
    reservoir = Reservoir(100)
    assert reservoir.draw(4, HERE, generator()) is None
    reservoir.add(torch.full((3, 1, 2, 2), 0.5), generator())
    replay = reservoir.draw(50, HERE, generator())
    assert replay is not None
    assert replay.images.shape == (50, 1, 2, 2)
    assert (replay.images == 0.5).all()


def test_a_learner_that_stores_resumes_bit_for_bit() -> None:
    whole = learner(detection=SINGLE, masks=OFF, replay=STORED)
    run(whole, 9)
    part = learner(detection=SINGLE, masks=OFF, replay=STORED)
    restore(part, *state(whole))
    last = [run(subject, 6)[-1] for subject in (whole, part)]
    assert last[0] == last[1]
    assert "replay_reconstruction" in last[0].terms
    assert whole.reservoir is not None
    assert part.reservoir is not None
    assert whole.reservoir.seen == part.reservoir.seen == 15 * 8
    assert torch.equal(whole.reservoir.images, part.reservoir.images)


def test_a_learner_that_infers_stores_nothing() -> None:
    assert learner(replay=STORED).reservoir is None


# ---- letters without S -------------------------------------------------------------------------


def test_without_inference_masks_follow_every_batch() -> None:
    first = learner(detection=SINGLE, replay=OFF)
    run(first, 1)
    limit = float(np.median(atypicality(first.environments.present.moments)[:5]))
    subject = learner(detection=SINGLE, replay=OFF, masks={"threshold": limit})
    for step in range(6):
        run(subject, 1)
        alpha = atypicality(subject.environments.present.moments)[:5]
        np.testing.assert_array_equal(subject.environments.present.mask, alpha < limit)
        if step == 0:
            assert 0 < subject.environments.present.mask.sum() < 5


def test_without_masks_or_with_inference_they_do_not() -> None:
    for changes in ({"detection": SINGLE, "masks": OFF}, {"masks": {"threshold": 0.001}}):
        subject = learner(replay=OFF, **changes)
        run(subject, 4)
        assert subject.environments.present.mask.all()


# ---- rows as presets ---------------------------------------------------------------------------

LETTERS = {
    "cci": "", "s": "S", "d": "D", "a": "A", "sa": "SA", "da": "DA", "sd": "SD", "sd-replay": "SD",
    "sda": "SDA",
}  # fmt: skip


@pytest.mark.parametrize(("part", "letters"), LETTERS.items())
def test_a_row_switches_on_the_letters_of_its_name(part: str, letters: str) -> None:
    settings = config.load(f"toy+{part}")
    on = {
        "S": settings.detection.enabled,
        "D": settings.replay.enabled,
        "A": settings.masks.enabled,
    }
    assert "".join(letter for letter in "SDA" if on[letter]) == letters.replace("AD", "DA")
    assert (settings.replay.method == "replay") == (part == "sd-replay")


@pytest.mark.parametrize("part", config.parts())
def test_every_part_says_what_it_is_and_goes_with_the_other_half(part: str) -> None:
    whole = config.load("toy")
    alone = config.load(f"toy+{part}")
    assert alone.description.startswith(f"{whole.description}; ")
    both = config.load(f"toy+{part}+entangled")
    assert both.objective.kind == "vae"
    assert both.model_copy(update={"objective": alone.objective, "description": ""}) == (
        alone.model_copy(update={"description": ""})
    )


def test_vase_is_the_preset_itself() -> None:
    vase, toy = config.load("toy+sda"), config.load("toy")
    assert vase.model_copy(update={"description": toy.description}) == toy


def test_an_unknown_part_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no part .* 'sd-reply'.* Did you mean 'sd-replay'"):
        config.load("toy+sd-reply")


def test_stored_images_need_a_learner_without_environments() -> None:
    with pytest.raises(ConfigError, match=r"set detection\.rule=none"):
        config.load("toy", ["replay.stored_images=10", "replay.method=replay"])
