"""Agents: environments, learned dynamics, plans, imagined goals, and exploration runs."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hand_made import code_of, environment
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import vase.agent  # noqa: F401, registers the environments
from vase import build, config
from vase.agent import dynamics, imagine, plan, pose, trajectory
from vase.agent.canvas import CanvasEnv
from vase.agent.exploration_run import ExplorationConfig, ExplorationRun
from vase.agent.explore import MIN_BUFFERED_STEPS, AgentStep, explore, make_environments
from vase.agent.goal_selection import GoalAttempt, NoveltySelector
from vase.agent.place import PlaceEnv
from vase.agent.policies import BABBLING_STEPS, POLICIES
from vase.agent.pose import ACTIONS, HUES, SIZES, Pose
from vase.agent.trajectory import Trajectory
from vase.agent.zero_shot import _coordinates, inferred_masks, unseen_domains
from vase.bench import exploration as bench
from vase.cli.app import app
from vase.domains import scenery, shapes
from vase.domains.canvas import CanvasDomain, place
from vase.domains.sprites import Sprites
from vase.errors import ConfigError, InputError
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.learner import Learner
from vase.nets import Architecture, Networks
from vase.report import exploration as figures
from vase.training.folder import RunFolder

SPRITES = shapes.sprites("strokes", 40, 8, 0)
TRAVEL = (8, 8)


def canvas(**changes: Any) -> CanvasEnv:
    return CanvasEnv(SPRITES, **{"size": 16, **changes})


def sprite(side: int = 8) -> Any:
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


# ---- environments to act in --------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("ignore:.*render modes:UserWarning")
def test_the_canvas_is_a_gymnasium_environment(channels: int) -> None:
    made = gymnasium.make(
        "vase/Canvas-v0", sprites="strokes", size=32, channels=channels, render_mode="rgb_array"
    )
    check_env(made.unwrapped)
    assert made.action_space.n == 1 + sum(map(len, ACTIONS.values())) - 2 * (channels == 1)
    made.reset(seed=0)
    frame = made.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (32, 32, 3)


@given(st.integers(0, 39), st.integers(0, 8), st.integers(0, 8))
def test_a_pose_looks_as_the_domain_draws_it(chosen: int, top: int, left: int) -> None:
    pixels = SPRITES.pixels[chosen]
    shown = pose.render(pixels, Pose(top, left), 16, 1)[:, :, 0] / np.float32(255)
    drawn = place(pixels[None], np.array([top]), np.array([left]), 16)[0]
    np.testing.assert_allclose(shown, drawn, atol=1e-6)


def test_moves_shift_by_the_stride_and_end_at_the_edge() -> None:
    env = canvas(stride=3)
    _, truth = env.reset(seed=0)
    assert (truth["x"], truth["y"]) == (0.5, 0.5)
    seen = [env.step(np.int64(env.names.index("right")))[4]["x"] for _ in range(3)]
    assert seen == [7 / 8, 1.0, 1.0]
    seen = [env.step(np.int64(env.names.index("up")))[4]["y"] for _ in range(3)]
    assert seen == [1 / 8, 0.0, 0.0]


@pytest.mark.parametrize(
    ("there", "back"),
    [("up", "down"), ("left", "right"), ("turn left", "turn right"), ("smaller", "larger")],
)
def test_every_action_is_undone_by_another(there: str, back: str) -> None:
    began = Pose(4, 4, turn=2, hue=3)
    gone = pose.apply_action(began, there, 2, TRAVEL)
    assert gone != began
    assert pose.apply_action(gone, back, 2, TRAVEL) == began
    assert pose.apply_action(began, pose.STAY, 2, TRAVEL) == began


def test_colours_go_round_and_turns_too_and_sizes_end() -> None:
    there = Pose(4, 4)
    for _ in range(HUES + 1):
        there = pose.apply_action(there, "next hue", 1, TRAVEL)
    assert there.hue == 0
    assert pose.apply_action(there, "previous hue", 1, TRAVEL).hue == HUES - 1
    for _ in range(360 // pose.TURN):
        there = pose.apply_action(there, "turn left", 1, TRAVEL)
    assert there.turn == 0
    for _ in range(10):
        there = pose.apply_action(there, "smaller", 1, TRAVEL)
    assert there.size == SIZES[0]


def test_six_turns_to_the_left_are_a_quarter() -> None:
    pixels = sprite()
    quarter = pose.render(pixels, Pose(4, 4, turn=90 // pose.TURN), 16, 1)[4:12, 4:12, 0]
    off = np.abs(quarter.astype(int) - np.rot90(pixels).astype(int))
    assert off.max() <= 1  # of 255: interpolated at points that are off by rounding


def test_a_larger_sprite_has_as_much_more_ink() -> None:
    pixels = np.full((40, 40), 200, dtype=np.uint8)
    ink = [pose.render(pixels, Pose(12, 12, size=size), 64, 1).sum() for size in (-2, 2)]
    assert ink[1] / ink[0] == pytest.approx(pose.GROWTH**8, rel=0.05)


def test_colour_is_that_of_the_domain_and_white_before() -> None:
    domain = CanvasDomain("w", SPRITES, size=16, channels=3, hue=0.25)
    pixels = SPRITES.pixels[0]
    white = pose.render(pixels, Pose(4, 4), 16, 3)
    assert (white[..., 0] == white[..., 1]).all()
    shown = pose.render(pixels, Pose(4, 4, hue=3), 16, 3).astype(float)
    drawn, truth = domain.sample(np.random.default_rng(0), 1)
    inked = drawn[0].max(axis=0) > 0.5
    ratio = drawn[0][:, inked] / drawn[0][:, inked].max(axis=0)
    ours = np.moveaxis(shown, -1, 0)[:, shown.max(-1) > 128]
    np.testing.assert_allclose((ours / ours.max(axis=0)).mean(1), ratio.mean(1), atol=0.02)
    assert truth.factors == {}


def test_what_is_shuffled_is_drawn_evenly_and_the_rest_stays_at_rest() -> None:
    env = canvas(channels=3)
    seen = [env.reset(options={"shuffle": ["x"]})[1] for _ in range(400)]
    assert len({truth["x"] for truth in seen}) == 9
    assert np.mean([truth["x"] for truth in seen]) == pytest.approx(0.5, abs=0.06)
    assert {truth["y"] for truth in seen} == {0.5}
    assert {truth["saturation"] for truth in seen} == {0.0}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"actions": ("jump",)}, "Actions are of the kinds move, turn"),
        ({"actions": ("recolour",)}, "A grey canvas cannot be recoloured"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"stride": 0}, "stride must be a whole number of pixels, not 0"),
        ({"stride": 1.5}, "stride must be a whole number of pixels, not 1.5"),
        ({"size": 4}, "do not fit a canvas of 4"),
    ],
)
def test_a_canvas_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        canvas(**changes)
    with pytest.raises(ConfigError, match="can be shuffled"):
        canvas().reset(options={"shuffle": ["size"]})


# ---- dynamics and plans ----------------------------------------------------------------


def tried(weights: Any, count: int, noise: float = 0.0) -> tuple[dynamics.Dynamics, Any]:
    """The dynamics after random actions in a domain whose changes are affine."""
    generator = np.random.default_rng(1)
    actions, latents = len(weights), weights.shape[2]
    known = dynamics.no_dynamics(actions, latents)
    for _ in range(count):
        z = generator.standard_normal((32, latents))
        action = generator.integers(actions, size=32)
        led = dynamics.predict(weights, z)[np.arange(32), action]
        led = led + noise * generator.standard_normal(led.shape)
        known = dynamics.updated(known, z, action, led)
    return known, weights


def domain_of_moves(step: float = 0.25) -> Any:
    """Stay, left, right, up, down in latents 0 and 1; nothing moves the others."""
    weights = np.zeros((5, 5, 4))
    for action, (latent, way) in enumerate([(0, -1), (0, 1), (1, -1), (1, 1)], start=1):
        weights[action, -1, latent] = way * step
    return weights


def test_affine_effects_are_found() -> None:
    """A shift, and a turn by a tenth of a circle, which is what a hue does."""
    weights = np.zeros((3, 3, 2))
    weights[1, 2] = (0.5, -0.2)
    angle = 2 * np.pi / 10
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    weights[2, :2] = turn - np.eye(2)
    known, _ = tried(weights, 60)
    np.testing.assert_allclose(known.effects, weights, atol=0.01)


def test_effects_are_those_of_ridge_regression() -> None:
    """One transition, from 2 by 3: (G + I) W = c with G = [[4, 2], [2, 1]] and c = [6, 3]."""
    known = dynamics.updated(
        dynamics.no_dynamics(1, 1), np.array([[2.0]]), np.array([0]), np.array([[5.0]])
    )
    np.testing.assert_allclose(known.effects[0, :, 0], [1.0, 0.5])


@pytest.mark.parametrize(("count", "told"), [(3, False), (4, False), (5, True)])
def test_nothing_is_controllable_before_there_are_more_transitions_than_coefficients(
    count: int, told: bool
) -> None:
    """Two actions with two coefficients each; they move the one latent to and fro."""
    action = np.arange(count) % 2
    z = np.linspace(-1, 1, count)[:, None]
    known = dynamics.updated(dynamics.no_dynamics(2, 1), z, action, z + 2.0 * action[:, None] - 1)
    assert (dynamics.controllability(known)[0] != 0) == told


def test_what_was_long_ago_is_forgotten() -> None:
    known, _ = tried(domain_of_moves(0.25), 40)
    for _ in range(8):  # the encoder has changed: the same actions go the other way
        z = np.zeros((320, 4))
        action = np.tile(np.arange(5), 64)
        led = dynamics.predict(domain_of_moves(-0.25), z)[np.arange(320), action]
        for _ in range(30):
            known = dynamics.updated(known, z, action, led)
    np.testing.assert_allclose(known.effects[:, -1], domain_of_moves(-0.25)[:, -1], atol=0.02)


def test_controllability_is_the_share_of_changes_that_actions_explain() -> None:
    known, _ = tried(domain_of_moves(), 60, noise=0.05)
    told = dynamics.controllability(known)
    signal, noise = 2 / 5 * 0.25**2, 0.05**2  # of changes that two actions of five make
    assert told[:2] == pytest.approx(signal / (signal + noise), abs=0.05)
    assert told[2:] == pytest.approx(0, abs=0.02)
    assert (dynamics.controllability(dynamics.no_dynamics(3, 2)) == 0).all()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9, 1.0])
def test_noise_is_not_controllable(kept: float) -> None:
    """Noise that returns to its mean is predictable, but not from the action: 24 latents, 15
    actions, as many transitions as agents babble."""
    generator = np.random.default_rng(2)
    known, z = dynamics.no_dynamics(15, 24), generator.standard_normal((64, 24))
    for _ in range(BABBLING_STEPS):
        led = kept * z + generator.standard_normal(z.shape)
        known = dynamics.updated(known, z, generator.integers(15, size=64), led)
        z = led
    assert np.abs(dynamics.controllability(known)).max() < 0.15


@given(st.integers(0, 2**31))
def test_a_plan_is_as_short_as_can_be(seed: int) -> None:
    """On a grid the fewest steps are the sum of the distances along both axes."""
    generator = np.random.default_rng(seed)
    weights = domain_of_moves()
    z = 0.25 * generator.integers(-6, 7, (16, 4)).astype(float)
    goal = 0.25 * generator.integers(-6, 7, (16, 4)).astype(float)
    wanted = np.broadcast_to(np.array([True, True, False, False]), z.shape)
    fewest = (np.abs(z - goal)[:, :2] / 0.25).sum(1).round().astype(int)
    for step in range(fewest.max() + 1):
        there = plan.distance(z, goal, wanted) < 1e-9
        assert (there == (step >= fewest)).all()
        action = plan.best_actions(weights, z, goal, wanted)
        assert (action[there] == 0).all()  # there is nothing better than to stay
        z = dynamics.predict(weights, z)[np.arange(16), action]


def test_a_plan_looks_as_far_as_it_may() -> None:
    """What is nearest after one step is not what comes nearest; eight steps ahead, and no more."""
    weights = np.zeros((3, 3, 2))
    weights[1, -1], weights[2, -1] = (1.0, 0.0), (1.5, 0.5)
    wanted, start = np.array([[True, True]]), np.zeros((1, 2))
    assert plan.best_actions(weights, start, np.array([[3.0, 0.0]]), wanted) == [1]
    weights[2, -1] = (1.06, 0.0)  # the other one would be there after nine steps
    assert plan.best_actions(weights, start, np.array([[9.0, 0.0]]), wanted) == [2]


def test_one_action_reaches_as_far_as_the_strongest() -> None:
    reach = plan.reach(domain_of_moves(), np.random.default_rng(0).standard_normal((9, 4)))
    np.testing.assert_allclose(reach, [0.25, 0.25, 0, 0])


# ---- imagining ---------------------------------------------------------------------------------


def known(
    index: int, kl: list[float], masked: tuple[int, ...] = (), resting: tuple[int, ...] = ()
) -> Environment:
    variance = [0.2 if latent in resting else 1.0 for latent in range(len(kl) + 2)]
    return environment(index, masked, latents=len(kl), variance=variance, kl=kl)


def test_inactive_latents_carry_nothing_here_and_are_active_elsewhere() -> None:
    clothes = known(0, [4.0, 4.0, 2.0, 0.1])
    digits = known(1, [3.0, 0.2, 1.0, 0.1], masked=(0,))
    found = imagine.imagination(Environments.of((clothes, digits), current=1))
    assert found.latents.tolist() == [True, True, False, False]
    assert found.source == 0


def test_what_is_imagined_is_of_where_most_can_be() -> None:
    here = known(2, [0.1, 0.1, 0.1, 4.0])
    some, most = known(0, [4.0, 0.1, 0.1, 4.0]), known(1, [0.1, 4.0, 4.0, 4.0])
    for order in ((some, most, here), (replace(most, index=0), replace(some, index=1), here)):
        found = imagine.imagination(Environments.of(order, current=2))
        assert found.latents.tolist() == [False, True, True, False]


def test_plausible_latents_are_seen_in_replayed_images_not_drawn() -> None:
    """An encoder that finds the same in whatever image."""
    shape = Architecture(height=16, width=16, latents=3, encoder_channels=4, hidden=8,
                         decoder_channels=4, space_to_depth=2)  # fmt: skip
    networks = Networks(shape)
    with torch.no_grad():
        networks.encoder.posterior.weight.zero_()
        networks.encoder.posterior.bias[:3] = torch.tensor([0.5, -1.0, 2.0])
        found = imagine.sample_plausible(
            networks, known(0, [4.0, 4.0, 4.0]), 6, torch.Generator().manual_seed(0)
        )
    np.testing.assert_allclose(found, np.tile([0.5, -1.0, 2.0], (6, 1)))


def test_constant_latents_are_inactive_however_far_from_the_prior() -> None:
    hills = known(0, [4.0, 4.0, 2.0, 0.1])
    room = known(1, [6.0, 4.0, 3.0, 3.0], resting=(0, 3))
    found = imagine.imagination(Environments.of((hills, room), current=1))
    assert found.latents.tolist() == [True, False, False, False]
    hills = known(0, [4.0, 4.0, 2.0, 0.1], resting=(0,))  # it hardly varied there either
    with pytest.raises(InputError, match="is active in environment 1"):
        imagine.imagination(Environments.of((hills, room), current=1))


@pytest.mark.parametrize(
    ("environments", "sentence"),
    [
        (Environments.of((known(0, [4.0, 4.0]),), 0), "knows one environment only"),
        (
            Environments.of((known(0, [4.0, 0.0]), known(1, [2.0, 2.0])), 1),
            "every latent that is active elsewhere is active in environment 1",
        ),
    ],
)
def test_where_there_is_nothing_to_imagine_a_sentence_says_why(
    environments: Environments, sentence: str
) -> None:
    with pytest.raises(InputError, match=f"nothing to imagine: .*{sentence}"):
        imagine.imagination(environments)


# ---- the trajectory ----------------------------------------------------------------------------


def test_places_count_when_they_are_first_seen() -> None:
    corner, other = np.array([[0.0, 0.0]]), np.array([[1.0, 0.5]])
    found = trajectory.coverage([corner, corner, other])
    assert found is not None
    assert found["share"] == [1 / 144, 1 / 144, 2 / 144]
    visits = np.array(found["map"])
    assert visits[0, 0] == 2
    assert visits[6, 11] == 1
    assert trajectory.coverage([]) is None


class PositionsAsLatents:
    """An evaluator whose latents are the positions themselves."""

    coordinates = {0: 0, 1: 1}  # noqa: RUF012

    def positions(self, latents: Any) -> Any:
        return latents[:, :2].clip(0, 1)


def test_a_trajectory_holds_the_factors_that_are_a_position() -> None:
    truth = {"x": np.zeros(3), "bearing": np.array([0.0, 0.5, 1.0]), "pitch": np.full(3, 0.5)}
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    told = Trajectory(("bearing", "pitch"))
    told.add(AgentStep(0, frames, truth, truth, None))
    np.testing.assert_array_equal(told.after[0], [[0.0, 0.5], [0.5, 0.5], [1.0, 0.5]])
    told = Trajectory()
    told.add(AgentStep(0, frames, truth, truth, None))
    assert told.after == []  # x without y is no position


def test_vase_environments_declare_positions_and_the_step_fraction() -> None:
    env = canvas(channels=3, stride=2)
    before = env.reset()[1]["x"]
    after = env.step(np.int64(env.names.index("right")))[-1]["x"]
    assert after - before == pytest.approx(env.step_fraction)
    assert (env.axes, env.randomized_factors) == (("x", "y"), ("x", "y", "hue"))
    assert canvas(actions=["move"]).randomized_factors == ("x", "y")
    assert {*PlaceEnv.axes, *PlaceEnv.randomized_factors} == {*scenery.RANGES}


def test_goal_statistics_compare_with_true_positions() -> None:
    trail = [np.array([[0.1 * step, 0.5]]) for step in range(11)]
    told = Trajectory(before=trail[:-1], after=trail[1:])
    attempts = [
        GoalAttempt(0, 0, np.array([0.5, 0.9]), 0, 5, reached=True),  # as short as can be
        GoalAttempt(0, 0, np.array([0.3, 0.9]), 5, 6, reached=True),  # ends at 0.6, not 0.3
        GoalAttempt(0, 0, np.array([0.7, 0.9]), 6, 9, reached=True),  # three steps for one
        GoalAttempt(0, 2, np.array([0.7, 0.9]), 9, 10, reached=False),
    ]
    (x, other) = trajectory.goal_statistics(attempts, told, PositionsAsLatents(), step_fraction=0.1)  # type: ignore[arg-type]
    assert x["coordinate"] == "x"
    assert (x["goals"], x["reached"], x["steps"]) == (3, 1.0, 3.0)
    assert x["fewest"] == pytest.approx((5 + 2 + 1) / 3)
    assert x["reached_in_twice"] == pytest.approx(2 / 3)
    assert x["error"] == pytest.approx(0.2)
    assert other == {"latent": 2, "goals": 1, "reached": 0.0, "steps": 1.0}


def test_the_mask_is_that_of_the_inferred_environment() -> None:
    made = learner()
    one, other = made.environments
    masks = np.array([[True] * 8, [False] * 8])
    environments = Environments.of((replace(one, mask=masks[0]), replace(other, mask=masks[1])), 0)
    images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        seen = made.average.encoder(images)
        believed = made.average.classifier(seen, 2).argmax(1).numpy()
    code = code_of(seen.mean.numpy(), log_variance=seen.log_variance.numpy())
    np.testing.assert_array_equal(inferred_masks(made.average, environments, code), masks[believed])


def test_a_latent_encodes_one_coordinate_the_one_it_correlates_with_best() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((2, 500))
    mean = np.stack([x + 0.3 * y, 1.5 * y + x, np.zeros(500)], axis=1)
    code = code_of(mean, factors={"x": x, "y": y})
    axes = ("x", "y")
    assert _coordinates(code, [0, 1, 2], axes) == {0: 0, 1: 1}
    assert _coordinates(code, [2], axes) == {}
    assert _coordinates(replace(code, factors={"x": x, "y": np.ones(500)}), [0, 1], axes) == {0: 0}


def test_novelty_goes_where_it_has_not_been() -> None:
    selector = NoveltySelector(3, 4, np.random.default_rng(0))
    known, weights = tried(domain_of_moves(4.0), 40)
    z = np.ones((3, 4))
    selector.update(known, z, np.zeros(3, dtype=bool), 0)
    taken: list[int] = []
    for step in range(4):
        action = selector.select_actions(known, z, step)
        taken += action[:1].tolist()
        led = dynamics.predict(weights, z)[np.arange(3), action[:1].repeat(3)]
        selector.update(known, led, np.zeros(3, dtype=bool), step)
    assert sorted(taken) == [1, 2, 3, 4]  # each way once, and never to stay


def test_unseen_domains_combine_motion_and_tint() -> None:
    still = CanvasDomain("digits", SPRITES, size=16, channels=3, hue="none")
    moving, tinted = unseen_domains(still, None).values()
    assert set(moving.sample(np.random.default_rng(0), 4)[1].factors) == {"x", "y"}
    assert set(tinted.sample(np.random.default_rng(0), 4)[1].factors) == {"x", "y", "hue"}
    assert len(unseen_domains(replace(still, channels=1), None)) == 1


# ---- exploring ---------------------------------------------------------------------------------

SETTINGS = config.nested({
    "stream.schedule": [["moving", 60], ["still", 40]],
    "stream.size": 16, "stream.batch_size": 32,
    "stream.domains": {
        "moving": {"domain": "solids", "moving": True, "side": 8, "count": 400},
        "still": {"domain": "strokes", "side": 8, "count": 400},
    },
    "model.latents": 8, "model.encoder_channels": 8, "model.hidden": 32,
    "model.decoder_channels": 8, "model.space_to_depth": 2,
    "objective.c_increment": 0.1, "training.checkpoint_every": 500,
    "probes.train": 200, "probes.test": 200,
})  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that has seen solids move and strokes at rest."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.toml").write_text(config.to_toml(config.parse(SETTINGS, "test")))
    arguments = ["train", str(folder / "run.toml"), "--out", str(folder / "run"), "--no-report"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return RunFolder(folder / "run")


def learner() -> Learner:
    """One that knows two environments, of which the first uses two latents that this does not."""
    settings = config.parse(SETTINGS, "test")
    made = build.learner(settings, (1, 16, 16))
    made.observe(torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    here = made.environments.present
    kl = np.array([4.0, 4.0, *[0.0] * 6])
    elsewhere = replace(here, index=1, kl=kl, batches=20)
    made.environments = Environments.of((here, elsewhere), current=0)
    return made


def agent_steps(policy: str, steps: int = BABBLING_STEPS + 20) -> list[AgentStep]:
    made = learner()
    envs = make_environments(
        "vase/Canvas-v0", 6, made.architecture, {"sprites": SPRITES, "size": 16}
    )
    chosen = POLICIES[policy](made, 6, len(canvas().names), np.random.default_rng(0))
    return list(explore(made, envs, chosen, steps, seed=3))


@pytest.mark.parametrize("policy", POLICIES)
def test_agents_act_on_what_they_stand_before(policy: str) -> None:
    """What is before an action is what was after the last, but for who begins anew."""
    found = agent_steps(policy)
    begun = np.zeros(6, dtype=int)  # identities change when an agent begins anew
    for one, next_ in pairwise(found):
        same = (next_.before["x"] == one.after["x"]) & (next_.before["y"] == one.after["y"])
        at_rest = (next_.before["x"] == 0.5) & (next_.before["y"] == 0.5)
        assert (same | at_rest).all()
        begun += ~same
    # In 44 steps none of the six, which are 10 to 11 steps apart, begins anew twice.
    assert (begun <= 1).all()
    assert policy == "imagination" or begun.any() == (policy != "nothing")
    moved = any((step.before["x"] != step.after["x"]).any() for step in found)
    assert moved == (policy != "nothing")
    if policy not in ("oracle", "nothing"):  # whoever draws numbers draws the same ones again
        for one, other in zip(found, agent_steps(policy), strict=True):
            np.testing.assert_array_equal(one.frames, other.frames)


def test_the_learner_takes_in_one_batch_a_step_once_enough_was_seen() -> None:
    found = agent_steps("random", BABBLING_STEPS + MIN_BUFFERED_STEPS + 3)
    learnt = [step.observation is not None for step in found]
    assert learnt == [False] * (BABBLING_STEPS + MIN_BUFFERED_STEPS - 1) + [True] * 4


class Short(gymnasium.Env[Any, Any]):
    """Ends by itself after ten steps, and its `info` is not the same at every one of them."""

    observation_space = spaces.Box(0, 255, (16, 16, 1), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.age = 0
        return self._frame(), {"x": -5.0, "lives": 3}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.age += 1
        told = {"x": 7.0, "y": np.nan, "score": 1.0, "board": np.zeros(4), "lives": 3}
        return self._frame(), 0.0, self.age == 10, False, told

    def _frame(self) -> Any:
        return self.np_random.integers(0, 256, (16, 16, 1), dtype=np.uint8)


class Blind(Short):
    observation_space = spaces.Box(-1.0, 1.0, (3,))


class Fluid(Short):
    action_space = spaces.Box(-1.0, 1.0, (2,))


@pytest.fixture(scope="module", autouse=True)
def others() -> None:
    """Environments that are not ours."""
    for made in (Blind, Fluid, Short):
        gymnasium.register(f"{made.__name__}-v0", entry_point=made)


def test_an_environment_of_another_kind_is_explored_too() -> None:
    made = learner()
    envs = make_environments("Short-v0", 4, made.architecture, {})
    policy = POLICIES["imagination"](made, 4, 3, np.random.default_rng(0))
    told = Trajectory()
    for step in explore(made, envs, policy, BABBLING_STEPS + 12, seed=0):
        told.add(step)
    assert told.after == []  # what it calls x is no share of a range
    assert made.step == 1  # nothing was learnt yet
    assert trajectory.coverage(told.after) is None


@pytest.mark.parametrize(
    ("name", "settings", "error", "sentence"),
    [
        ("Blind-v0", {}, InputError, r"the model learns images of uint8 \[16, 16, 1\]"),
        ("vase/Canvas-v0", {"sprites": "strokes", "size": 32}, InputError, "Set that size"),
        ("Fluid-v0", {}, InputError, "planning needs Discrete"),
        ("Nowhere-v0", {}, ConfigError, "cannot be made"),
        ("vase/Canvas-v0", {"colour": "red"}, ConfigError, "cannot be made.*colour"),
        ("vase/Canvas-v0", {"sprites": "cats", "size": 16}, ConfigError, "no sprites called"),
        ("a:b:c", {}, ConfigError, "cannot be made"),
    ],
)
def test_environments_that_do_not_fit_are_refused(
    name: str, settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    architecture = build.architecture(config.parse(SETTINGS, "test"), (1, 16, 16))
    with pytest.raises(error, match=sentence):
        make_environments(name, 2, architecture, settings)


@pytest.mark.parametrize(
    ("exploration_config", "sentence"),
    [
        (ExplorationConfig("moving", {}), "does not start with a sprite at rest"),
        (ExplorationConfig("attic", {}), r"neither a domain of this run \(moving, still\)"),
        (ExplorationConfig("still", {}, policy="luck"), "no policy 'luck'. There are: imagination"),
        (ExplorationConfig("Short-v0", {}, policy="oracle"), "The oracle policy needs"),
    ],
)
def test_impossible_exploration_runs_are_refused(
    run: RunFolder, exploration_config: ExplorationConfig, sentence: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=sentence):
        ExplorationRun(run, build.DataOptions(), exploration_config)


def test_exploring_writes_results_and_does_not_change_the_run(
    run: RunFolder, unpainted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vase.report.decode.measure_effects", lambda *_: {})  # not asked for here
    before = run.checkpoint.read_bytes()
    arguments = ["explore", str(run.path), "--in", "still", "--steps", "105"]
    arguments.append(f"data_dir={run.path / 'somewhere'}")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert run.checkpoint.read_bytes() == before
    out = run.path / "exploration" / "still-imagination"
    written = {path.name for path in out.iterdir()}
    assert written == {
        "exploration.json", "checkpoint.safetensors", "film.gif", "places.png", "worth.png",
    }  # fmt: skip
    record = json.loads((out / "exploration.json").read_text())
    assert [entry["step"] for entry in record["zero_shot"]] == [0, 26, 52, 78, 105]
    assert record["goals"]
    assert record["coverage"]["share"][-1] > record["coverage"]["share"][0]
    assert record["settings"] == {"data_dir": "somewhere"}  # and not where on this machine
    page = CliRunner().invoke(app, ["report", str(run.path)])
    assert page.exit_code == 0, page.output
    html = run.report.read_text()
    assert "data:image/gif;base64," in html
    assert 'id="exploration"' in html


def test_the_film_shows_what_is_imagined_above_what_is_seen(tmp_path: Path) -> None:
    from PIL import Image

    dark, light = np.zeros((2, 1, 8, 8), np.float32), np.ones((2, 1, 8, 8), np.float32)
    path = tmp_path / "film.gif"
    path.write_bytes(figures.animated_gif([(0, light, dark), (1, dark, light)]))
    with Image.open(path) as film:
        assert film.n_frames == 2
        head, side = figures.HEAD, 8 * figures.SCALE
        for step, (above, below) in enumerate([(255, 0), (0, 255)]):
            film.seek(step)
            pixels = np.asarray(film.convert("L")).astype(int)
            assert abs(pixels[head + side // 2, side // 2] - above) < 8
            assert abs(pixels[2 * head + side + side // 2, side // 2] - below) < 8


@pytest.mark.parametrize(("axes", "column"), [(["x", "y"], 0), (["bearing", "pitch"], 11)])
def test_a_map_has_on_the_left_what_is_to_the_left(axes: list[str], column: int) -> None:
    visits = np.zeros((12, 12), dtype=int)
    visits[3, 0] = 5
    coverage = {"share": [1 / 144], "map": visits.tolist()}
    figure = figures.plot_coverage([{"policy": "random", "coverage": coverage, "axes": axes}])
    (shown,) = figure.axes[0].images
    visited = np.isfinite(np.ma.filled(shown.get_array(), np.nan))
    assert np.argwhere(visited).tolist() == [[3, column]]


# ---- the benchmark -----------------------------------------------------------------------------


def seed(number: int, errors: dict[str, float]) -> dict[str, Any]:
    def entry(step: int, error: float) -> dict[str, Any]:
        told = {"position_mse": error, "masked_position_mse": error**2}
        told |= {"identity": 0.5, "reconstruction_nats": 90.0}
        return {"step": step, "domains": {"moving": told}}

    return {
        "seed": number,
        "policies": [
            {
                "policy": policy,
                "zero_shot": [entry(0, 0.01), entry(10, error)],
                "coverage": {"share": [0.1, 0.5], "map": [[1]]},
                "goals": [{"latent": 0, "goals": 5, "reached": 1.0, "steps": 4.0}],
            }
            for policy, error in errors.items()
        ],
    }


def test_gains_are_ratios_paired_by_seed() -> None:
    """Errors that differ from seed to seed, always by the same factor: an interval of no width."""
    factors = {"imagination": 1, "random": 2, "novelty": 3, "oracle": 0.5, "nothing": 6}
    records = [
        seed(number, {policy: 1e-4 * (1 + number) * factor for policy, factor in factors.items()})
        for number in range(3)
    ]
    rows = [line.split(" | ") for line in bench.error_ratio_table(records).splitlines()[2:]]
    assert {row[1]: (row[2], row[3]) for row in rows} == {
        "random": ("2.00 [2.00, 2.00]", "4.00 [4.00, 4.00]"),
        "novelty": ("3.00 [3.00, 3.00]", "9.00 [9.00, 9.00]"),
        "oracle": ("0.50 [0.50, 0.50]", "0.25 [0.25, 0.25]"),
        "nothing": ("6.00 [6.00, 6.00]", "36.00 [36.00, 36.00]"),
    }
    assert "| other latents | 15 | 100.0 ± 0.0 | – | 4.0 ± 0.0 |" in bench.goal_table(records)
    assert "2.00 | 4.00" in bench.error_ratio_table(records[:1])


def test_sprites_of_a_place_are_those_of_its_domain(run: RunFolder) -> None:
    envs = ExplorationRun(run, build.DataOptions(), ExplorationConfig("still", {})).envs
    ours: Sprites = envs.envs[0].unwrapped.sprites  # type: ignore[attr-defined]
    domain = build.stream(config.load(str(run.config)), build.DataOptions()).domains["still"]
    assert isinstance(domain, CanvasDomain)
    np.testing.assert_array_equal(ours.pixels, domain.sprites.pixels)
