"""Where events go: webhooks, MQTT brokers, commands. Each gets all in order, each at least once.

A receiver's name is shown to people and is the key of its place in the journal. It leaves out what
may be a secret (passwords, paths of webhooks, arguments of commands); a short checksum stands for
it, so that receivers that differ have names that differ.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from pydantic_core import to_json

from vase.errors import ConfigError, VaseError, optional_package, reason
from vase.version import __version__
from vase.watching.reader import backoff

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from vase.watching.journal import Journal

SECRET_VARIABLE = "VASE_WEBHOOK_SECRET"
PASSWORD_VARIABLE = "VASE_MQTT_PASSWORD"
CONNECT_S = 5.0
ANSWER_S = 10.0  # for an answer, or for each of a broker's acknowledgements
COMMAND_S = 60.0
pause = partial(backoff, longest=300.0)  # seconds between attempts, by how many failed in a row
END_S = 1.0  # for a receiver that was closed while it sent
BATCH = 100  # events that are read at once
LINE = 200  # characters of what others say


class DeliveryError(VaseError):
    """An event was not delivered, and should be sent again later."""


class Receiver:
    """Takes events. `name` is unique among receivers, stays, and holds no secret."""

    name: str

    def send(self, event: Mapping[str, Any]) -> None:
        """Deliver an event; a DeliveryError where it should be tried again."""
        raise NotImplementedError

    def close(self) -> None:
        """End a `send` that would take long. Most have a time limit, and need no end."""


# ---- webhooks ----------------------------------------------------------------------------------


class Webhook(Receiver):
    """POSTs an event as JSON to an address, signed as Standard Webhooks have it.

    The secret is that in the file, or in VASE_WEBHOOK_SECRET; without either nothing is signed. A
    redirection is not followed: it could lead events, and their signature, to anybody.

    Raises ConfigError for an address or a secret that cannot be used.
    """

    def __init__(self, address: str, secret_file: Path | None = None) -> None:
        import requests

        parts = _address(address, ("http", "https"), "webhook")
        try:
            requests.Request("POST", address).prepare()
        except ValueError:  # requests' own errors are ValueErrors too
            raise ConfigError(
                "The address of the webhook cannot be used. Check its host."
            ) from None
        self._address = address
        self._secret = _secret(secret_file)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        query = f"?{parts.query}" if parts.query else ""
        self.name = _name("webhook", place, f"{place}{parts.path}{query}")

    def send(self, event: Mapping[str, Any]) -> None:
        import requests

        try:
            with requests.post(
                self._address,
                data=(body := _body(event)),
                headers=self._headers(str(event["id"]), body),
                timeout=(CONNECT_S, ANSWER_S),
                allow_redirects=False,
                stream=True,  # what is answered is never read
            ) as answer:
                status, location = answer.status_code, answer.headers.get("Location", "")
        except requests.RequestException as error:
            raise DeliveryError(f"The {self.name} {_request_trouble(error)}.") from None
        if 300 <= status < 400:
            raise DeliveryError(
                f"The {self.name} redirects to {self._host(location)}, and redirections are not "
                "followed. Give the address that it leads to."
            )
        if not 200 <= status < 300:
            raise DeliveryError(f"The {self.name} answers with {_status(status)}.")

    def _headers(self, identity: str, body: bytes) -> dict[str, str]:
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"vase/{__version__}",
            "webhook-id": identity,
            "webhook-timestamp": str(now),
        }
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, identity, now, body)
        return headers

    def _host(self, location: str) -> str:
        try:
            return _line(urlsplit(urljoin(self._address, location)).hostname or "nowhere")
        except ValueError:
            return "what is no address"


def signature(secret: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """The signature of a request, as the Standard Webhooks specification has it."""
    signed = hmac.digest(secret, f"{identity}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


def _secret(file: Path | None) -> bytes | None:
    place = SECRET_VARIABLE if file is None else f"'{file}'"
    try:
        text = os.environ.get(SECRET_VARIABLE, "") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"The webhook's secret cannot be read from {place}: {why}.") from None
    text = text.strip()
    if not text and file is None:
        return None
    encoded = text.startswith("whsec_")
    try:
        key = base64.b64decode(text[6:], validate=True) if encoded else text.encode()
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError(
            f"The webhook's secret in {place} is empty, or no base64 follows its whsec_."
        )
    return key


def _request_trouble(error: Exception) -> str:
    """Why a request failed, in words of our own: those of requests hold the whole address."""
    import requests

    if isinstance(error, requests.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return "cannot be reached through the proxy"
    if isinstance(error, requests.exceptions.SSLError):
        return "cannot be reached over TLS, or its certificate is not valid"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached, or breaks the connection off"
    return f"cannot be asked ({type(error).__name__})"


def _status(status: int) -> str:
    try:
        return f"status {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"status {status}"


# ---- MQTT --------------------------------------------------------------------------------------


class Mqtt(Receiver):
    """Publishes an event as JSON to a topic, QoS 1, and waits for the broker's acknowledgement.

    address: such as mqtts://user:password@host:8883/the/topic; the password may be in
    VASE_MQTT_PASSWORD instead. Each event has a connection of its own: events are rare, and a
    connection that was kept for days is often dead without anybody knowing.

    Raises ConfigError for an address that cannot be used, or without paho-mqtt.
    """

    def __init__(self, address: str) -> None:
        optional_package("paho.mqtt.client", "MQTT needs paho-mqtt", "watch")
        parts = _address(address, ("mqtt", "mqtts"), "MQTT topic")
        self._topic = unquote(parts.path[1:])
        if not self._topic or re.search(r"[+#\0]", self._topic) or "@" in parts.path or parts.query:
            raise ConfigError(
                "The address of the MQTT topic names no topic to publish to. Give it as the path, "
                "without '+', '#' and '?', and with '%40' for each '@': mqtt://host/the/topic."
            )
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if self._user is None else os.environ.get(PASSWORD_VARIABLE)
        if parts.password is not None:
            self._password = unquote(parts.password)
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "mqtts"
        self._port = parts.port or (8883 if self._tls else 1883)
        place = f"[{self._host}]" if ":" in self._host else self._host
        place += "" if parts.port is None else f":{parts.port}"
        self.name = f"{parts.scheme} {place}/{self._topic}"

    def send(self, event: Mapping[str, Any]) -> None:
        refusals: list[str] = []
        client = self._client(refusals)
        try:
            client.connect(self._host, self._port, keepalive=60)
            self._wait(client, client.is_connected, refusals)
            sent = client.publish(self._topic, _body(event), qos=1)
            self._wait(client, sent.is_published, refusals)
        except OSError as error:
            why = getattr(error, "verify_message", "") or error.strerror or reason(error)
            raise DeliveryError(f"The {self.name} cannot be reached: {_line(why)}.") from None
        finally:
            client.disconnect()

    def _client(self, refusals: list[str]) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        def connected(_client: Client, _data: Any, _flags: Any, answer: Any, _more: Any) -> None:
            if answer.is_failure:
                refusals.append(str(answer))

        name = f"vase-{secrets.token_hex(8)}"
        client = Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_S
        client.on_connect = connected
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._tls:
            client.tls_set()  # the authorities of this machine, and the host's name is checked
        return client

    def _wait(self, client: Client, done: Callable[[], bool], refusals: list[str]) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not done():
            if time.monotonic() > deadline:
                raise DeliveryError(f"The {self.name} does not answer in time.")
            failed = client.loop(0.1)
            if refusals:
                raise DeliveryError(f"The {self.name} refuses the connection: {refusals[0]}.")
            if failed and not done():
                raise DeliveryError(f"The {self.name} breaks the connection off.")


# ---- commands ----------------------------------------------------------------------------------


class Command(Receiver):
    """Runs a program for each event, with the event's JSON on its standard input.

    text: the command as it is typed, without a shell. A program that does not end within `limit_s`
    seconds is killed, and all that it has started.

    Raises ConfigError where the program cannot be found.
    """

    def __init__(self, text: str, limit_s: float = COMMAND_S) -> None:
        try:
            words = shlex.split(text)
        except ValueError:
            words = []
        if not words:
            raise ConfigError("The command for events is empty, or a quotation mark is not closed.")
        shown = _line(Path(words[0]).name)
        program = shutil.which(words[0])
        if program is None:
            raise ConfigError(
                f"The command for events '{shown}' cannot be found, or it may not be run. Give a "
                "program's path."
            )
        self.name = _name("command", shown, shlex.join(words))
        self._words = (str(Path(program).absolute()), *words[1:])
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, event: Mapping[str, Any]) -> None:
        # A file and not a pipe: what the program leaves running could keep a pipe open.
        with tempfile.TemporaryFile() as said:
            try:
                status = self._run(event, said)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise DeliveryError(f"The {self.name} cannot be started: {why}.") from None
            if status:
                complaint = _last_line(said)
                raise DeliveryError(
                    f"The {self.name} fails with status {status}"
                    + (f": {complaint}" if complaint else ".")
                )

    def close(self) -> None:
        """Kill what runs."""
        if self._process is not None and self._process.poll() is None:
            _kill(self._process)

    def _run(self, event: Mapping[str, Any], said: IO[bytes]) -> int:
        with subprocess.Popen(
            self._words,
            env=_environment(event),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        ) as process:
            self._process = process
            try:
                process.communicate(_body(event), self._limit_s)
            except subprocess.TimeoutExpired:
                raise DeliveryError(
                    f"The {self.name} did not end within {self._limit_s:g} s, and was killed."
                ) from None
            finally:
                if process.poll() is None:
                    _kill(process)
        return process.returncode


def _environment(event: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a command: ours without our secrets, and what most scripts ask for."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in (SECRET_VARIABLE, PASSWORD_VARIABLE)
    }
    told = ("kind", "environment", "name", "id")
    return kept | {f"VASE_EVENT_{key.upper()}": str(event.get(key, "")) for key in told}


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_line(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4096))
    lines = said.read().decode("utf-8", "replace").split("\n")
    return next((text for line in reversed(lines) if (text := _line(line))), "")


# ---- delivery ----------------------------------------------------------------------------------


class Delivery(threading.Thread):
    """Delivers a journal's events to one receiver, in order, each at least once.

    trouble: the last failure in a sentence; empty if all is well.
    """

    def __init__(
        self,
        receiver: Receiver,
        journal: Journal,
        pause: Callable[[int], float] = pause,
    ) -> None:
        super().__init__(name=f"delivery to {receiver.name}", daemon=True)
        self.trouble = ""
        self.receiver = receiver
        self._journal = journal
        self._pause = pause
        self._failures = 0  # in a row
        self._sent = 0  # the last sequence that the receiver has
        self._news = threading.Event()
        self._ending = threading.Event()
        self._deadline = 0.0

    def wake(self) -> None:
        """Say that there is a new event. A pause after a failure is not cut short."""
        self._news.set()

    def close(self, timeout: float = 5.0) -> None:
        """Try once more to deliver what waits, within so many seconds, then end."""
        self._deadline = time.monotonic() + timeout
        self._ending.set()
        self._news.set()
        if self.is_alive():
            self.join(timeout)
        self.receiver.close()
        if self.is_alive():
            self.join(END_S)

    def run(self) -> None:
        while True:
            self._news.clear()  # before all else, or what is said from here on would be lost
            last = self._ending.is_set()
            self._deliver()
            if last:
                return
            if self.trouble:
                self._ending.wait(self._pause(self._failures))
            else:
                self._news.wait()

    def _deliver(self) -> None:
        """Deliver what waits, up to the first failure."""
        try:
            while not self._late() and (waiting := self._waiting()):
                for event in waiting:
                    if self._late():
                        return
                    self._send(event)
                    self._journal.delivered(self.receiver.name, self._sent)
        except VaseError as error:
            self.trouble = str(error)
        except Exception as error:
            self.trouble = f"The journal of events cannot be used: {_line(reason(error))}."
        else:
            self.trouble = ""
            return
        self._failures += 1

    def _waiting(self) -> list[dict[str, Any]]:
        """The next events. What was sent while the journal could not be written is noted first."""
        noted = self._journal.cursor(self.receiver.name)
        if self._sent > noted:
            self._journal.delivered(self.receiver.name, self._sent)
        self._sent = max(self._sent, noted)
        return self._journal.after(self._sent, BATCH)

    def _send(self, event: dict[str, Any]) -> None:
        try:
            self.receiver.send(event)
        except VaseError:
            raise
        except Exception as error:  # its words may hold an address with a password
            raise DeliveryError(
                f"The {self.receiver.name} fails unexpectedly ({type(error).__name__})."
            ) from error
        self._sent = event["sequence"]
        self._failures = 0

    def _late(self) -> bool:
        return self._ending.is_set() and time.monotonic() >= self._deadline


# ---- what they share ---------------------------------------------------------------------------


def _body(event: Mapping[str, Any]) -> bytes:
    return to_json(event, inf_nan_mode="null")  # JSON has no NaN: many programs refuse it


def _name(kind: str, shown: str, whole: str) -> str:
    """A name for people; a checksum tells those apart that differ in what is not shown.

    It is so short that it cannot give away what it is of.
    """
    if shown == whole:
        return f"{kind} {shown}"
    return f"{kind} {shown} ({hashlib.sha256(whole.encode()).hexdigest()[:4]})"


def _line(text: str) -> str:
    """One line of bounded length that a terminal can show."""
    text = "".join(each for each in " ".join(text.split()) if each.isprintable())
    return text if len(text) <= LINE else f"{text[: LINE - 3]}..."


def _address(text: str, schemes: tuple[str, str], what: str) -> SplitResult:
    """The parts of an address; ConfigError says what is wrong, and never the address itself."""
    subject = f"The address of the {what}"
    # No blank and no backslash: programs differ about which host an address with one is on.
    if not re.fullmatch(r"[!-\[\]-~]+", text):
        raise ConfigError(f"{subject} is empty, or has a blank or a sign that no address has.")
    try:
        parts = urlsplit(text)
        found = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        raise ConfigError(f"{subject} has no valid host or port.") from None
    if parts.scheme not in schemes:
        raise ConfigError(f"{subject} does not begin with {schemes[0]}:// or {schemes[1]}://.")
    if not found:
        raise ConfigError(f"{subject} has no valid host or port.")
    if "#" in text:
        raise ConfigError(f"{subject} has a '#', which no server is told. Leave it out.")
    return parts
