"""What the explorer shows of a model alone, such as `VASE.save` and `vase watch` write it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vase import config, consent
from vase.errors import CheckpointError
from vase.explorer.run_data import EXAMPLES, EnvironmentEntry, ExplorerData
from vase.lifelong.environments import Environments
from vase.lifelong.state import averaged_networks
from vase.nets import Architecture
from vase.report import decode, pictures, style
from vase.report.run import RunRecords, believed_segments
from vase.training import checkpoint

NETWORKS = ("channels", "height", "width", "environments")  # what a configuration does not say


def load_model(path: Path, names: Mapping[int, str]) -> ExplorerData:
    """Read a model, whose images nobody has kept. names: of environments, where they have any.

    Raises `CheckpointError` for a file that is no model, has learnt nothing, or names code to run.
    """
    tensors, record = checkpoint.read(path)
    with checkpoint.understood(path):
        shape = Architecture(**record["architecture"])
        environments = Environments.from_json(record["environments"])
        if "estimator" not in record or not len(environments):
            raise CheckpointError(
                f"'{path}' is no model that has learnt something. Give the folder of a run, or a "
                "file that VASE.save has written."
            )
        called = {
            each.index: names.get(each.index) or f"environment {each.index}"
            for each in environments
        }
        settings = _settings(record, shape, called)
        if named := consent.own_code(settings):
            raise CheckpointError(
                f"'{path}' names code to run: {', '.join(named)}. Only its own program explores it."
            )
        run = RunRecords(
            path=path,
            config=settings,
            config_text="",
            metrics=(),
            events=tuple(record["estimator"]["events"]),
            probes=None,
            networks=averaged_networks(tensors, shape),
            environments=environments,
            steps=max(1, int(record["step"])),
            seconds=None,
        )
    colours = style.domain_colours(run.domains)
    places = tuple(
        EnvironmentEntry(each, called[each.index], colours.get(called[each.index], style.QUIET))
        for each in environments
    )
    imagined = {
        entry.name: decode.generated_images(
            run.networks, entry.environment, EXAMPLES, pictures.SEED
        )
        for entry in places
    }
    return ExplorerData(run, places, imagined, real=False, weights={})


def _settings(
    record: Mapping[str, Any], shape: Architecture, called: Mapping[int, str]
) -> config.Config:
    """A configuration in which the stream showed what the model believed it to show."""
    bands = believed_segments(record["estimator"]["events"], max(1, int(record["step"])))
    stays = [[called.get(band.index, "discarded"), band.end - band.start] for band in bands]
    networks = {key: each for key, each in shape.model_dump().items() if key not in NETWORKS}
    values = {"stream": {"schedule": stays, "domains": {}}, "model": networks}
    return config.parse(values, "the model")
