"""The learner and its parts: order of events, masks, replay, and exact resumption."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import environment

from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.domains.stream import Schedule, Stream
from vase.errors import CheckpointError, VaseError
from vase.lifelong.evaluation import batch_moments, reconstruct, to_moments
from vase.lifelong.learner import Learner
from vase.lifelong.replay import PastEnvironments, ReplayBatch
from vase.lifelong.state import averaged_networks, averaged_weights, restore, state
from vase.lifelong.weights import grown
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.records import Observation
from vase.settings import LearnerSettings

SIDE = 16
ARCHITECTURE = Architecture(
    channels=1,
    height=SIDE,
    width=SIDE,
    latents=5,
    encoder_channels=16,
    hidden=64,
    decoder_channels=32,
    space_to_depth=2,
)
CPU = torch.device("cpu")
State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def networks(seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return Networks(ARCHITECTURE)


VARYING = {"latents": 5, "mean": np.linspace(-1, 1, 7), "variance": np.linspace(0.1, 1, 7)}
ALL = environment(0, **VARYING)
SOME = environment(1, masked=(1, 3), **VARYING)

SWITCH = 250
DOMAINS = {
    "moving": CanvasDomain("moving", sprites("solids", 200, SIDE // 2, 0), SIDE, moving=True),
    "resting": CanvasDomain("resting", sprites("strokes", 200, SIDE // 2, 0), SIDE),
}
# Moving solids, then strokes at rest.
TOY = Stream(Schedule.of([("moving", SWITCH), ("resting", SWITCH)]), DOMAINS, 64, 0)


def shown(step: int) -> torch.Tensor:
    return torch.from_numpy(TOY.batch(step)[0])


QUICK = LearnerSettings.model_validate(
    {
        "training": {"learning_rate": 2e-3},
        "objective": {"c_increment": 0.05},
        "detection": {"window": 64, "min_visit": 4000},  # images: longer than the visits here
    }
)
# In terms of settings, what tests call by a word.
WORDS = {
    "entangled": lambda on: {"objective.kind": "vae" if on else "capacity"},
    "classifier_weight": lambda weight: {"objective.classifier_weight": weight},
    "infer": lambda on: {"detection.rule": "blocks" if on else "none"},
    "masks": lambda on: {"masks.enabled": on},
    "replay": lambda on: {"replay.enabled": on},
}


def changed(**changes: Any) -> LearnerSettings:
    """`QUICK` with changes: words of `WORDS`, or settings as `section__name`."""
    values = QUICK.model_dump()
    for word, value in changes.items():
        known = WORDS.get(word, lambda v, word=word: {word.replace("__", "."): v})
        for name, new in known(value).items():
            part, key = name.split(".")
            values[part][key] = new
    return LearnerSettings.model_validate(values)


def learner(**changes: Any) -> Learner:
    return Learner(ARCHITECTURE, changed(**changes), seed=0, device=CPU)


def run(subject: Learner, until: int, stream: Stream = TOY) -> list[Observation]:
    return [
        subject.observe(torch.from_numpy(stream.batch(step)[0]))
        for step in range(subject.step, until)
    ]


@pytest.fixture(scope="module")
def at_the_switch() -> State:
    """The state of a learner that has learnt the first domain and not yet seen the second."""
    subject = learner()
    run(subject, SWITCH)
    return state(subject)


def resumed(saved: State, **changes: Any) -> Learner:
    subject = learner(**changes)
    restore(subject, *saved)
    return subject


# ---- replay ------------------------------------------------------------------------------------


def test_replayed_latents_follow_the_environment_s_own_marginals_and_mask() -> None:
    choice = torch.arange(2).repeat_interleave(50_000)
    noise = torch.randn(100_000, 5, generator=torch.Generator().manual_seed(0))
    z = PastEnvironments.of([ALL, SOME], "marginal", noise.device).latents(choice, noise)
    first, second = z[:50_000], z[50_000:]
    np.testing.assert_allclose(first.mean(0), ALL.moments.mean[:5], atol=0.02)
    np.testing.assert_allclose(first.var(0), ALL.moments.variance[:5], atol=0.02)
    assert (second[:, ~SOME.mask] == 0).all()
    assert (second[:, SOME.mask] != 0).all()


# ---- the forward pass --------------------------------------------------------------------------


def test_moments_are_those_of_the_mixture() -> None:
    """Against samples of every image's posterior."""
    nets = networks()
    images = torch.rand(50, 1, SIDE, SIDE)
    with torch.no_grad():
        posterior = nets.encoder(images)
        noise = torch.randn(4000, 50, 5, generator=torch.Generator().manual_seed(0))
        z = gaussian.sample(posterior, noise).reshape(-1, 5)
        table = batch_moments(*reconstruct(nets, images, ALL, torch.zeros(50, 5)))
    seen = to_moments(table, 50)
    np.testing.assert_allclose(seen.mean[:5], z.mean(0), atol=0.02)
    np.testing.assert_allclose(seen.variance[:5], z.var(0), rtol=0.02)


