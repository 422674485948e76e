"""How a watch stands, as numbers that Prometheus fetches over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, get_args
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from vase.errors import ConfigError, optional_package, reason
from vase.watching.records import WatchEventKind, WatchStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

REQUEST_S = 10.0  # without a byte, after which a connection is closed

Number = Callable[[WatchStatus], float]

GAUGES: dict[str, tuple[str, Number]] = {
    "vase_environment": ("The present environment, by its number.", lambda now: now.environment),
    "vase_statistic": (
        "The change detector's statistic; an alarm is raised at vase_alarm_threshold.",
        lambda now: now.statistic,
    ),
    "vase_alarm_threshold": (
        "The statistic at which an alarm is raised.",
        lambda now: now.threshold,
    ),
    "vase_p_value": (
        "The p-value, from 0 to 1, of the latest frames under the present environment.",
        lambda now: now.p_value,
    ),
    "vase_correlation_time_frames": (
        "The correlation time of the present environment, in frames.",
        lambda now: now.correlation_time,
    ),
    "vase_source_connected": ("1 while frames come, else 0.", lambda now: now.connected),
    "vase_trouble": ("1 while something is wrong, else 0.", lambda now: bool(now.trouble)),
}
COUNTERS: dict[str, tuple[str, Number]] = {
    "vase_frames": ("Frames that were looked at.", lambda now: now.frames),
    "vase_frames_dropped": ("Frames that were not looked at.", lambda now: now.dropped),
    "vase_source_reconnects": ("Times the source was opened again.", lambda now: now.reconnects),
}


class Metrics:
    """Answers Prometheus at a port of this machine; port 0 takes a free one, which `port` says.

    Raises ConfigError where prometheus_client is missing, or the port or host cannot be had.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        package = optional_package("prometheus_client", "Metrics need prometheus-client", "watch")
        self._status: WatchStatus | None = None
        registry = package.CollectorRegistry()
        registry.register(self)
        server = _ServerV6 if ":" in host else _Server
        try:
            self._server = make_server(
                host, port, package.make_wsgi_app(registry), server, _Handler
            )
        except (OSError, OverflowError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or reason(error)
            raise ConfigError(
                f"Metrics cannot be served at {host}:{port}: {why}. Choose another port or host."
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def update(self, status: WatchStatus) -> None:
        """Take the numbers that are told from now on."""
        self._status = status

    def close(self) -> None:
        """Stop answering; the port is free again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[Metric]:
        """The latest numbers, for prometheus_client; none before the first."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        now = self._status
        if now is None:
            return
        for name, (text, number) in GAUGES.items():
            yield GaugeMetricFamily(name, text, number(now))
        for name, (text, number) in COUNTERS.items():
            yield CounterMetricFamily(name, text, number(now))
        text = "1 for the present environment, 0 for the others."
        present = GaugeMetricFamily(
            "vase_environment_present", text, labels=["environment", "name"]
        )
        names = {known.index: known.name for known in now.environments}
        for index, called in {**names, now.environment: now.name}.items():
            present.add_metric([str(index), called], index == now.environment)
        yield present
        # Kinds that never came are 0: else the first event of a kind would be no increase.
        events = CounterMetricFamily("vase_events", "Events, by kind.", labels=["kind"])
        for kind in get_args(WatchEventKind):
            events.add_metric([kind], now.events.get(kind, 0))
        yield events
        text = "Events that a receiver has not got yet."
        waiting = GaugeMetricFamily("vase_events_undelivered", text, labels=["receiver"])
        for receiver, number_waiting in now.undelivered.items():
            waiting.add_metric([receiver], number_waiting)
        yield waiting


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, so that a slow one holds up no other."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Someone who goes away is no error of ours."""


class _ServerV6(_Server):
    """The same for IPv6."""

    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """Says nothing, and waits for nobody for long."""

    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""
