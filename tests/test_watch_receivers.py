"""Where a watch's events go, against real servers, brokers and programs on this machine."""

import base64
import hashlib
import hmac
import json
import random
import re
import shlex
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving import answers, figures, free_port, running, until

from vase.errors import ConfigError
from vase.watching import receivers
from vase.watching.metrics import Metrics
from vase.watching.receivers import Command, Delivery, DeliveryError, Mqtt, Webhook
from vase.watching.records import KnownEnvironment, WatchStatus

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the Standard Webhooks specification's example


def event(sequence: int = 1, **more: Any) -> dict[str, Any]:
    return {"sequence": sequence, "id": f"id-{sequence}", "kind": "new", "environment": 2, **more}


@contextmanager
def listening(*statuses: int, port: int = 0, location: str = "", wait: float = 0) -> Iterator[Any]:
    """An HTTP server that gives each status in turn, then the last; its address, what it got."""
    left, got = list(statuses), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(wait)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", port), Handler)) as there:
        yield f"http://127.0.0.1:{there}/hook", got


class Journal:
    """Events in memory, from `kept` to `count`; it raises when it is full, or by chance."""

    def __init__(self, count: int, kept: int = 1, chance: Callable[[], bool] = bool) -> None:
        self.count, self.kept, self.chance = count, kept, chance
        self.noted, self.full = 0, False

    def after(self, sequence: int, limit: int, /) -> list[dict[str, Any]]:
        if self.chance():
            raise ValueError("disk I/O error")
        return [event(n) for n in range(max(sequence + 1, self.kept), self.count + 1)][:limit]

    def cursor(self, name: str, /) -> int:
        return self.noted

    def delivered(self, name: str, sequence: int, /) -> None:
        if self.full or self.chance():
            raise OSError(28, "No space left on device")
        self.noted = sequence


class Recorder:
    """A receiver in memory. Asked twice, chance makes it fail before it has an event, or after."""

    name = "recorder"

    def __init__(self, chance: Callable[[], bool] = bool) -> None:
        self.got: list[int] = []
        self.chance = chance

    def send(self, event: Any) -> None:
        if self.chance():
            raise DeliveryError("It is down.")
        self.got.append(event["sequence"])
        if self.chance():
            raise RuntimeError("https://user:hunter2@host broke off")

    def close(self) -> None:
        pass


@contextmanager
def delivering(receiver: Any, journal: Journal, pause: float = 0.01) -> Iterator[Delivery]:
    delivery = Delivery(receiver, journal, lambda failures: pause)
    delivery.start()
    yield delivery
    delivery.close()
    assert not delivery.is_alive()


def test_a_webhook_that_was_down_gets_every_event_in_order() -> None:
    journal, port = Journal(5), free_port()
    with delivering(Webhook(f"http://127.0.0.1:{port}/hook"), journal) as delivery:
        until(lambda: "cannot be reached" in delivery.trouble)
        with listening(500, 200, 404, 204, port=port) as (_, got):
            until(lambda: not delivery.trouble and len(got) == 7)
            journal.count = 6
            delivery.wake()
            until(lambda: journal.noted == 6)
    assert [json.loads(body)["sequence"] for _, body in got] == [1, 1, 2, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(20))
def test_each_event_comes_at_least_once_and_in_order_whatever_fails(seed: int) -> None:
    drawn = random.Random(seed)
    part, count = drawn.choice([0.05, 0.3, 0.6]), 150
    receiver = Recorder(lambda: drawn.random() < part)
    journal = Journal(count, chance=lambda: drawn.random() < part / 3)
    while journal.noted < count:  # programs are stopped, and started again
        enough = min(len(receiver.got) + 40, count)
        with delivering(receiver, journal, pause=0) as delivery:
            until(lambda enough=enough: len(receiver.got) >= enough)
            delivery.close(drawn.choice([0.0, 0.01]))
        assert journal.noted <= max(receiver.got)
        assert "hunter2" not in delivery.trouble
    assert receiver.got == sorted(receiver.got)
    assert set(receiver.got) == set(range(1, count + 1))