def test_averaged_weights_are_read_alone_and_only_where_they_fit() -> None:
    subject = learner()
    tensors, shape = averaged_weights(subject), subject.architecture
    tensors["networks.encoder.posterior.bias"] = torch.zeros(1)  # of what is trained: not looked at
    read = averaged_networks(tensors, shape.model_copy(update={"environments": 3}))
    assert read.architecture == shape
    for name, value in read.state_dict().items():
        assert torch.equal(value, tensors[f"average.{name}"])
    assert not any(weight.requires_grad for weight in read.parameters())
    assert not read.training
    short = {**tensors, "average.encoder.posterior.bias": torch.zeros(3)}
    without = {name: value for name, value in tensors.items() if "posterior.bias" not in name}
    odd = {**tensors, "average.other": torch.zeros(1)}
    for wrong, name in ((short, "encoder.posterior.bias"), (without, "encoder.posterior.bias"),
                        (odd, "other")):  # fmt: skip
        with pytest.raises(CheckpointError, match=rf"see '{name}'"):
            averaged_networks(wrong, shape)
    huge = shape.model_copy(update={"hidden": 10**7, "encoder_channels": 10**5})
    with pytest.raises(CheckpointError, match="not those of a model shaped"):
        averaged_networks(tensors, huge)  # without taking terabytes for it


def test_of_what_is_replayed_a_process_gets_its_rows(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    run(subject, SWITCH + 12)
    found = []
    for rows in (slice(None), slice(2, 4)):
        subject.generator.manual_seed(7)
        found.append(subject.replay(6, subject.context().past, rows))
    whole, part = found
    assert isinstance(whole, ReplayBatch)
    assert isinstance(part, ReplayBatch)
    assert torch.equal(part.z, whole.z[2:4])
    torch.testing.assert_close(part.images, whole.images[2:4])


# ---- the algorithm -----------------------------------------------------------------------------


def test_the_order_of_events_at_a_switch(at_the_switch: State) -> None:
    """A new domain is deferred, not learnt; then a snapshot is taken and the domain opened."""
    subject = resumed(at_the_switch)
    observations = run(subject, SWITCH + 12)
    opened = next(observation for observation in observations if observation.events)
    assert [(event.kind, event.environment) for event in opened.events] == [("new", 1)]
    # The third to fifth batch, with a window of 64: how the sums are rounded decides which.
    assert SWITCH + 2 <= opened.step <= SWITCH + 4
    assert not any(o.learnt for o in observations if o.step <= opened.step)
    assert all("encoder_proximity" in o.terms for o in observations if o.step > opened.step)
    # Solids moved, strokes do not: the latents that said where are masked.
    assert len(opened.events[0].evidence["masked"]) >= 2


def test_a_domain_out_of_distribution_for_the_encoder_masks_nothing(at_the_switch: State) -> None:
    """Negatives of resting strokes are far out of the code: that tells nothing of any factor."""
    subject = resumed(at_the_switch)
    for step in range(SWITCH, SWITCH + 30):
        seen = subject.observe(1 - shown(step))
        if seen.events:
            break
    assert [event.kind for event in seen.events] == ["new"]
    assert seen.events[0].evidence["masked"] == []


def test_the_snapshot_is_of_the_weights_before_the_new_domain(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    run(subject, SWITCH + 12)
    assert subject.snapshot is not None
    for name, value in subject.snapshot.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"average.{name}"], rtol=0, atol=0)


def test_a_deferred_batch_changes_no_weight(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    observation = subject.observe(shown(SWITCH))
    assert observation.decision.kind == "deferred"
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"networks.{name}"], rtol=0, atol=0)


def test_a_domain_that_returns_is_recognised_and_stays(at_the_switch: State) -> None:
    """Back where it was, with its old mask and index; and nothing is opened afterwards."""
    schedule = [("moving", SWITCH), ("resting", 80), ("moving", 40)]
    subject = resumed(at_the_switch)
    observations = run(subject, SWITCH + 120, replace(TOY, schedule=Schedule.of(schedule)))
    moves = [
        (e.kind, e.environment) for o in observations for e in o.events if e.kind != "dismissed"
    ]
    assert moves == [("new", 1), ("returned", 0)]
    assert subject.environments.present.mask.all()
    assert sum(o.learnt for o in observations[-36:]) > 32


