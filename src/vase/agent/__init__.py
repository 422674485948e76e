"""Environments to act in, and an agent that explores them by imagination.

Importing this package registers `vase/Canvas-v0`, `vase/Hills-v0` and `vase/Room-v0` with
Gymnasium:

    import gymnasium
    import vase.agent

    env = gymnasium.make("vase/Canvas-v0", sprites="mnist", actions=("move", "turn"))
"""

import gymnasium

if "vase/Canvas-v0" not in gymnasium.registry:
    gymnasium.register("vase/Canvas-v0", entry_point="vase.agent.canvas:CanvasEnv")
    for _place in ("hills", "room"):
        gymnasium.register(
            f"vase/{_place.title()}-v0",
            entry_point="vase.agent.place:PlaceEnv",
            kwargs={"place": _place},
        )