def test_pauses_grow_to_five_minutes_and_begin_anew_after_a_success() -> None:
    pauses = [receivers.pause(n) for n in (1, 2, 1000)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, (1, 2, 300), strict=True))
    outcomes = iter([True, True, False, False, True, True, *[False] * 9])
    failures: list[int] = []
    receiver = Recorder(lambda: next(outcomes))
    delivery = Delivery(receiver, Journal(3), lambda count: failures.append(count) or 0.0)
    delivery.start()
    until(lambda: receiver.got == [1, 2, 3])
    delivery.close()
    assert failures == [1, 2, 1, 2]


def test_a_full_disk_is_told_and_a_trimmed_journal_goes_on_with_its_earliest_event() -> None:
    receiver, journal = Recorder(), Journal(7, kept=5)
    journal.noted, journal.full = 2, True
    with delivering(receiver, journal) as delivery:
        until(lambda: "No space left on device" in delivery.trouble)
        time.sleep(0.1)
        assert receiver.got == [5]  # once: that it has come is known, if not written
        journal.full = False
        until(lambda: journal.noted == 7 and not delivery.trouble)
    assert receiver.got == [5, 6, 7]


def test_what_comes_while_the_thread_is_busy_is_not_overlooked() -> None:
    class Growing(Journal):
        def after(self, sequence: int, limit: int, /) -> list[dict[str, Any]]:
            found = super().after(sequence, limit)
            if not found and self.count < 3:
                self.count += 1
                delivery.wake()
            return found

    def closed_while_it_sends() -> bool:
        closing.start()
        until(delivery._ending.is_set)
        receiver.chance = bool
        return True

    receiver = Recorder()
    delivery = Delivery(receiver, Growing(0))
    delivery.start()
    until(lambda: receiver.got == [1, 2, 3])
    delivery.close()
    receiver = Recorder(closed_while_it_sends)
    delivery = Delivery(receiver, Journal(3), lambda failures: 1000.0)
    closing = threading.Thread(target=delivery.close)
    delivery.start()
    delivery.join(20)
    closing.join(20)
    assert receiver.got == [1, 2, 3]


def test_closing_gives_one_last_chance_and_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    down = [True]
    receiver = Recorder(lambda: down[0])
    with delivering(receiver, Journal(3), pause=1000) as delivery:
        until(lambda: delivery.trouble == "It is down.")
        down[0] = False
    assert receiver.got == [1, 2, 3]
    hanging = Command(f"sh -c 'echo > {tmp_path}/begun; sleep 60'")
    with delivering(hanging, Journal(1)) as delivery:
        until((tmp_path / "begun").exists)
        began = time.monotonic()
        delivery.close(0.2)
    assert time.monotonic() - began < 5


def test_webhooks_are_signed_as_the_standard_webhooks_specification_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, body = base64.b64decode(KEY), b'{"test": 2432232314}'
    known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    identity = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert receivers.signature(key, identity, 1614265330, body) == known
    (tmp_path / "secret").write_text(f"whsec_{KEY}\n")
    monkeypatch.setenv("VASE_WEBHOOK_SECRET", "plain words")
    with listening(200) as (address, got):
        Webhook(address, tmp_path / "secret").send(event(evidence={"nats": float("nan")}))
        Webhook(address).send(event())
        monkeypatch.delenv("VASE_WEBHOOK_SECRET")
        Webhook(address).send(event())
    for (headers, sent), secret in zip(got, [key, b"plain words"], strict=False):
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        signed = f"id-1.{headers['webhook-timestamp']}.".encode() + sent
        expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(got[0][1])["evidence"] == {"nats": None}
    assert "webhook-signature" not in got[2][0]
    assert (got[2][0]["webhook-id"], got[2][0]["content-type"]) == ("id-1", "application/json")
    assert re.fullmatch(r"vase/\d+\.\d+\.\d+", got[2][0]["user-agent"])


def test_a_webhook_that_fails_is_told_in_a_sentence_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receivers, "ANSWER_S", 0.2)

    def failed(address: str) -> str:
        receiver = Webhook(address.replace("://", "://u:hunter2@") + "/hunter2?key=hunter2")
        with pytest.raises(DeliveryError) as error:
            receiver.send(event())
        assert "hunter2" not in f"{receiver.name} {error.value}"
        return str(error.value)

    with listening(200) as (there, led), listening(307, location=f"{there}/hunter2") as (here, _):
        assert "redirects to 127.0.0.1" in failed(here)
    assert led == []
    with listening(200, wait=0.5) as (address, _):
        assert "does not answer in time" in failed(address)
    with listening(503) as (address, got):
        assert "status 503 (Service Unavailable)" in failed(address)
        assert "over TLS" in failed(address.replace("http", "https"))
    assert got[0][0]["authorization"] == f"Basic {base64.b64encode(b'u:hunter2').decode()}"
    assert "cannot be reached" in failed(address)