def test_the_past_is_replayed_beside_single_images_too(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    run(subject, SWITCH + 20)
    observation = subject.observe(shown(0)[:1])
    assert observation.decision.kind == "deferred" or "encoder_proximity" in observation.terms


@pytest.mark.parametrize("infer", [False, True])
def test_without_inference_there_is_one_environment(infer: bool) -> None:
    subject = learner(infer=infer)
    schedule = Schedule.of([("moving", 20), ("resting", 10)])
    observations = run(subject, 30, replace(TOY, schedule=schedule))
    assert len(subject.environments) == 1 + infer
    assert infer != all(observation.learnt for observation in observations)


def test_without_masks_every_latent_stays_in_use(at_the_switch: State) -> None:
    subject = resumed(at_the_switch, masks=False)
    run(subject, SWITCH + 20)
    assert len(subject.environments) == 2
    assert subject.environments.present.mask.all()


def test_without_replay_there_is_no_snapshot(at_the_switch: State) -> None:
    subject = resumed(at_the_switch, replay=False)
    observations = run(subject, SWITCH + 20)
    assert len(subject.environments) == 2
    assert subject.snapshot is None
    assert "encoder_proximity" not in observations[-1].terms


def test_the_snapshot_is_refreshed_every_tau_steps() -> None:
    subject = learner(replay__snapshot_every=3)
    observations = run(subject, 8)
    steps = [event.step for o in observations for event in o.events if event.kind == "snapshot"]
    assert steps == [3, 6]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_images_that_are_no_numbers_reach_neither_weights_nor_record(bad: float) -> None:
    subject, control = learner(), learner()
    for each in (subject, control):
        run(each, 4)
    spoilt = shown(4)
    spoilt[3, 0, 5, 5] = bad
    seen = subject.observe(spoilt)
    assert [event.kind for event in seen.events] == ["skipped"]
    assert seen.decision.kind == "skipped"
    control.step += 1
    control.skipped = subject.skipped
    (tensors, record), (expected, told) = state(subject), state(control)
    assert record == told
    assert all(torch.equal(value, expected[name]) for name, value in tensors.items())
    with pytest.raises(VaseError, match="first batch was skipped"):
        learner().observe(spoilt)


# ---- a wrong decision, and a long wait ----------------------------------------------------------


def other_domain(step: int) -> torch.Tensor:
    """A third domain: moving solids, dark on light."""
    return 1 - shown(step % SWITCH)


def moves(observations: list[Observation]) -> list[tuple[str, int]]:
    return [(event.kind, event.environment) for o in observations for event in o.events]


def test_an_environment_that_does_not_last_is_discarded_without_harm(at_the_switch: State) -> None:
    """It was opened by mistake: back in the known one, and the weights are as they were."""
    subject = resumed(at_the_switch)
    observations = run(subject, SWITCH + 20)
    while subject.environments.current == 1:
        observations.append(subject.observe(shown(100 + len(observations))))
    assert moves(observations) == [("new", 1), ("returned", 0)]
    assert observations[-1].events[0].evidence["discarded"] == 1
    assert len(subject.environments) == 1
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"average.{name}"], rtol=0, atol=0)


def test_a_stream_that_never_repeats_ends_in_a_wait_and_opens_nothing(
    at_the_switch: State,
) -> None:
    subject = resumed(at_the_switch, detection__max_wait=16)
    generator = np.random.default_rng(0)
    observations = []
    for step in range(24):
        shade, slope = generator.random(2)
        images = other_domain(step) * shade if slope > 0.5 else torch.full_like(shown(0), shade)
        observations.append(subject.observe(images.float() * torch.linspace(slope, 1, SIDE)))
    assert moves(observations) == [("undetermined", 0)]
    assert not any(observation.learnt for observation in observations)
    assert sum(map(len, subject.deferred)) <= 512
    again = [subject.observe(shown(step)) for step in range(10)]
    assert len(subject.environments) == 1
    assert again[-1].learnt


# ---- room for more environments ----------------------------------------------------------------


def test_networks_that_have_grown_compute_the_same() -> None:
    before = networks()
    after = grown(before, 40)
    images, z = torch.rand(3, 1, SIDE, SIDE), torch.randn(3, 5)
    where = torch.tensor([0, 7, 15])
    torch.testing.assert_close(before.decoder(z, where), after.decoder(z, where))
    posterior = before.encoder(images)
    torch.testing.assert_close(before.classifier(posterior, 16), after.classifier(posterior, 16))
    assert (after.decoder(z, torch.full((3,), 39))).isfinite().all()


