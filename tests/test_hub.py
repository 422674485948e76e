"""Models go to the Hub and come back the same; the network is a folder here."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from commands import SMALL
from sklearn.exceptions import NotFittedError

from vase import VASE, ConfigError, InputError


class ProtocolError(Exception):
    """As the Hub's client has them, of no kind that Python knows."""


IMAGES = np.random.default_rng(0).random((8, 16, 16))


@pytest.fixture
def model() -> VASE:
    subject = VASE(latents=4, options=SMALL)
    subject.partial_fit(IMAGES)
    return subject


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the Hub's repositories lie, in place of the network."""

    def create(_: Any, repo_id: str, **__: Any) -> None:
        (tmp_path / repo_id).mkdir(parents=True, exist_ok=True)

    def upload(_: Any, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
        shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"hub://{repo_id}/{commit_message}")

    def download(repo_id: str, name: str, **_: Any) -> str:
        path = tmp_path / repo_id / name
        if not path.is_file():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no {name} in {repo_id}")
        return str(path)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def test_a_model_that_was_pulled_goes_on_as_the_one_that_was_pushed(
    model: VASE, shelf: Path
) -> None:
    address = model.push_to_hub("someone/clothes", commit_message="first")
    assert address == "hub://someone/clothes/first"
    assert {path.name for path in (shelf / "someone/clothes").iterdir()} == {
        "model.safetensors",
        "README.md",
    }
    pulled = VASE.from_pretrained("someone/clothes", accelerator="cpu")
    for subject in (model, pulled):
        subject.partial_fit(IMAGES)
    np.testing.assert_array_equal(model.transform(IMAGES), pulled.transform(IMAGES))


def test_the_card_says_what_is_in_the_model(model: VASE, shelf: Path) -> None:
    model.push_to_hub("someone/clothes")
    text = (shelf / "someone/clothes/README.md").read_text()
    parsed = huggingface_hub.ModelCard(text)
    assert parsed.data.library_name == "vase"
    assert "16 x 16 with 1 channel(s), in 4 latents, after 1 batches" in text
    assert 'VASE.from_pretrained("someone/clothes")' in text
    assert "| 0 | 1 | " in text
    assert "- step 0: new, the first images of the stream" in text


def test_a_folder_serves_as_well(model: VASE, tmp_path: Path) -> None:
    model.save(tmp_path / "mine" / "model")
    pulled = VASE.from_pretrained(str(tmp_path / "mine"))
    np.testing.assert_array_equal(model.transform(IMAGES), pulled.transform(IMAGES))


def test_what_cannot_be_had_is_said_in_a_sentence(
    model: VASE, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"'no/where' cannot be read from .* no model\.saf"):
        VASE.from_pretrained("no/where")
    with pytest.raises(NotFittedError):
        VASE(latents=4).push_to_hub("someone/nothing")
    assert not (shelf / "someone").exists()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[hub\]'"):
        model.push_to_hub("someone/clothes")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Name or service not known"),
        json.JSONDecodeError("Expecting value", "<html>", 0),
        TimeoutError("timed out"),
        ProtocolError("Server disconnected without sending a response."),
        KeyError("commit_url"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_hub_does_is_one_sentence(
    model: VASE, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(InputError, match="cannot be written to on the Hugging Face Hub") as told:
        model.push_to_hub("someone/clothes")
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="cannot be read from on the Hugging Face Hub"):
        VASE.from_pretrained("someone/clothes")