def test_a_command_gets_the_event_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VASE_WEBHOOK_SECRET", "hunter2")
    monkeypatch.setenv("VASE_MQTT_PASSWORD", "hunter2")
    told = event(name="night, 'lamp' on; $HOME")
    Command(f"sh -c 'cat > {tmp_path}/in; env > {tmp_path}/env'").send(told)
    Command("true").send(event(reason="x" * 10**6))  # it does not read what it is given
    assert json.loads((tmp_path / "in").read_text()) == told
    lines = (tmp_path / "env").read_text().splitlines()
    assert f"VASE_EVENT_NAME={told['name']}" in lines
    assert {f"VASE_EVENT_{x}" for x in ("KIND=new", "ENVIRONMENT=2", "ID=id-1")} < set(lines)
    assert "hunter2" not in "".join(lines)
    plain, *others = [Command(text).name for text in ("sh", "sh -c a", "sh -c b", "sh -c a")]
    assert plain == "command sh"
    assert others[0] == others[2] != others[1]


def test_a_command_that_fails_or_hangs_is_a_delivery_error(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"command sh \(.*status 3: no \[31mroute$"):
        Command("sh -c 'echo one >&2; echo \"no \033[31mroute\" >&2; exit 3'").send(event())
    began = time.monotonic()
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(DeliveryError, match=r"did not end within 0\.5 s"):
        Command(shlex.join(["sh", "-c", script]), limit_s=0.5).send(event())
    grandchild = int((tmp_path / "pid").read_text())
    until(
        lambda: (
            not psutil.pid_exists(grandchild)
            or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
        )
    )
    Command("sh -c 'sleep 20 &'").send(event())  # what is left running keeps nobody waiting
    assert time.monotonic() - began < 10


@contextmanager
def broker(code: int = 0, acknowledge: bool = True) -> Iterator[tuple[str, list[Any]]]:
    """An MQTT broker that answers CONNECT with a code, and perhaps PUBLISH; and what it got."""
    got: list[tuple[int, bytes]] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(1):
                size = shift = 0
                byte = 128
                while byte & 128:
                    byte = self.rfile.read(1)[0]
                    size, shift = size | (byte & 127) << shift, shift + 7
                got.append((head[0], body := self.rfile.read(size)))
                if head[0] >> 4 == 1:
                    self.wfile.write(bytes([0x20, 2, 0, code]))
                elif head[0] >> 4 == 3 and acknowledge:
                    self.wfile.write(b"\x40\x02" + body[15:17])  # after a topic of 13 bytes

    with running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"mqtt://eve@127.0.0.1:{port}/home/the%20door", got


def test_an_event_is_published_and_its_acknowledgement_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VASE_MQTT_PASSWORD", "hunter2")
    monkeypatch.setattr(receivers, "ANSWER_S", 1.5)
    with broker() as (address, got):
        receiver = Mqtt(address)
        receiver.send(event(1, name="ü" * 200))
        receiver.send(event(2))
    for n, (connect, publish, end) in enumerate([got[:3], got[3:]], 1):
        assert connect[1].endswith(b"\x00\x03eve\x00\x07hunter2")
        assert (connect[0], publish[0], end[0]) == (0x10, 0x32, 0xE0)  # 0x32: QoS 1
        assert publish[1][:15] == b"\x00\x0dhome/the door"
        assert json.loads(publish[1][17:])["sequence"] == n
    assert re.fullmatch(r"mqtt 127\.0\.0\.1:\d+/home/the door", receiver.name)
    with broker(code=5) as (address, _), pytest.raises(DeliveryError, match="Not authorized"):
        Mqtt(address).send(event())
    monkeypatch.setattr(receivers, "ANSWER_S", 0.3)
    with broker(acknowledge=False) as (address, _), pytest.raises(DeliveryError, match="in time"):
        Mqtt(address).send(event())
    with pytest.raises(DeliveryError, match="cannot be reached: Connection refused") as error:
        Mqtt(address.replace("eve", "eve:hunter2")).send(event())
    assert "hunter2" not in str(error.value)


