"""E-mail, syslog, OCSF and ECS: what receivers get, by the rules of each."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from alerts.sinks.base import AlertSink, Row
from alerts.sinks.security_events import ecs_alert, ocsf_finding
from alerts.sinks.syslog import cef, syslog_line
from features.errors import ConfigurationError, EnvironmentProblem
from tests.unit.alerts.sinks.receivers import REASONS, alert, sink

STATES = ("open", "closed", "withdrawn", "merged")


# --- mail ---


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.refusal: str | None = None

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refusal is not None:
            return self.refusal
        self.messages.append(envelope.content)
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, list[str]]]:
    box = Mailbox()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    chosen = [
        "sinks.mail_host=127.0.0.1", f"sinks.mail_port={port}", "sinks.mail_security=none",
        "sinks.mail_from=behavior@example.org", "sinks.mail_to=[ada@example.org, bob@example.org]",
    ]  # fmt: skip
    try:
        yield box, chosen
    finally:
        controller.stop()


def test_what_came_together_is_one_message_of_plain_text(mailbox: tuple[Mailbox, list[str]]) -> None:
    box, chosen = mailbox
    one = sink("mail", *chosen)
    rows = [alert("a", 1, user_id="x\r\nBcc: evil@example.org"), alert("b", 1), alert("c", 5)]
    for _ in range(2):
        assert one.send(rows) == 0
    first, second = (message_from_bytes(text, policy=policy.default) for text in box.messages)
    assert first["Message-ID"] == second["Message-ID"], "by which servers tell a repetition"
    assert first["Bcc"] is None
    assert first["Subject"].startswith("[HIGH] 2 alerts, the first: x Bcc: evil@example.org: 212 clicks")
    assert first["To"] == "ada@example.org, bob@example.org"
    assert first.get_content_type() == "text/plain"
    assert all(reason in first.get_content() for reason in REASONS)
    assert one.send([alert("d", 2)]) == 0
    assert len(box.messages) == 2, "nobody wants to hear of it"


def test_a_server_that_says_later_is_asked_again_and_one_that_says_never_is_not(
    mailbox: tuple[Mailbox, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    box, chosen = mailbox
    one = sink("mail", *chosen)
    box.refusal = "451 later"
    with pytest.raises(EnvironmentProblem, match="answered 451"):
        one.send([alert()])
    box.refusal = "554 never"
    assert one.send([alert()]) == 1
    assert "a message of 1 alerts was given up: the mail server 127.0.0.1 answered 554" in caplog.text
    with pytest.raises(EnvironmentProblem, match="does not take messages"):
        sink("mail", *chosen, "sinks.mail_port=1").send([alert()])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["sinks.mail_from=null"], "found mail, and no sinks.mail_from"),
        (["sinks.mail_to=[]"], "found mail, and no sinks.mail_to"),
        (["sinks.mail_to=['no address']"], "sinks.mail_to: found 'no address', which is no address"),
        (["sinks.mail_from=nobody"], "sinks.mail_from: found 'nobody'"),
    ],
)
def test_what_is_no_address_is_refused(mailbox: tuple[Mailbox, list[str]], changes: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        sink("mail", *mailbox[1], *changes)


# --- syslog ---


RFC_5424 = re.compile(rb"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) - (CEF:0\|.*)", re.DOTALL)
HEAD = re.compile(r"(?:[^|\\]|\\[|\\])*")


def unescaped(text: str, sign: str) -> str:
    return re.sub(rf"\\([\\{sign}])", r"\1", text)


def test_a_line_is_of_rfc_5424_and_what_it_holds_of_cef() -> None:
    row = alert(user_id="a=b|c\\d\ne", state="closed")
    match = RFC_5424.fullmatch(syslog_line(row))
    assert match is not None
    assert int(match[1]) == 13 * 8 + 3
    assert match[2] == b"2026-03-01T12:00:00Z"
    heads, at = [], 0
    for _ in range(7):
        head = HEAD.match(cef(row), at)
        assert head is not None
        heads.append(unescaped(head[0], "|"))
        at = head.end() + 1
    assert heads[0] == "CEF:0"
    assert heads[5] == "The alert on a=b|c\\d e is over"
    assert heads[6] == "8"
    assert "suser=a\\=b|c\\\\d e start=" in cef(row)[at:]


def test_over_tcp_each_line_has_its_length_before_it_and_a_server_that_comes_back_gets_the_rest() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        one = sink("syslog", f"sinks.syslog=tcp://127.0.0.1:{server.getsockname()[1]}")
        got: list[bytes] = []

        def take() -> None:
            there, _ = server.accept()
            with there:
                got.append(there.recv(100_000))

        taking = threading.Thread(target=take)
        taking.start()
        assert one.send([alert("a", 1)]) == 0
        taking.join()
        size, _, line = got[0].partition(b" ")
        assert int(size) == len(line)
    sent = [alert("a", 2)] * 20  # the first lines after it went may still seem to be sent
    with pytest.raises(EnvironmentProblem, match=r"tcp://127\.0\.0\.1:\d+ does not answer"):
        _each(one, sent)


def _each(one: AlertSink, rows: list[Row]) -> None:
    for row in rows:
        one.send([row])


def test_over_udp_each_line_is_a_datagram_that_fits() -> None:
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        one = sink("syslog", f"sinks.syslog=udp://127.0.0.1:{server.getsockname()[1]}")
        assert one.send([alert("a", 1), alert("b", 1, reasons=[{"text": "x" * 9_000}])]) == 0
        for name in (b"a-1", b"b-1"):
            line = server.recv(65_535)
            assert b"externalId=" + name in line
            assert len(line) <= 2_048


# --- OCSF and ECS ---


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("revision", [1, 2])
def test_a_finding_is_one_by_the_published_schema(state: str, revision: int) -> None:
    finding = ocsf_finding(alert(revision=revision, state=state, reasons=None))
    parsed = DetectionFinding.model_validate(finding)
    assert parsed.type_uid.value == 100 * 2004 + finding["activity_id"]
    assert parsed.finding_info.uid == "690a6d48ab49bc84"
    assert finding["metadata"]["uid"] == f"690a6d48ab49bc84-{revision}"
    assert finding["severity_id"] == 4


ECS_FIELDS = {
    "@timestamp", "ecs.version", "message", "event.kind", "event.category", "event.type", "event.id", "event.dataset",
    "event.module", "event.provider", "event.created", "event.start", "event.end", "event.reason", "event.severity",
    "event.risk_score", "rule.id", "rule.name", "rule.version", "user.id", "related.user", "labels.state",
    "labels.alert_id",
}  # fmt: skip
"""All of them are fields of ECS 8.11; labels are free."""
ECS_KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}


def flat(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        yield from flat(one, f"{before}{name}.") if isinstance(one, dict) else [(f"{before}{name}", one)]


@pytest.mark.parametrize("state", STATES)
def test_an_alert_of_ecs_has_its_fields_and_no_others(state: str) -> None:
    fields = dict(flat(ecs_alert(alert(state=state))))
    assert fields.keys() == ECS_FIELDS
    assert fields["event.kind"] in ECS_KINDS
    assert 0 <= fields["event.risk_score"] <= 100
    assert isinstance(fields["event.category"], list)
    assert isinstance(fields["event.type"], list)


@pytest.mark.parametrize("name", ["ocsf", "ecs"])
def test_a_file_gets_a_line_per_revision(tmp_path: Path, name: str) -> None:
    file = tmp_path / "alerts.jsonl"
    one = sink(name, f"sinks.{name}={file}")
    assert one.send([alert("a", 1), alert("b", 1)]) == 0
    assert one.send([alert("a", 2)]) == 0
    assert len([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]) == 3
    with file.open("ab") as torn:
        torn.write(b'{"half')
    assert one.send([alert("a", 3)]) == 0
    assert json.loads(file.read_bytes().splitlines()[-1]), "a torn line spoils no other"
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        sink(name, f"sinks.{name}={tmp_path}").send([alert()])
