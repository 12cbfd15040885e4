"""Alerts to a syslog server, as ArcSight's Common Event Format within RFC 5424."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Sequence

from alerts.sinks.base import AlertSink, Row, millis_of, needed, text_of
from alerts.sinks.wording import Severity, details, headline, severity, shown
from features.errors import EnvironmentProblem
from settings import Settings

FACILITY = 13
"""Log audit."""
LEVELS = {Severity.LOW: 5, Severity.MEDIUM: 4, Severity.HIGH: 3, Severity.CRITICAL: 2}
"""RFC 5424: notice, warning, error, critical."""
CEF = {Severity.LOW: 3, Severity.MEDIUM: 5, Severity.HIGH: 8, Severity.CRITICAL: 10}
VENDOR, PRODUCT = "User Behavior Analysis", "behavior"
MAX_UDP = 2_048
"""Bytes that receivers should take (RFC 5424, 6.1)."""
SECONDS = 10


class SyslogSink(AlertSink):
    """A line per revision: over TCP and TLS with its length before it (RFC 6587, RFC 5425), over UDP a datagram.

    Syslog knows no answer: what was on its way when the server went is lost over UDP, and may be over TCP.
    """

    max_rows = 500

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        address = needed("syslog", "syslog", settings.sinks.syslog)
        self._kind, _, place = address.partition("://")
        host, _, port = place.rpartition(":")
        self._place = (host, int(port))
        self._socket: socket.socket | None = None

    def send(self, rows: Sequence[Row]) -> int:
        try:
            if self._socket is None:
                self._socket = self._connected()
            for row in rows:
                line = syslog_line(row)
                if self._kind == "udp":
                    self._socket.send(line[:MAX_UDP])
                else:
                    self._socket.sendall(b"%d %s" % (len(line), line))
        except (OSError, ssl.SSLError) as error:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            host, port = self._place
            raise EnvironmentProblem(
                f"The syslog server {self._kind}://{host}:{port} does not answer ({type(error).__name__})."
            ) from None
        return 0

    def _connected(self) -> socket.socket:
        if self._kind == "udp":
            (family, kind, protocol, _, place), *_ = socket.getaddrinfo(*self._place, type=socket.SOCK_DGRAM)
            there = socket.socket(family, kind, protocol)
            there.connect(place)
            return there
        there = socket.create_connection(self._place, timeout=SECONDS)
        if self._kind == "tls":
            context = ssl.create_default_context(cafile=self.settings.sinks.syslog_ca_file)
            return context.wrap_socket(there, server_hostname=self._place[0])
        return there


def syslog_line(row: Row) -> bytes:
    """One message, without a line end."""
    level = 8 * FACILITY + LEVELS[severity(row)]
    host = re.sub(r"[^\x21-\x7e]", "-", socket.gethostname())[:255] or "-"
    return f"<{level}>1 {text_of(row['batch_time'])} {host} {PRODUCT} {os.getpid()} alert - {cef(row)}".encode()


def cef(row: Row) -> str:
    """``CEF:0`` with its seven heads and the extension."""
    heads = (VENDOR, PRODUCT, row["model_version"], f"alert-{row['state']}", headline(row), CEF[severity(row)])
    extension = {
        "externalId": f"{row['alert_id']}-{row['revision']}",
        "suser": row["user_id"],
        "start": millis_of(row["first_window_start"]),
        "end": millis_of(row["last_window_start"]),
        "cnt": row["flagged_minutes"],
        "msg": details(row),
        "cs1Label": "alert_id",
        "cs1": row["alert_id"],
        "cfp1Label": "anomaly_score",
        "cfp1": f"{float(row['anomaly_score']):.6g}",
    }
    written = " ".join(f"{name}={_escaped(value, '=')}" for name, value in extension.items())
    return "|".join(["CEF:0", *(_escaped(head, "|") for head in heads), written])


def _escaped(value: object, sign: str) -> str:
    return shown(value).replace("\\", "\\\\").replace(sign, f"\\{sign}")