BAD = [
    (Webhook, "", "is empty"),
    (Webhook, "ftp://u:hunter2@host", "begin with http:// or https://"),
    (Webhook, "http://u:hunter2@host:99999", "no valid host or port"),
    (Webhook, "http://u:hunter2@a..b/", "no valid host"),
    (Webhook, "http://host\\hunter2", "a sign that no address has"),
    (Webhook, "http://host/hunter2#", "a '#'"),
    (Mqtt, "mqtt://u:hunter2@host/", "no topic"),
    (Mqtt, "mqtt://host/a/+/b", "no topic"),
    (Mqtt, "mqtt://host/a%23", "no topic"),
    (Mqtt, "mqtt://u:12/hunter2@host/a", "no topic"),
    (Command, " ", "is empty"),
    (Command, "sh 'hunter2", "quotation mark"),
    (Command, "/no/such/program hunter2", "'program' cannot be found"),
]


@pytest.mark.parametrize(("parse", "text", "words"), BAD)
def test_what_cannot_be_a_receiver_is_refused_in_a_sentence(
    parse: Callable[[str], Any], text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        parse(text)
    assert "hunter2" not in str(error.value)


def test_a_bad_secret_and_a_missing_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"secret cannot be read from '.*': No such file"):
        Webhook("https://host/", tmp_path / "none")
    for text in ("", "whsec_", "whsec_hunter2!"):
        (tmp_path / "secret").write_text(text)
        with pytest.raises(ConfigError, match=r"secret in '.*' is empty, or no base64") as error:
            Webhook("https://host/", tmp_path / "secret")
        assert "hunter2" not in str(error.value)
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for ask in (lambda: Mqtt("mqtt://host/topic"), lambda: Metrics(0)):
        with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[watch\]'"):
            ask()


def test_prometheus_is_told_how_a_watch_stands() -> None:
    night = 'night, "lamp"\non \\'
    numbers = {"statistic": 0.25, "threshold": 1.0, "p_value": 0.125, "correlation_time": 7.5}
    counts = {
        "frames": 9000,
        "dropped": 11,
        "reconnects": 3,
        "frames_per_second": 5.0,
        "source_rate": 5.0,
    }
    seen = {"environment": 1, "name": night, "since": NOON, "connected": True}
    status = WatchStatus("run", "camera", True, NOON, **seen, **numbers, **counts)
    more = {"events": {"returned": 4}, "undelivered": {"command sh": 2}, "trouble": "No disk."}
    metrics = Metrics(0)
    try:
        assert figures(metrics.port) == {}
        day = KnownEnvironment(0, "day", NOON, NOON, 5000)
        metrics.update(replace(status, **more, environments=(day,)))
        counters, gauges = (figures(metrics.port, kind) for kind in ("counter", "gauge"))
        with pytest.raises(ConfigError, match=f"127.0.0.1:{metrics.port}: Address already in use"):
            Metrics(metrics.port)
    finally:
        metrics.close()
    kinds = ("new", "reopened", "undetermined", "skipped", "source_lost", "source_back")
    assert counters == {
        **{f"vase_events_total {kind}": 0 for kind in kinds},
        "vase_events_total returned": 4,
        "vase_frames_total": 9000,
        "vase_frames_dropped_total": 11,
        "vase_source_reconnects_total": 3,
    }
    assert gauges == {
        "vase_environment": 1,
        "vase_environment_present 0 day": 0,
        f"vase_environment_present 1 {night}": 1,
        "vase_statistic": 0.25,
        "vase_alarm_threshold": 1,
        "vase_p_value": 0.125,
        "vase_correlation_time_frames": 7.5,
        "vase_source_connected": 1,
        "vase_trouble": 1,
        "vase_events_undelivered command sh": 2,
    }
    assert not answers("127.0.0.1", metrics.port)
    Metrics(metrics.port).close()  # the port is free again
    for port, host in ((70_000, "127.0.0.1"), (0, "no host")):
        with pytest.raises(ConfigError, match="Metrics cannot be served at"):
            Metrics(port, host)
