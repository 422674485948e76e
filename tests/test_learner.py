"""The learner and its parts: order of events, masks, dreams, and exact resumption."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vase.errors import CheckpointError, VaseError
from vase.lifelong.detector import DetectorRule
from vase.lifelong.dream import DreamRule, Past, dream, latents
from vase.lifelong.learner import MOST_SKIPPED, Learner
from vase.lifelong.look import Here, look, moments, to_moments
from vase.lifelong.loss import terms, total
from vase.lifelong.memory import Environment, latest
from vase.lifelong.settings import Settings
from vase.lifelong.state import restore, state
from vase.lifelong.weights import frozen, grown
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.objective.capacity import Capacity, CapacityRule, charge
from vase.objective.likelihood import reconstruction
from vase.objective.moments import Moments
from vase.objective.proximity import decoder_proximity, encoder_proximity
from vase.records import Observation
from vase.worlds.canvas import CanvasWorld
from vase.worlds.shapes import sprites
from vase.worlds.stream import Schedule, Stream

SHAPE = Architecture(
    channels=1, height=32, width=32, latents=5, features=32, hidden=128, cells=64, fold=2
)
CPU = torch.device("cpu")
State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def networks(seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return Networks(SHAPE)


def environment(index: int, mask: list[bool]) -> Environment:
    channels = SHAPE.latents + 2
    known = Moments(np.linspace(-1, 1, channels), np.linspace(0.1, 1, channels), 64)
    return Environment(index, np.array(mask), known, Capacity())


ALL = environment(0, [True] * 5)
SOME = environment(1, [True, False, True, False, True])


def toy(steps: int = 60, batch_size: int = 64, seed: int = 0) -> Stream:
    """Moving solids, then strokes at rest, on a canvas of 32 pixels."""
    worlds = {
        "moving": CanvasWorld("moving", sprites("solids", 200, 14, 0), 32, moving=True),
        "resting": CanvasWorld("resting", sprites("strokes", 200, 14, 0), 32),
    }
    return Stream(Schedule.of([("moving", steps), ("resting", steps)]), worlds, batch_size, seed)


SWITCH = 500
QUICK = Settings(
    learning_rate=2e-3,
    capacity=CapacityRule(growth=0.05),
    detector=DetectorRule(window=64),
)


def learner(**changes: object) -> Learner:
    return Learner(SHAPE, replace(QUICK, **changes), seed=0, device=CPU)  # type: ignore[arg-type]


def run(subject: Learner, stream: Stream, until: int) -> list[Observation]:
    return [
        subject.observe(torch.from_numpy(stream.batch(step)[0]))
        for step in range(subject.step, until)
    ]


@pytest.fixture(scope="module")
def at_the_switch() -> State:
    """The state of a learner that has learnt the first world and not yet seen the second."""
    subject = learner()
    run(subject, toy(SWITCH), SWITCH)
    return state(subject)


def resumed(saved: State, **changes: object) -> Learner:
    subject = learner(**changes)
    restore(subject, *saved)
    return subject


# ---- dreams ------------------------------------------------------------------------------------


def test_dreamed_latents_follow_the_environment_s_own_marginals_and_mask() -> None:
    choice = torch.arange(2).repeat_interleave(50_000)
    noise = torch.randn(100_000, 5, generator=torch.Generator().manual_seed(0))
    z = latents([ALL, SOME], choice, noise, "marginal")
    first, second = z[:50_000], z[50_000:]
    np.testing.assert_allclose(first.mean(0), ALL.moments.mean[:5], atol=0.02)
    np.testing.assert_allclose(first.var(0), ALL.moments.variance[:5], atol=0.02)
    assert (second[:, ~SOME.mask] == 0).all()
    assert (second[:, SOME.mask] != 0).all()


def test_latents_from_the_prior_are_masked_noise() -> None:
    noise = torch.randn(6, 5)
    z = latents([SOME], torch.zeros(6, dtype=torch.long), noise, "prior")
    torch.testing.assert_close(z, noise * torch.as_tensor(SOME.mask))


def test_every_past_environment_is_dreamed_of_about_equally() -> None:
    generator = torch.Generator().manual_seed(0)
    dreamed = dream(networks(), Past.of([ALL, SOME], "marginal", CPU), 2000, generator)
    assert 900 < int((dreamed.environment == 1).sum()) < 1100
    assert dreamed.images.min() >= 0
    assert dreamed.images.max() <= 1


# ---- one look ----------------------------------------------------------------------------------


def test_the_shared_pass_equals_separate_passes() -> None:
    """The fast path against the slow, obvious one: present and dreams each on their own."""
    nets, snapshot = networks(0), networks(1)
    images = torch.rand(6, 1, 32, 32)
    noise = torch.randn(6, 5)
    dreamed = dream(snapshot, Past.of([ALL], "marginal", CPU), 4, torch.Generator().manual_seed(0))
    shared = look(nets, images, Here.of(SOME, 2, CPU), noise, dreamed, "kl")

    mask = torch.as_tensor(SOME.mask)
    used = gaussian.masked(nets.encoder(images), mask)
    logits = nets.decoder(gaussian.sample(used, noise) * mask, torch.ones(6, dtype=torch.long))
    torch.testing.assert_close(shared.distortion, reconstruction(logits, images))
    torch.testing.assert_close(shared.kl, gaussian.kl_to_prior(used))
    again = nets.encoder(dreamed.images)
    near = encoder_proximity(dreamed.posterior, again, "kl").mean()
    torch.testing.assert_close(shared.past["encoder_proximity"], near)
    decoded = nets.decoder(dreamed.z, dreamed.environment)
    far = decoder_proximity(dreamed.logits, decoded).mean()
    torch.testing.assert_close(shared.past["decoder_proximity"], far)


def test_proximity_to_a_snapshot_of_oneself_is_zero() -> None:
    nets = networks()
    dreamed = dream(
        frozen(nets), Past.of([ALL], "marginal", CPU), 4, torch.Generator().manual_seed(0)
    )
    shared = look(
        nets, torch.rand(2, 1, 32, 32), Here.of(SOME, 2, CPU), torch.randn(2, 5), dreamed, "kl"
    )
    for term in shared.past.values():
        assert term.item() == pytest.approx(0, abs=1e-5)


def test_present_data_sends_no_gradient_to_a_masked_latent() -> None:
    nets = networks()
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 5)
    seen = look(nets, images, Here.of(SOME, 2, CPU), noise, None, "kl")
    (seen.distortion.sum() + seen.kl.sum()).backward()
    gradient = nets.encoder.posterior.weight.grad
    assert gradient is not None
    per_latent = gradient.view(2, 5, -1).abs().sum(dim=(0, 2))
    assert (per_latent[~torch.as_tensor(SOME.mask)] == 0).all()
    assert (per_latent[torch.as_tensor(SOME.mask)] > 0).all()


def test_the_head_sends_no_gradient_to_the_encoder() -> None:
    nets = networks()
    images, noise = torch.rand(6, 1, 32, 32), torch.randn(6, 5)
    look(nets, images, Here.of(SOME, 2, CPU), noise, None, "kl").belief.backward()
    assert all(parameter.grad is None for parameter in nets.encoder.parameters())


def test_moments_are_those_of_the_mixture() -> None:
    """Against samples of every image's posterior."""
    nets = networks()
    images = torch.rand(50, 1, 32, 32)
    with torch.no_grad():
        posterior = nets.encoder(images)
        noise = torch.randn(4000, 50, 5, generator=torch.Generator().manual_seed(0))
        z = gaussian.sample(posterior, noise).reshape(-1, 5)
    seen = to_moments(moments(nets, images, ALL, torch.zeros(50, 5)), 50)
    np.testing.assert_allclose(seen.mean[:5], z.mean(0), atol=0.02)
    np.testing.assert_allclose(seen.variance[:5], z.var(0), rtol=0.02)


