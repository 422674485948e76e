"""Detectors that detect nothing: one that knows every switch, and one that knows none."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vase.detection.protocol import ModelView
from vase.errors import ConfigError
from vase.records import Decision, DecisionKind
from vase.settings import DetectionSettings


class SingleEnvironmentDetector:
    """Rule `none`: one environment for ever."""

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:  # noqa: ARG002
        self.begun = False

    def update(self, images: Tensor) -> Decision:  # noqa: ARG002
        if self.begun:
            return Decision("same", 0)
        self.begun = True
        return Decision("new", 0, "the first images of the stream")

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self.begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begun = state["begun"]


class OracleDetector:
    """Rule `oracle`: knows every switch at its first batch, or at the next if that is skipped.

    `detection.options={switches = [[500, 1], [900, 0]]}` lists pairs of a step and the environment
    that begins there; environments are numbered in the order of their first appearance.
    """

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        try:
            self.switches = {
                int(step): int(environment) for step, environment in settings.options["switches"]
            }
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                "The oracle has to be told: set detection.options.switches to a list of pairs, "
                "[step, environment]."
            ) from None
        self.model = model
        self.known = self.present = 0

    def update(self, images: Tensor) -> Decision:  # noqa: ARG002
        if not self.known:
            self.known = 1
            return Decision("new", 0, "the first images of the stream")
        past = [step for step in self.switches if step <= self.model.step]
        environment = self.switches[max(past)] if past else 0
        if environment == self.present:
            return Decision("same", self.present)
        kind: DecisionKind = "new" if environment == self.known else "returned"
        self.known, self.present = max(self.known, environment + 1), environment
        return Decision(kind, environment, "as told")

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known, "present": self.present}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.known, self.present = state["known"], state["present"]
