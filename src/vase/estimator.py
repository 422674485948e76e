"""The front door of the library: a scikit-learn-like estimator around one learner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from torch import Tensor

from vase import feature_names, persistence
from vase.arguments import whole_number
from vase.domains.feed import Batch, alike, whole
from vase.errors import InputError
from vase.images.layout import Expected, Layout
from vase.images.values import from_batch
from vase.isolation import isolated
from vase.lifelong.class_priors import class_priors, with_priors
from vase.lifelong.effects import measure_effects
from vase.lifelong.learner import Learner
from vase.lifelong.replay import decoded, drawn_latents
from vase.lifelong.translation import translated
from vase.lifelong.weights import frozen
from vase.objective import gaussian
from vase.records import Decision, Event, Posterior

Array = NDArray[np.float32]
CHUNK = 512  # images that are encoded at a time


class VASE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns an unlabelled image stream, batch by batch, and says when its domain has changed.

    latents: size N of the code. seed: of weights and noise. accelerator: "auto", "cpu", "cuda" or
    "mps". layout: what the sides of one image are, "HW", "HWC", "CHW" or "D" (a vector), where
    shapes alone do not say. options: any setting of the configuration by its dotted name, as on
    the command line, for example {"replay.ratio": 0.25, "detection.target_arl": 1e6}.

    Wherever images are taken, they may be an array or tensor, a Pillow image, a path, a data set, a
    loader or an iterable of these; see docs/data.md. In place of images there may be vectors [B, D]
    in [0, 1]; other ranges are brought there by `make_pipeline(MinMaxScaler(clip=True), VASE())`.

    The first batch fixes the images' size, channels and layout, and the parameters that are in use
    until the next `fit`. Attributes after that: `events_`, `environment_` (the present one),
    `masks_` (environments x latents).

    A call changes the model as a whole or, where it raises, not at all; and it leaves PyTorch's
    and NumPy's modes, defaults and generators as they were.
    """

    def __init__(
        self,
        latents: int = 24,
        *,
        seed: int = 0,
        accelerator: str = "auto",
        layout: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.latents = latents
        self.seed = seed
        self.accelerator = accelerator
        self.layout = layout
        self.options = options

    learner_: Learner
    layout_: Layout
    events_: list[Event]
    above_one_: bool
    parameters_: dict[str, Any]

    # ---- learning ------------------------------------------------------------------------------

    @isolated()
    def partial_fit(self, images: Any, y: object = None) -> Decision:  # noqa: ARG002
        """Take in one batch of the stream; `y` is ignored.

        images: uint8 or float, [B, H, W], [B, H, W, C] or [B, C, H, W]; or vectors [B, D], floats
        in [0, 1]; or whatever else `fit` takes, all of it as one batch. Returns a `Decision`: its
        `kind` is "same", "deferred" (suspicious, not learnt yet), "dismissed", "new", "returned",
        "reopened", "undetermined" or "skipped" (no finite loss), with the id of the environment, a
        reason in words and the evidence in numbers. Bad images raise `InputError` and change
        nothing.
        """
        feature_names.refuse_others(self, images)
        decision = self._learn(whole(images, self._expected))
        feature_names.keep(self, images)
        return decision

    @isolated()
    def fit(
        self,
        X: Any,
        y: object = None,  # noqa: ARG002
        *,
        batch_size: int = 64,
        size: int | None = None,
    ) -> Self:
        """Forget everything and take in `X` as one stream, in order; `y` is ignored.

        X: an array or memory map of images or vectors, a table of vectors, a path (an image, an
        .npy or .npz file, a video, a folder of images, a folder of folders or videos), a dataset, a
        DataLoader, or any iterable of images or of batches of them, with or without labels.
        batch_size: of what does not come in batches. size: pixels to which the sides of image files
        and Pillow images are brought; by default 64 for files, and Pillow images stay as they are.

        Where it raises, or is interrupted, the model is what it was before; a stream that is to be
        stopped at any time goes through `partial_fit`.
        """
        count = whole_number(batch_size, "batch_size", least=1)
        sides = None if size is None else whole_number(size, "size", least=1)
        fresh: Self = clone(self)
        for batch in alike(X, count, Expected(layout=self.layout, size=sides)):
            fresh._learn(batch)
        feature_names.keep(fresh, X)
        self._forget()
        for name in [name for name in vars(fresh) if name.endswith("_")]:
            setattr(self, name, getattr(fresh, name))
        return self

    def fit_transform(self, X: Any, y: object = None, **options: Any) -> Array:
        """`fit`, and then the posterior means of the same images, [B, N]."""
        if isinstance(X, Iterator):
            raise InputError(
                "This is an iterator, which can be read once, and fit_transform reads images "
                "twice. Give a list, or call fit and transform."
            )
        codes: Array = self.fit(X, y, **options).transform(X)
        return codes

    # ---- using ---------------------------------------------------------------------------------

    @isolated()
    def transform(self, images: Any) -> Array:
        """Posterior means, [B, N]."""
        return self.posterior(images)[0]

    @isolated()
    def posterior(self, images: Any, *, over_environments: bool = False) -> tuple[Array, Array]:
        """Mean and variance of q(z|x), [B, N] each.

        The variance is how unsure the model is of each latent: near 0 where the image settles it,
        near 1, the prior's, where it says nothing of it. Of what you read from the latents with a
        function f, the confidence is the spread of f over samples of them:

            mean, variance = model.posterior(images)
            noise = numpy.random.default_rng(0).standard_normal((32, *mean.shape))
            spread = numpy.stack([f(mean + n * variance**0.5) for n in noise]).std(axis=0)

        over_environments: count in that the environment is not known either. A latent is then at
        the prior with the probability that the image is of an environment which masks it: the
        moments of sum_s q(s|x) q(z|x, s).
        """
        posterior = self._encode(self._parts(images))
        if over_environments:
            posterior = gaussian.over_environments(
                posterior,
                self._probability(posterior),
                torch.as_tensor(self.masks_, device=posterior.mean.device),
            )
        return _numpy(posterior.mean), _numpy(posterior.log_variance.exp())

    @isolated()
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

    @isolated()
    def reconstruct(self, images: Any, environment: int | None = None) -> Array:
        """Encode images and decode them again in an environment (default: the present one)."""
        return self.inverse_transform(self.transform(images), environment)

    @isolated()
    def translate(self, images: Any, to: int, *, source: int | None = None) -> Array:
        """Images as they would look in environment `to`: what both share segments as it is.

        source: the environment they are seen in; by default each image's most probable one.
        """
        target = self._known(to)
        batch = whole(images, self._expected).images
        given = None if source is None else np.full(len(batch), self._known(source))
        seen = self._classify(batch).argmax(1).numpy() if given is None else given
        learner, known = self._learner, self._learner.environments
        made = torch.empty_like(batch)
        for index in np.unique(seen):
            rows = torch.from_numpy(np.flatnonzero(seen == index))
            for part in torch.split(rows, CHUNK):
                made[part] = translated(
                    learner.average, batch[part].to(learner.device), known[index], known[target]
                ).cpu()
        return from_batch(made, self.layout_)

    @isolated()
    def sample(self, count: int, environment: int | None = None, *, seed: int = 0) -> Array:
        """Generate `count` images of an environment; latents are drawn from their own marginals."""
        count = whole_number(count, "count", least=1)
        index = self._known(environment)
        known = self._learner.environments[index]
        return self._decode(drawn_latents(known, count, whole_number(seed, "seed")), index)

    @isolated()
    def predict(self, images: Any, *, context: Any = None) -> NDArray[np.int64]:
        """Return the most probable environment of each image, [B]; see `predict_proba`."""
        found = self.predict_proba(images, context=context).argmax(axis=1)
        return np.asarray(found, dtype=np.int64)

    @isolated()
    def predict_proba(self, images: Any, *, context: Any = None) -> Array:
        """Return q(s|x): a probability of every known environment for each image, [B, E].

        This is the classifier's opinion of single images. Where the stream is, `environment_`, is
        the change detector's, which weighs many images; the two may differ.

        context: images from the same place, which say how probable each environment is there. They
        decide for images that could be of more than one; without them all are equally probable.
        """
        likelihood = self._classify(self._parts(images))
        if context is not None:
            priors = class_priors(self._classify(self._parts(context)))
            likelihood = with_priors(likelihood, priors)
        return _numpy(likelihood)

    @isolated()
    def describe(self, environment: int | None = None) -> list[dict[str, Any]]:
        """What each latent does that an environment uses (default: the present), dearest first.

        A record each: `latent`; `nats` that it carries; `effect`, what moving it does to images,
        such as "x position" or "shape"; `share` of the squared change of pixels that this name
        explains, 0 for "shape", which stands for all that has no name. Found without labels, from
        images that the model generates. Empty for a model of vectors. See `vase.lifelong.effects`.
        """
        record = self._learner.environments[self._known(environment)]
        used = [int(latent) for latent in np.argsort(-record.kl) if record.used[latent]]
        return [
            {"latent": latent, "nats": float(record.kl[latent]), "effect": found.name,
             "share": found.share}
            for latent, found in measure_effects(self._learner.average, record, used).items()
        ]  # fmt: skip

    @property
    def environment_(self) -> int:
        """The id of the present environment."""
        return self._learner.environments.current

    @property
    def masks_(self) -> NDArray[np.bool_]:
        """Which latents each environment uses or may use, [E, N]."""
        return np.stack([known.mask for known in self._learner.environments])

    # ---- keeping -------------------------------------------------------------------------------

    @isolated()
    def save(self, path: str | Path) -> Path:
        """Save everything, so that a loaded model goes on learning as this one would."""
        self._known(None)
        return persistence.save(self, Path(path))

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
        trust_code: bool = False,
    ) -> Self:
        """A model from the Hugging Face Hub, or from a folder that holds such a one; see `load`."""
        from vase import hub

        path = hub.pull(repo_id, revision=revision, token=token)
        return cls.load(path, accelerator=accelerator, trust_code=trust_code)

    @isolated()
    def to_onnx(self, folder: str | Path) -> dict[str, float]:
        """Write encoder, decoder and belief as ONNX files; see `vase.export`.

        Returns the largest difference to PyTorch of each; a `RunError` if one is over 1e-4.
        """
        from vase.export import to_onnx

        networks = frozen(self._learner.average).cpu()
        return to_onnx(networks, self._learner.environments, Path(folder))

    @classmethod
    @isolated()
    def load(
        cls, path: str | Path, *, accelerator: str | None = None, trust_code: bool = False
    ) -> Self:
        """A model that was saved with `save`, or that `vase train` has trained into a folder.

        path: the file or the folder. accelerator: another than its own.

        trust_code: whether networks and detectors of your own, which the file names as
        `module:Class`, are imported; without it such a file is refused.
        """
        return persistence.load(cls, Path(path), accelerator, trust_code)

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

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _learn(self, batch: Batch) -> Decision:
        begins = not hasattr(self, "learner_")
        if begins:
            channels, height, width = batch.images.shape[1:]
            persistence.begin(self, (channels, height, width), batch.layout)
        try:
            observation = self.learner_.observe(batch.images.to(self.learner_.device))
        except BaseException:
            if begins:
                self._forget()
            raise
        self.events_.extend(observation.events)
        self.above_one_ |= batch.above_one
        return observation.decision

    @property
    def _expected(self) -> Expected:
        """What this model knows of images before it has seen them."""
        learnt = self.learner_.architecture.image if hasattr(self, "learner_") else None
        return Expected(layout=self.layout, image=learnt, dark=getattr(self, "above_one_", False))

    def _parts(self, images: Any) -> Iterator[Tensor]:
        """Whatever holds images in parts [B, C, H, W], of the shape that this model learns."""
        feature_names.refuse_others(self, images)
        return (batch.images for batch in alike(images, CHUNK, self._expected))

    @torch.no_grad()
    def _classify(self, images: Tensor | Iterator[Tensor]) -> Tensor:
        parts = torch.split(images, CHUNK) if isinstance(images, Tensor) else images
        return self._probability(self._encode(parts))

    @torch.no_grad()
    def _probability(self, posterior: Posterior) -> Tensor:
        """q(s|x) of every known environment, [B, E]."""
        known = len(self._learner.environments)
        probability: Tensor = self._learner.average.classifier(posterior, known).exp()
        return probability

    @torch.no_grad()
    def _encode(self, images: Iterable[Tensor]) -> Posterior:
        learner = self._learner
        read = learner.average.classifier.of_features  # else features would only take memory
        parts = []
        for part in images:
            seen = learner.average.encoder(part.to(learner.device))
            parts.append((seen.mean, seen.log_variance, *((seen.features,) if read else ())))
        return Posterior(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _decode(self, z: Tensor, index: int) -> Array:
        return from_batch(decoded(self._learner.average, z, index), self.layout_)

    def _known(self, environment: int | None) -> int:
        count = len(self._learner.environments)
        index = (
            self.environment_ if environment is None else whole_number(environment, "environment")
        )
        if index >= count:
            raise InputError(
                f"There is no environment {index}: this model knows {count}, counted from 0."
            )
        return index


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float32)