# ---- the algorithm -----------------------------------------------------------------------------


def test_the_tape_of_a_switch(at_the_switch: State) -> None:
    """A new world is held before it is learnt; then a snapshot is taken and the world opened."""
    subject = resumed(at_the_switch)
    tape = run(subject, toy(SWITCH), SWITCH + 30)
    opened = next(observation for observation in tape if observation.events)
    assert [(event.kind, event.environment) for event in opened.events] == [("new", 1)]
    # The fourth or fifth batch, with a window of 64: how the sums are rounded decides which.
    assert SWITCH + 3 <= opened.step <= SWITCH + 4
    assert not any(o.learnt for o in tape if o.step <= opened.step)
    assert all("encoder_proximity" in o.terms for o in tape if o.step > opened.step)
    # Solids moved, strokes do not: the latents that said where are masked.
    assert len(opened.events[0].evidence["masked"]) >= 2


def test_a_world_that_is_foreign_to_the_encoder_masks_nothing(at_the_switch: State) -> None:
    """Negatives of resting strokes are far out of the code: that tells nothing of any factor."""
    subject = resumed(at_the_switch)
    resting = toy(SWITCH)
    for step in range(SWITCH, SWITCH + 30):
        seen = subject.observe(1 - torch.from_numpy(resting.batch(step)[0]))
        if seen.events:
            break
    assert [event.kind for event in seen.events] == ["new"]
    assert seen.events[0].evidence["masked"] == []