def test_the_tables_grow_when_they_are_full_and_learning_goes_on(at_the_switch: State) -> None:
    """With room for one environment it learns what it learns with room for sixteen."""
    small = Learner(ARCHITECTURE.model_copy(update={"environments": 1}), QUICK, seed=0, device=CPU)
    restore(small, *shrunk(at_the_switch))
    roomy = resumed(at_the_switch)
    runs = [run(subject, SWITCH + 10) for subject in (small, roomy)]
    assert small.architecture.environments == 2
    # One matrix product is of another size, so it may be rounded otherwise.
    for few, many in zip(*runs, strict=True):
        expected = pytest.approx(many.terms.get("reconstruction", 0.0), rel=1e-4)
        assert few.terms.get("reconstruction", 0.0) == expected


def test_a_checkpoint_with_more_environments_is_read_by_a_smaller_model() -> None:
    large, small = (
        learner(),
        Learner(ARCHITECTURE.model_copy(update={"environments": 4}), QUICK, seed=0, device=CPU),
    )
    run(large, 3)
    restore(small, *state(large))
    assert same(large, small)


def shrunk(saved: State) -> State:
    """The same state for a model with room for one environment."""
    tensors, record = saved

    def cut(name: str, value: torch.Tensor) -> torch.Tensor:
        return value[:1] if name.endswith(Networks.TABLES) and value.ndim else value

    architecture = {**record["architecture"], "environments": 1}
    small = {name: cut(name, value) for name, value in tensors.items()}
    return small, {**record, "architecture": architecture}


def test_mixed_precision_learns_the_same_within_its_precision() -> None:
    def half() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    full = Learner(ARCHITECTURE, QUICK, seed=0, device=CPU)
    mixed = Learner(ARCHITECTURE, QUICK, seed=0, device=CPU, autocast=half)
    losses = [run(subject, 10)[-1].terms["loss"] for subject in (full, mixed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


# ---- determinism and resumption ----------------------------------------------------------------


def same(first: Learner, second: Learner) -> bool:
    tensors, record = state(first)
    others, other = state(second)
    return record == other and all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_two_runs_of_one_seed_are_bit_identical() -> None:
    first, second = learner(), learner()
    assert [seen.step for seen in run(first, 10)] == [*range(10)]
    run(second, 10)
    assert same(first, second)


@pytest.mark.parametrize("after", [2, 15])
def test_resuming_equals_going_on_bit_for_bit(at_the_switch: State, after: int) -> None:
    """Stopped while batches are deferred, and while the past is replayed."""
    stop = SWITCH + after
    whole = resumed(at_the_switch)
    run(whole, stop)
    part = resumed(state(whole))
    assert bool(part.deferred) == (after == 2)
    assert bool(part.snapshot) == (after == 15)
    run(whole, stop + 6)
    run(part, stop + 6)
    assert same(whole, part)


def test_other_numbers_of_threads_go_on_with_a_checkpoint_but_may_round_otherwise(
    at_the_switch: State,
) -> None:
    """Sums are made in another order: the same run to four digits, and not promised bit for bit."""
    losses = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            seen = run(resumed(at_the_switch), SWITCH + 4)
        finally:
            torch.set_num_threads(1)
        losses.append([observation.terms.get("loss", 0.0) for observation in seen])
    assert any(losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_checkpoint_of_other_shapes_is_refused() -> None:
    other = Learner(
        ARCHITECTURE.model_copy(update={"latents": 7}), LearnerSettings(), seed=0, device=CPU
    )
    with pytest.raises(CheckpointError, match="shaped"):
        restore(other, *state(learner()))


def test_terms_count_once_an_environment_has_learnt_so_many_batches() -> None:
    """Each environment has a count of its own: a second one learns without terms at first."""
    late = {"objective__terms": {"latent_sparsity": 5.0}, "objective__terms_after": 3}
    one, other = learner(**late), learner()
    seen, plain = run(one, 4), run(other, 4)
    costs = [a.terms["loss"] - b.terms["loss"] for a, b in zip(seen, plain, strict=True)]
    assert costs[:3] == [0, 0, 0]
    assert costs[3] == pytest.approx(5 * seen[3].terms["latent_sparsity"], rel=1e-4)
    one.environments = one.environments.enter(replace(environment(1, **VARYING), batches=2))
    assert not one.context().extended
