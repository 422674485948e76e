"""The front door of the library: a scikit-learn-like estimator around one learner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from torch import Tensor

from vase import build, config
from vase.domains.feed import batches
from vase.domains.images import Layout, from_batch, in_parts, layout_of, to_batch
from vase.errors import CheckpointError, InputError
from vase.lifelong import state
from vase.lifelong.class_priors import class_priors, with_priors
from vase.lifelong.learner import Learner
from vase.lifelong.replay import latents
from vase.lifelong.translation import translated
from vase.lifelong.weights import frozen
from vase.nets import Architecture, space_to_depth_for
from vase.records import Decision, Event, Posterior
from vase.training import checkpoint

Array = NDArray[np.float32]
CHUNK = 512  # images that are encoded at a time


class VASE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns an unlabelled image stream, batch by batch, and says when its domain has changed.

    latents: size N of the code. seed: of weights and noise. accelerator: "auto", "cpu", "cuda" or
    "mps". options: any setting of the configuration by its dotted name, as on the command line,
    for example {"replay.ratio": 0.25, "detection.target_arl": 1e6}.

    In place of images there may be vectors [B, D] in [0, 1]; other ranges are brought there by
    `make_pipeline(MinMaxScaler(clip=True), VASE())`.

    The first batch fixes the images' size, channels and layout. Attributes after that: `events_`,
    `environment_` (the present one), `masks_` (environments x latents).
    """

    def __init__(
        self,
        latents: int = 24,
        *,
        seed: int = 0,
        accelerator: str = "auto",
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.latents = latents
        self.seed = seed
        self.accelerator = accelerator
        self.options = options

    # ---- learning ------------------------------------------------------------------------------

    def partial_fit(self, images: Any, y: object = None) -> Decision:  # noqa: ARG002
        """Take in one batch of the stream; `y` is ignored.

        images: uint8 or float, [B, H, W], [B, H, W, C] or [B, C, H, W]; or vectors [B, D], floats
        in [0, 1]. Returns a `Decision`: its `kind` is "same", "deferred" (suspicious, not learnt
        yet), "dismissed", "new", "returned", "reopened", "undetermined" or "skipped" (no finite
        loss), with the id of the environment, a reason in words and the evidence in numbers. Bad
        images raise `InputError` and change nothing.
        """
        batch = self._batch(images)
        if not hasattr(self, "learner_"):
            self._start(tuple(batch.shape[1:]), layout_of(np.shape(images)))
        observation = self.learner_.observe(batch.to(self.learner_.device))
        self.events_.extend(observation.events)
        return observation.decision

    def fit(self, X: Any, y: object = None, *, batch_size: int = 64, size: int = 64) -> Self:  # noqa: ARG002
        """Forget everything and take in `X` as one stream, in order; `y` is ignored.

        X: an array or memory map of images or vectors, a table of vectors, a path (an .npy or .npz
        file, a video, a folder of images, a folder of folders or videos), a dataset, a DataLoader,
        or any iterable of batches of images, with or without labels. batch_size: of what does not
        come in batches. size: pixels to which the sides of image files are brought.
        """
        found = batches(X, batch_size, size)
        first = next(found, None)
        if first is None:
            raise InputError("There are no images to fit to: the source is empty.")
        shape = to_batch(first).shape  # what cannot be learnt from leaves the model as it was
        build.architecture(self._config(shape[2], shape[3]), (shape[1], shape[2], shape[3]))
        if hasattr(self, "learner_"):
            del self.learner_
        for images in chain([first], found):
            self.partial_fit(images)
        return self

    # ---- using ---------------------------------------------------------------------------------

    def transform(self, images: Any) -> Array:
        """Posterior means, [B, N]."""
        return self.posterior(images)[0]

    def posterior(self, images: Any) -> tuple[Array, Array]:
        """Mean and variance of q(z|x), [B, N] each.

        The variance is how unsure the model is of each latent: near 0 where the image settles it,
        near 1, the prior's, where it says nothing of it. Of what you read from the latents with a
        function f, the confidence is the spread of f over samples of them:

            mean, variance = model.posterior(images)
            noise = numpy.random.default_rng(0).standard_normal((32, *mean.shape))
            spread = numpy.stack([f(mean + n * variance**0.5) for n in noise]).std(axis=0)
        """
        posterior = self._encode(images)
        return _numpy(posterior.mean), _numpy(posterior.log_variance.exp())

    def inverse_transform(self, z: Any, environment: int | None = None) -> Array:
        """Expected images of latents [B, N], as seen in an environment (default: the present)."""
        index = self._known(environment)
        codes = torch.as_tensor(np.asarray(z, dtype=np.float32), device=self._learner.device)
        if codes.ndim != 2 or codes.shape[1] != self._learner.architecture.latents:
            raise InputError(
                f"Latents must have shape [B, {self._learner.architecture.latents}]; "
                f"got {list(codes.shape)}."
            )
        mask = torch.as_tensor(self.masks_[index], device=codes.device)
        return self._decode(codes * mask, index)

    def reconstruct(self, images: Any, environment: int | None = None) -> Array:
        """Encode images and decode them again in an environment (default: the present one)."""
        return self.inverse_transform(self.transform(images), environment)

    def translate(self, images: Any, to: int, *, source: int | None = None) -> Array:
        """Images as they would look in environment `to`: what both share segments as it is.

        source: the environment they are seen in; by default each image's most probable one.
        """
        target = self._known(to)
        batch = self._batch(images)
        given = None if source is None else np.full(len(batch), self._known(source))
        seen = self.predict(images) if given is None else given
        learner, known = self._learner, self._learner.environments
        made = torch.empty_like(batch)
        for index in np.unique(seen):
            rows = torch.from_numpy(np.flatnonzero(seen == index))
            for part in torch.split(rows, CHUNK):
                made[part] = translated(
                    learner.average, batch[part].to(learner.device), known[index], known[target]
                ).cpu()
        return from_batch(made, self.layout_)

    def sample(self, count: int, environment: int | None = None, *, seed: int = 0) -> Array:
        """Generate `count` images of an environment; latents are drawn from their own marginals."""
        if count < 1:
            raise InputError(f"There must be at least one image to sample, not {count}.")
        index = self._known(environment)
        known = self._learner.environments[index]
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, self._learner.architecture.latents, generator=generator)
        choice = torch.zeros(count, dtype=torch.long)
        z = latents([known], choice, noise, "marginal")
        return self._decode(z.to(self._learner.device), index)

    def predict(self, images: Any, *, context: Any = None) -> NDArray[np.int64]:
        """Return the most probable environment of each image, [B]; see `predict_proba`."""
        found = self.predict_proba(images, context=context).argmax(axis=1)
        return np.asarray(found, dtype=np.int64)

    def predict_proba(self, images: Any, *, context: Any = None) -> Array:
        """Return q(s|x): a probability of every known environment for each image, [B, E].

        context: images from the same place, which say how probable each environment is there. They
        decide for images that could be of more than one; without them all are equally probable.
        """
        likelihood = self._classify(images)
        if context is not None:
            likelihood = with_priors(likelihood, class_priors(self._classify(context)))
        return _numpy(likelihood)

    @property
    def environment_(self) -> int:
        """The id of the present environment."""
        return self._learner.environments.current

    @property
    def masks_(self) -> NDArray[np.bool_]:
        """Which latents each environment uses or may use, [E, N]."""
        return np.stack([known.mask for known in self._learner.environments])

    # ---- keeping -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Save everything, so that a loaded model goes on learning as this one would."""
        tensors, record = state.state(self._learner)
        record["estimator"] = {
            "parameters": json.loads(json.dumps(self.get_params(), default=_plain)),
            "layout": self.layout_,
            "events": [event.to_json() for event in self.events_],
        }
        target = _with_suffix(Path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(target, tensors, record)
        return target

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        commit_message: str = "A VASE model",
        token: str | None = None,
    ) -> str:
        """Upload the model and a card to the Hugging Face Hub; the commit's address."""
        from vase import hub

        self._known(None)  # one that has seen nothing is refused
        return hub.push(self, repo_id, private=private, message=commit_message, token=token)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        accelerator: str | None = None,
    ) -> Self:
        """A model from the Hugging Face Hub, or from a folder that holds such a one."""
        from vase import hub

        path = hub.pull(repo_id, revision=revision, token=token)
        return cls.load(path, accelerator=accelerator)

    def to_onnx(self, folder: str | Path) -> dict[str, float]:
        """Write encoder, decoder and belief as ONNX files; see `vase.export`.

        Returns the largest difference to PyTorch of each; a `RunError` if one is over 1e-4.
        """
        from vase.export import to_onnx

        networks = frozen(self._learner.average).cpu()
        return to_onnx(networks, self._learner.environments, Path(folder))

    @classmethod
    def load(cls, path: str | Path, *, accelerator: str | None = None) -> Self:
        """A model that was saved with `save`, on its own accelerator or on another."""
        tensors, record = checkpoint.read(_with_suffix(Path(path)))
        if "estimator" not in record:
            raise CheckpointError(
                f"'{path}' is the checkpoint of a run. Go on with it by `vase resume`."
            )
        with checkpoint.understood(Path(path)):
            saved, shape = record["estimator"], Architecture(**record["architecture"])
            state.refuse_unfit(shape, tensors)
            model = cls(**saved["parameters"])
            model.accelerator = accelerator or model.accelerator
            settings = model._config(shape.height, shape.width)
            made = build.architecture(settings, (shape.channels, shape.height, shape.width))
            if made.model_copy(update={"environments": shape.environments}) != shape:
                raise CheckpointError(
                    f"The parameters in '{path}' are of another model than its weights."
                )
            model._start((shape.channels, shape.height, shape.width), saved["layout"])
            state.restore(model.learner_, tensors, record)
            model.events_ = [Event(**event) for event in saved["events"]]
        return model

    # ---- inside --------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever comes in
        return tags

    @property
    def _n_features_out(self) -> int:
        """How many names scikit-learn gives to the latents: vase0, vase1, ..."""
        return self._learner.architecture.latents

    @property
    def _learner(self) -> Learner:
        if not hasattr(self, "learner_"):
            raise NotFittedError("This VASE has seen no images yet. Call partial_fit first.")
        return self.learner_

    def _start(self, shape: tuple[int, ...], layout: Layout) -> None:
        channels, height, width = shape
        settings = self._config(height, width)
        self.layout_ = layout
        self.events_: list[Event] = []
        self.learner_ = build.learner(settings, (channels, height, width))

    def _config(self, height: int, width: int) -> config.Config:
        values: dict[str, Any] = {
            "stream.schedule": [["own", 1]],
            "stream.domains": {},
            "model.latents": self.latents,
            "model.space_to_depth": space_to_depth_for(height, width),
            "training.seed": self.seed,
            "training.accelerator": self.accelerator,
            **(self.options or {}),
        }
        return config.parse(config.nested(values), "VASE(options=...)")

    def _batch(self, images: Any) -> Tensor:
        return self._fitting(to_batch(images))

    def _fitting(self, batch: Tensor) -> Tensor:
        """A batch, if it has the shape that this model learns."""
        if hasattr(self, "learner_"):
            shape = self.learner_.architecture
            expected = (shape.channels, shape.height, shape.width)
            if tuple(batch.shape[1:]) != expected:
                raise InputError(
                    f"This model learns {_named(expected)}; this batch has "
                    f"{_named(tuple(batch.shape[1:]))}. Resize it, or start a new model."
                )
        return batch

    @torch.no_grad()
    def _classify(self, images: Any) -> Tensor:
        known = len(self._learner.environments)
        probability: Tensor = self._learner.average.classifier(self._encode(images), known).exp()
        return probability

    @torch.no_grad()
    def _encode(self, images: Any) -> Posterior:
        learner = self._learner
        parts = [
            learner.average.encoder(self._fitting(part).to(learner.device))
            for part in in_parts(images, CHUNK)
        ]
        return Posterior(
            torch.cat([part.mean for part in parts]),
            torch.cat([part.log_variance for part in parts]),
        )

    @torch.no_grad()
    def _decode(self, z: Tensor, index: int) -> Array:
        environment = torch.full((len(z),), index, device=z.device)
        return from_batch(
            torch.sigmoid(self._learner.average.decoder(z, environment)), self.layout_
        )

    def _known(self, environment: int | None) -> int:
        count = len(self._learner.environments)
        index = self.environment_ if environment is None else environment
        if not 0 <= index < count:
            raise InputError(
                f"There is no environment {index}: this model knows {count}, counted from 0."
            )
        return index


def _named(shape: tuple[int, ...]) -> str:
    """What has this shape, in words."""
    if shape[1:] == (1, 1):
        return f"vectors of {shape[0]} numbers"
    return f"images of (channels, height, width) = {shape}"


def _with_suffix(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def _plain(value: Any) -> Any:
    """What JSON cannot hold: NumPy numbers as Python's, other things as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float32)