def test_the_snapshot_is_of_the_weights_before_the_new_world(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    run(subject, toy(SWITCH), SWITCH + 30)
    assert subject.snapshot is not None
    for name, value in subject.snapshot.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"average.{name}"], rtol=0, atol=0)


def test_no_event_while_nothing_changes(at_the_switch: State) -> None:
    environments = at_the_switch[1]["memory"]["environments"]
    assert len(environments) == 1


def test_a_held_batch_changes_no_weight(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    observation = subject.observe(torch.from_numpy(toy(SWITCH).batch(SWITCH)[0]))
    assert observation.verdict.kind == "held"
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"networks.{name}"], rtol=0, atol=0)


def test_a_single_bad_batch_opens_nothing(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    subject.observe(torch.zeros(64, 1, 32, 32))
    run(subject, toy(2 * SWITCH), SWITCH + 20)
    assert len(subject.memory.environments) == 1


def test_a_world_that_returns_is_back_and_stays(at_the_switch: State) -> None:
    """Back where it was, with its old mask and index; and nothing is opened afterwards."""
    schedule = [("moving", SWITCH), ("resting", 200), ("moving", 100)]
    stream = replace(toy(SWITCH), schedule=Schedule.of(schedule))
    subject = resumed(at_the_switch)
    tape = run(subject, stream, SWITCH + 300)
    moves = [(e.kind, e.environment) for o in tape for e in o.events if e.kind != "kept"]
    assert moves == [("new", 1), ("back", 0)]
    assert subject.memory.here.mask.all()
    assert sum(o.learnt for o in tape[-90:]) > 80


def test_batches_are_counted_in_images() -> None:
    batches = tuple(torch.zeros(n, 1) for n in (64, 8, 32, 64))
    assert [len(batch) for batch in latest(batches, 100)] == [32, 64]
    assert [len(batch) for batch in latest(batches, 10)] == [64]
    assert [len(batch) for batch in latest(batches, 10, least=3)] == [8, 32, 64]


def test_a_stream_of_single_images_is_dreamed_for_too(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    run(subject, toy(SWITCH), SWITCH + 20)
    observation = subject.observe(torch.from_numpy(toy(SWITCH).batch(0)[0][:1]))
    assert observation.verdict.kind == "held" or "encoder_proximity" in observation.terms


def test_the_loss_is_the_documented_sum(at_the_switch: State) -> None:
    """Plain VAE: the negative evidence lower bound. Otherwise: controlled capacity and the past."""
    images = torch.from_numpy(toy(SWITCH).batch(0)[0])
    plain = resumed(at_the_switch, entangled=True, belief=0.0)
    seen = plain._look(images, plain.situation())
    torch.testing.assert_close(
        total(terms(seen), 0.0, plain.settings, 0.0), (seen.distortion + seen.rate).mean()
    )

    weights = DreamRule(encoder=2.0, decoder=3.0)
    full = resumed(at_the_switch, dream=weights, belief=0.5)
    run(full, toy(SWITCH), SWITCH + 20)
    seen = full._look(images, full.situation())
    expected = (
        seen.distortion.mean()
        + charge(seen.rate.mean(), full.memory.here.capacity.nats, QUICK.capacity)
        + 2 * seen.past["encoder_proximity"]
        + 3 * seen.past["decoder_proximity"]
        + 0.5 * seen.belief
    )
    capacity = full.memory.here.capacity.nats
    torch.testing.assert_close(total(terms(seen), capacity, full.settings, 0.0), expected)


def test_without_inference_there_is_one_environment() -> None:
    subject = learner(infer=False)
    tape = run(subject, toy(steps=80), 160)
    assert len(subject.memory.environments) == 1
    assert all(observation.learnt for observation in tape)


def test_without_masks_every_latent_stays_in_use(at_the_switch: State) -> None:
    subject = resumed(at_the_switch, masks=False)
    run(subject, toy(SWITCH), SWITCH + 20)
    assert len(subject.memory.environments) == 2
    assert subject.memory.here.mask.all()


def test_without_dreams_there_is_no_snapshot(at_the_switch: State) -> None:
    subject = resumed(at_the_switch, dreams=False)
    tape = run(subject, toy(SWITCH), SWITCH + 20)
    assert len(subject.memory.environments) == 2
    assert subject.snapshot is None
    assert "encoder_proximity" not in tape[-1].terms


def test_the_snapshot_is_refreshed_every_tau_steps() -> None:
    subject = learner(dream=DreamRule(refresh=20))
    tape = run(subject, toy(), 60)
    steps = [event.step for o in tape for event in o.events if event.kind == "snapshot"]
    assert steps == [20, 40]


def test_a_batch_whose_loss_is_no_number_is_left_out_and_eight_end_the_run() -> None:
    subject = learner()
    run(subject, toy(), 3)
    before = {name: value.clone() for name, value in subject.networks.state_dict().items()}
    with torch.no_grad():
        subject.networks.decoder.latents.bias[0] = before["decoder.latents.bias"][0] = torch.nan
    tape = run(subject, toy(), 3 + MOST_SKIPPED - 1)
    assert moves(tape) == [("skipped", 0)] * (MOST_SKIPPED - 1)
    assert not any(seen.learnt for seen in tape)
    with pytest.raises(VaseError, match=r"step 10 was left out, the 8\. in a row: its loss"):
        run(subject, toy(), 3 + MOST_SKIPPED)
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_gradient_that_is_no_number_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = learner()
    run(subject, toy(), 3)
    before = {name: value.clone() for name, value in subject.networks.state_dict().items()}
    weight = subject.networks.encoder.posterior.weight
    handle = weight.register_hook(lambda gradient: gradient * torch.inf)
    tape = run(subject, toy(), 4)
    handle.remove()
    assert moves(tape) == [("skipped", 0)]
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    run(subject, toy(), 5)
    assert subject.skipped == 0
    assert all(value.isfinite().all() for value in subject.networks.state_dict().values())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_images_that_are_no_numbers_reach_neither_weights_nor_record(bad: float) -> None:
    subject, control = learner(), learner()
    for each in (subject, control):
        run(each, toy(), 40)
    spoilt = torch.from_numpy(toy().batch(40)[0])
    spoilt[3, 0, 5, 5] = bad
    seen = subject.observe(spoilt)
    assert [event.kind for event in seen.events] == ["skipped"]
    assert seen.verdict.kind == "skipped"
    control.step += 1
    control.skipped = subject.skipped
    (tensors, record), (expected, told) = state(subject), state(control)
    assert record == told
    assert all(torch.equal(value, expected[name]) for name, value in tensors.items())
    with pytest.raises(VaseError, match="step 0 was left out"):
        learner().observe(spoilt)


# ---- a wrong verdict, and a long wait ----------------------------------------------------------


def other_world(step: int) -> torch.Tensor:
    """A third world: moving solids, dark on light."""
    return 1 - torch.from_numpy(toy(SWITCH).batch(step % SWITCH)[0])


def moves(tape: list[Observation]) -> list[tuple[str, int]]:
    return [(event.kind, event.environment) for o in tape for event in o.events]


def test_an_environment_that_does_not_last_is_dissolved_without_harm(at_the_switch: State) -> None:
    """It was opened by mistake: back in the known one, and the weights are as they were."""
    subject, stream = resumed(at_the_switch), toy(SWITCH)
    tape = run(subject, stream, SWITCH + 40)
    while subject.memory.current == 1:
        tape.append(subject.observe(torch.from_numpy(stream.batch(100 + len(tape))[0])))
    assert moves(tape) == [("new", 1), ("back", 0)]
    assert tape[-1].events[0].evidence["dissolved"] == 1
    assert len(subject.memory.environments) == 1
    for name, value in subject.networks.state_dict().items():
        torch.testing.assert_close(value, at_the_switch[0][f"average.{name}"], rtol=0, atol=0)


def test_an_environment_opened_on_a_passing_world_is_founded_anew(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    tape = run(subject, toy(SWITCH), SWITCH + 40)
    tape += [subject.observe(other_world(step)) for step in range(6)]
    assert moves(tape) == [("new", 1), ("revised", 1)]
    assert len(subject.memory.environments) == 2


def test_after_its_trial_an_environment_is_kept(at_the_switch: State) -> None:
    subject = resumed(at_the_switch)
    tape = run(subject, toy(SWITCH), SWITCH + 90)
    tape += [subject.observe(other_world(step)) for step in range(6)]
    assert moves(tape) == [("new", 1), ("new", 2)]


def test_a_stream_that_never_repeats_ends_in_a_wait_and_opens_nothing(
    at_the_switch: State,
) -> None:
    subject = resumed(at_the_switch)
    generator = np.random.default_rng(0)
    tape = []
    for step in range(100):
        shade, slope = generator.random(2)
        images = other_world(step) * shade if slope > 0.5 else torch.full((64, 1, 32, 32), shade)
        tape.append(subject.observe(images.float() * torch.linspace(slope, 1, 32)))
    assert moves(tape) == [("adrift", 0)]
    assert not any(observation.learnt for observation in tape)
    assert sum(map(len, subject.held)) <= 512
    again = [subject.observe(torch.from_numpy(toy(SWITCH).batch(step)[0])) for step in range(20)]
    assert len(subject.memory.environments) == 1
    assert again[-1].learnt


# ---- room for more environments ----------------------------------------------------------------


def test_networks_that_have_grown_compute_the_same() -> None:
    before = networks()
    after = grown(before, 40)
    images, z = torch.rand(3, 1, 32, 32), torch.randn(3, 5)
    where = torch.tensor([0, 7, 15])
    torch.testing.assert_close(before.decoder(z, where), after.decoder(z, where))
    posterior = before.encoder(images)
    torch.testing.assert_close(before.head(posterior, 16), after.head(posterior, 16))
    assert (after.decoder(z, torch.full((3,), 39))).isfinite().all()


def test_the_tables_grow_when_they_are_full_and_learning_goes_on(at_the_switch: State) -> None:
    """With room for one environment it learns what it learns with room for sixteen."""
    small = Learner(replace(SHAPE, environments=1), QUICK, seed=0, device=CPU)
    restore(small, *shrunk(at_the_switch))
    roomy = resumed(at_the_switch)
    tapes = [run(subject, toy(SWITCH), SWITCH + 10) for subject in (small, roomy)]
    assert small.shape.environments == 2
    # One matrix product is of another size, so it may be rounded otherwise.
    for few, many in zip(*tapes, strict=True):
        expected = pytest.approx(many.terms.get("reconstruction", 0.0), rel=1e-4)
        assert few.terms.get("reconstruction", 0.0) == expected


def test_a_checkpoint_with_more_environments_is_read_by_a_smaller_model() -> None:
    large, small = learner(), Learner(replace(SHAPE, environments=4), QUICK, seed=0, device=CPU)
    run(large, toy(), 3)
    restore(small, *state(large))
    assert same(large, small)


def shrunk(saved: State) -> State:
    """The same state for a model with room for one environment."""
    tensors, record = saved
    names = [name for name, _ in networks().named_parameters()]
    tables = {names.index(name) for name in Networks.TABLES}

    def cut(name: str, value: torch.Tensor) -> torch.Tensor:
        first, _, rest = name.partition(".")
        slot = first == "optimizer" and int(rest.split(".")[0]) in tables and value.ndim
        return value[:1] if slot or rest in Networks.TABLES else value

    architecture = {**record["architecture"], "environments": 1}
    small = {name: cut(name, value) for name, value in tensors.items()}
    return small, {**record, "architecture": architecture}


def test_mixed_precision_learns_the_same_within_its_precision() -> None:
    def half() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    full = Learner(SHAPE, QUICK, seed=0, device=CPU)
    mixed = Learner(SHAPE, QUICK, seed=0, device=CPU, autocast=half)
    losses = [run(subject, toy(), 30)[-1].terms["loss"] for subject in (full, mixed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


# ---- determinism and resumption ----------------------------------------------------------------


def same(first: Learner, second: Learner) -> bool:
    tensors, record = state(first)
    others, other = state(second)
    return record == other and all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_two_runs_of_one_seed_are_bit_identical() -> None:
    first, second = learner(), learner()
    run(first, toy(), 30)
    run(second, toy(), 30)
    assert same(first, second)


@pytest.mark.parametrize("after", [2, 15])
def test_resuming_equals_going_on_bit_for_bit(at_the_switch: State, after: int) -> None:
    """Stopped while batches are held, and while the past is dreamed of."""
    stream, stop = toy(SWITCH), SWITCH + after
    whole = resumed(at_the_switch)
    run(whole, stream, stop)
    part = resumed(state(whole))
    assert bool(part.held) == (after == 2)
    assert bool(part.snapshot) == (after == 15)
    run(whole, stream, stop + 12)
    run(part, stream, stop + 12)
    assert same(whole, part)


def test_other_numbers_of_threads_go_on_with_a_checkpoint_but_may_round_otherwise(
    at_the_switch: State,
) -> None:
    """Sums are made in another order: the same run to four digits, and not promised bit for bit."""
    losses = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            seen = run(resumed(at_the_switch), toy(SWITCH), SWITCH + 6)
        finally:
            torch.set_num_threads(1)
        losses.append([observation.terms.get("loss", 0.0) for observation in seen])
    assert any(losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_checkpoint_of_other_shapes_is_refused() -> None:
    other = Learner(replace(SHAPE, latents=7), Settings(), seed=0, device=CPU)
    with pytest.raises(CheckpointError, match="shaped"):
        restore(other, *state(learner()))
