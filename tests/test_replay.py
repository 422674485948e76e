"""What VASE is compared with: replay as data, stored images, masks and dreams without inference."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vase import build, config
from vase.errors import ConfigError
from vase.lifelong.dream import DreamRule, Past, dream
from vase.lifelong.learner import Learner
from vase.lifelong.look import Here, look
from vase.lifelong.loss import terms, total
from vase.lifelong.memory import Environment
from vase.lifelong.replay import Replay, Reservoir, labelled
from vase.lifelong.settings import Settings
from vase.lifelong.state import restore, state
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.objective.atypicality import atypicality
from vase.objective.capacity import Capacity, CapacityRule, charge
from vase.objective.likelihood import reconstruction
from vase.objective.moments import Moments
from vase.records import Observation

SHAPE = Architecture(
    channels=1, height=32, width=32, latents=5, features=16, hidden=32, cells=16, fold=2
)
CPU = torch.device("cpu")
STORED = DreamRule(method="replay", stored=40)


def environment(index: int, mask: list[bool], capacity: float = 0.0) -> Environment:
    known = Moments(np.zeros(7), np.ones(7), 64)
    return Environment(index, np.array(mask), known, Capacity(capacity))


HERE = environment(0, [True] * 5, capacity=1.0)
THERE = environment(1, [True, False, True, False, True], capacity=3.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(**changes: object) -> Learner:
    return Learner(SHAPE, replace(Settings(), **changes), seed=0, device=CPU)  # type: ignore[arg-type]


def run(subject: Learner, steps: int) -> list[Observation]:
    """Images whose brightness grows: every batch is a little different."""
    return [
        subject.observe(torch.rand(8, 1, 32, 32, generator=generator(subject.step)))
        for _ in range(steps)
    ]


# ---- dreams as data ----------------------------------------------------------------------------


def test_replayed_dreams_are_learnt_as_if_they_were_data() -> None:
    """In one shared pass what a pass of their own gives: the negative evidence lower bound."""
    torch.manual_seed(0)
    nets, snapshot = Networks(SHAPE), Networks(SHAPE)
    dreamed = dream(snapshot, Past.of([HERE, THERE], "marginal", CPU), 6, generator())
    replay = labelled(dreamed.images, dreamed.environment, [HERE, THERE], generator())
    images, noise = torch.rand(4, 1, 32, 32), torch.randn(4, 5)
    seen = look(nets, images, Here.of(HERE, 2, CPU), noise, replay, "kl")

    used = gaussian.masked(nets.encoder(dreamed.images), replay.mask)
    z = gaussian.sample(used, replay.noise) * replay.mask
    logits = nets.decoder(z, dreamed.environment)
    expected = reconstruction(logits, dreamed.images).mean()
    torch.testing.assert_close(seen.past["replay_reconstruction"], expected)
    torch.testing.assert_close(seen.past["replay_kl"], gaussian.kl_to_prior(used).sum(1).mean())


def test_a_replayed_image_has_the_mask_of_its_environment() -> None:
    where = torch.tensor([0, 1, 1, 0])
    replay = labelled(torch.zeros(4, 1, 32, 32), where, [HERE, THERE], generator())
    expected = np.stack([[HERE, THERE][index].mask for index in where])
    np.testing.assert_array_equal(replay.mask, expected)


@pytest.mark.parametrize("entangled", [True, False])
def test_a_replayed_image_weighs_as_much_as_a_present_one(entangled: bool) -> None:
    torch.manual_seed(0)
    nets = Networks(SHAPE)
    rule = DreamRule(method="replay", share=0.5)
    settings = Settings(entangled=entangled, dream=rule, belief=0.0)
    replay = Replay(
        torch.rand(2, 1, 32, 32),
        torch.ones(2, dtype=torch.long),
        torch.as_tensor(THERE.mask).expand(2, 5),
        torch.randn(2, 5),
    )
    images, noise = torch.rand(4, 1, 32, 32), torch.randn(4, 5)
    seen = look(nets, images, Here.of(HERE, 2, CPU), noise, replay, "kl")

    def minimum(distortion: torch.Tensor, rate: torch.Tensor, capacity: float) -> torch.Tensor:
        return distortion + (rate if entangled else charge(rate, capacity, CapacityRule()))

    present = minimum(seen.distortion.mean(), seen.rate.mean(), 1.0)
    past = minimum(seen.past["replay_reconstruction"], seen.past["replay_kl"], 3.0)
    torch.testing.assert_close(total(terms(seen), 1.0, settings, 3.0), present + 0.5 * past)


# ---- stored images -----------------------------------------------------------------------------


def test_a_reservoir_is_a_uniform_sample_of_all_that_was_offered() -> None:
    """Each of 120 images is kept with probability 1/4, wherever in the stream it was."""
    kept = np.zeros(120)
    trials = 400
    source = generator()
    for _ in range(trials):
        reservoir = Reservoir(30)
        for start in range(0, 120, 8):
            numbers = torch.arange(start, start + 8, dtype=torch.float32)
            reservoir.add(numbers.view(8, 1, 1, 1), source)
        held = reservoir.images.flatten().long().numpy()
        assert len(np.unique(held)) == len(reservoir) == 30
        kept[held] += 1
    # Of a binomial with this mean, 5 standard deviations: one failure in 17,000 for 120 images.
    spread = np.sqrt(trials * 0.25 * 0.75)
    assert abs(kept - trials * 0.25).max() < 5 * spread
    assert abs(kept[:60].mean() - kept[60:].mean()) < 5 * spread / np.sqrt(30)


def test_an_empty_reservoir_gives_nothing_and_a_small_one_what_it_has() -> None:
    reservoir = Reservoir(100)
    assert reservoir.draw(4, HERE, generator()) is None
    reservoir.add(torch.full((3, 1, 2, 2), 0.5), generator())
    replay = reservoir.draw(50, HERE, generator())
    assert replay is not None
    assert replay.images.shape == (50, 1, 2, 2)
    assert (replay.images == 0.5).all()


def test_a_learner_that_stores_resumes_bit_for_bit() -> None:
    whole = learner(infer=False, masks=False, dream=STORED)
    run(whole, 9)
    part = learner(infer=False, masks=False, dream=STORED)
    restore(part, *state(whole))
    last = [run(subject, 6)[-1] for subject in (whole, part)]
    assert last[0] == last[1]
    assert "replay_reconstruction" in last[0].terms
    assert whole.reservoir is not None
    assert part.reservoir is not None
    assert whole.reservoir.seen == part.reservoir.seen == 15 * 8
    assert torch.equal(whole.reservoir.images, part.reservoir.images)


def test_a_learner_that_infers_stores_nothing() -> None:
    assert learner(dream=STORED).reservoir is None


# ---- letters without S -------------------------------------------------------------------------


def test_without_inference_masks_follow_every_batch() -> None:
    first = learner(infer=False, dreams=False)
    run(first, 1)
    limit = float(np.median(atypicality(first.memory.here.moments)[:5]))
    subject = learner(infer=False, dreams=False, atypical=limit)
    for step in range(6):
        run(subject, 1)
        alpha = atypicality(subject.memory.here.moments)[:5]
        np.testing.assert_array_equal(subject.memory.here.mask, alpha < limit)
        if step == 0:
            assert 0 < subject.memory.here.mask.sum() < 5


def test_without_masks_or_with_inference_they_do_not() -> None:
    for changes in ({"infer": False, "masks": False}, {"infer": True}):
        subject = learner(dreams=False, atypical=0.001, **changes)
        run(subject, 4)
        assert subject.memory.here.mask.all()


# ---- rows as presets ---------------------------------------------------------------------------

LETTERS = {
    "cci": "",
    "s": "S",
    "d": "D",
    "a": "A",
    "sa": "SA",
    "da": "DA",
    "sd": "SD",
    "sd-replay": "SD",
    "sda": "SDA",
}


@pytest.mark.parametrize(("part", "letters"), LETTERS.items())
def test_a_row_switches_on_the_letters_of_its_name(part: str, letters: str) -> None:
    settings = build.settings(config.load(f"toy+{part}"))
    on = {"S": settings.infer, "D": settings.dreams, "A": settings.masks}
    assert "".join(letter for letter in "SDA" if on[letter]) == letters.replace("AD", "DA")
    assert (settings.dream.method == "replay") == (part == "sd-replay")


@pytest.mark.parametrize("part", config.parts())
def test_every_part_says_what_it_is_and_goes_with_the_other_half(part: str) -> None:
    whole = config.load("toy")
    alone = config.load(f"toy+{part}")
    assert alone.description.startswith(f"{whole.description}; ")
    both = config.load(f"toy+{part}+entangled")
    assert build.settings(both).entangled
    assert both.model_copy(update={"objective": alone.objective, "description": ""}) == (
        alone.model_copy(update={"description": ""})
    )


def test_vase_is_the_preset_itself() -> None:
    assert build.settings(config.load("toy+sda")) == build.settings(config.load("toy"))


def test_an_unknown_part_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no part .* 'sd-reply'.* Did you mean 'sd-replay'"):
        config.load("toy+sd-reply")


def test_stored_images_need_a_learner_without_environments() -> None:
    with pytest.raises(ConfigError, match=r"set detection\.enabled=false"):
        config.load("toy", ["dreaming.stored=10", "dreaming.method=replay"])
