"""Logs of every kind, as two visitors leave them: who asked, when, for what, and how it ended."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from features.errors import UsageError
from replay.formats.base import ReadingOptions
from replay.formats.registry import AUTO, format_of_lines, reader_of
from replay.formats.requests import RequestReader

KEY = b"0123456789abcdef"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Example/1.0"
A, B = "203.0.113.5", "203.0.113.6"
COMBINED = '{client} - - [15/Oct/2025:12:00:0{n} +0000] "GET /a?token=x HTTP/1.1" 200 612 "-" "' + AGENT + '"'
CLF_TIME = "[15/Oct/2025:12:00:0{n} +0000]"
JSON_CADDY = (
    '{{"level": "info", "ts": 176052960{n}.1, "logger": "http.log.access", "msg": "handled request", '
    '"request": {{"remote_ip": "{client}", "remote_port": "5{n}", "method": "GET", "uri": "/a?token=x", '
    '"headers": {{"User-Agent": ["' + AGENT + '"]}}}}, "user_id": "", "size": 612, "status": 200}}'
)
DOCKER = json.dumps({"log": "LINE\n", "stream": "stdout", "time": "2025-10-15T12:00:00.1Z"})

KINDS: dict[str, str] = {
    "combined": COMBINED,
    "common": '{client} - - [15/Oct/2025:12:00:0{n} +0000] "GET /a HTTP/1.1" 200 612',
    "common, and a duration": '{client} - - [15/Oct/2025:12:00:0{n} +0000] "GET /a HTTP/1.1" 200 612 15',
    "two blanks": COMBINED.replace(" [", "  [").replace("] ", "]  "),
    "a user's name with a blank": COMBINED.replace("- - [", "- Ann Lee ["),
    "virtual host and port": "shop.example:443 " + COMBINED,
    "virtual host": "shop.example " + COMBINED,
    "virtual host that is an address": "192.0.2.10:443 " + COMBINED,
    "inner address of the server": "10.0.0.9 " + COMBINED,
    "client with a port": COMBINED.replace("{client}", "{client}:5123{n}"),
    "forwarded list": COMBINED.replace("{client}", "{client}, 10.0.0.1"),
    "forwarded list after the host": "shop.example " + COMBINED.replace("{client}", "{client}, 10.0.0.{n}"),
    "quoted forwarded list": '"{client}, 10.0.0.1" ' + COMBINED.replace("{client}", "10.0.0.1"),
    "ISO time": COMBINED.replace(CLF_TIME, "[2025-10-15T12:00:0{n}+00:00]"),
    "ISO time without brackets": COMBINED.replace(CLF_TIME, "2025-10-15T12:00:0{n}.000Z"),
    "milliseconds": COMBINED.replace(" +0000", ".123 +0000"),
    "request time before the referer": COMBINED.replace("612", "612 0.00{n}"),
    "fields behind": COMBINED + ' 0.005 "-" 10.0.0.7:8080 .',
    "status before the request": COMBINED.replace('"GET', '200 "GET').replace('" 200 612', '" - -'),
    "syslog": "Oct 15 12:00:0{n} web1 nginx: " + COMBINED,
    "syslog of the fifth": "Oct  5 12:00:00 web1 nginx[77]: " + COMBINED,
    "syslog of a host without a name": "<190>Oct 15 12:00:00 10.1.2.3 nginx: " + COMBINED,
    "syslog with ISO times": "2025-10-15T12:00:0{n}.123456+00:00 web1 nginx: " + COMBINED,
    "syslog of RFC 5424": "<190>1 2025-10-15T12:00:00.003Z web1 nginx 12 - - " + COMBINED,
    "container (CRI)": "2025-10-15T12:00:0{n}.110000000Z stdout F " + COMBINED,
    "container (Docker's JSON)": DOCKER.replace("LINE", COMBINED.replace('"', '\\"')).replace("{", "{{")
    .replace("}", "}}").replace("{{client}}", "{client}").replace("{{n}}", "{n}"),
    "kubectl with prefix": "[pod/web-77/nginx] " + COMBINED,
    "kubectl with timestamps": "2025-10-15T12:00:0{n}.110000000Z " + COMBINED,
    "docker compose": "web-1  | " + COMBINED,
    "a word before all": "frontend-7 " + COMBINED,
    "HAProxy": (
        "Oct 15 12:00:00 lb haproxy[14389]: {client}:3331{n} [15/Oct/2025:12:00:0{n}.655] http-in static/srv1 "
        '10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {{1wt.eu|x}} {{}} "GET /a HTTP/1.1"'
    ),
    "HAProxy without captures": (
        "{client}:3331{n} [15/Oct/2025:12:00:0{n}.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- "
        '1/1/1/1/0 0/0 "GET /a HTTP/1.1"'
    ),
    "Envoy": (
        '[2025-10-15T12:00:0{n}.123Z] "GET /a HTTP/1.1" 200 - 0 612 15 14 "{client}" "' + AGENT + '" '
        '"5a2{n}" "shop.example" "10.0.0.2:8080"'
    ),
    "Istio": (
        '[2025-10-15T12:00:0{n}.123Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 612 15 14 "-" "' + AGENT + '" '
        '"5a2{n}" "shop.example" "10.0.0.2:8080" inbound|80|| 127.0.0.6:1 10.0.0.2:8080 {client}:4411{n} - default'
    ),
    "AWS ALB": (
        "https 2025-10-15T12:00:0{n}.186641Z app/my-lb/50dc6c 192.0.2.1:443 10.0.0.1:80 0.086 0.048 0.037 200 200 0 "
        '57 "GET https://www.example.com:443/a HTTP/1.1" "' + AGENT + '" ECDHE TLSv1.2 arn:aws "Root=1-5" '
        '"www.example.com" "arn:aws" 1 2025-10-15T12:00:00.186641Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-"'
    ).replace("192.0.2.1:443", "{client}:281{n}"),
    "AWS ELB": (
        "2025-10-15T12:00:0{n}.945958Z my-elb {client}:281{n} 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "
        '"GET http://www.example.com:80/a HTTP/1.1" "' + AGENT + '" - -'
    ),
    "S3": (
        "79a59df900 bucket [15/Oct/2025:12:00:0{n} +0000] {client} 79a59df900 3E57427F3 REST.GET.OBJECT a "
        '"GET /a HTTP/1.1" 200 - 612 612 7 5 "-" "' + AGENT + '" - s9lzHYrFp76ZVxRcpX9 SigV4 TLS'
    ),
    "Traefik": COMBINED + ' 1 "web@docker" "http://10.0.0.2:80" 15ms',
    "Traefik's JSON": (
        '{{"ClientAddr": "{client}:4411{n}", "ClientHost": "{client}", "DownstreamContentSize": 612, '
        '"DownstreamStatus": 200, "RequestMethod": "GET", "RequestPath": "/a?token=x", "request_User-Agent": "'
        + AGENT + '", "StartUTC": "2025-10-15T12:00:0{n}.123456789Z", "level": "info", "msg": ""}}'
    ),
    "Caddy": JSON_CADDY,
    "nginx in JSON": (
        '{{"time_iso8601": "2025-10-15T12:00:0{n}+00:00", "remote_addr": "{client}", "request": "GET /a HTTP/1.1", '
        '"status": "200", "body_bytes_sent": "612", "http_user_agent": "' + AGENT + '"}}'
    ),
    "Envoy in JSON": (
        '{{"start_time": "2025-10-15T12:00:0{n}.123Z", "method": "GET", "path": "/a", "response_code": 200, '
        '"bytes_sent": 612, "x_forwarded_for": "{client}", "user_agent": "' + AGENT + '", "protocol": "HTTP/1.1"}}'
    ),
    "ECS": (
        '{{"@timestamp": "2025-10-15T12:00:0{n}.000Z", "source": {{"ip": "{client}"}}, "url": {{"path": "/a"}}, '
        '"http": {{"request": {{"method": "GET"}}, "response": {{"status_code": 200, "body": {{"bytes": 612}}}}}}, '
        '"user_agent": {{"original": "' + AGENT + '"}}}}'
    ),
}  # fmt: skip
APACHE_STATEMENT = (
    'LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{Referer}i\\" \\"%{User-Agent}i\\" \\"%{X-Forwarded-For}i\\"" proxy'
)
NGINX_FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"'
)
NGINX_STATEMENT = (
    "log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '\n"
    "                '$status $body_bytes_sent \"$http_referer\" '\n"
    '                \'"$http_user_agent" "$http_x_forwarded_for"\';'
)
HEADED = {
    "IIS": (
        ("#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Date: 2025-10-15 00:00:00\n"
        "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) "
        "cs(Referer) sc-status sc-substatus sc-win32-status time-taken"),
        "2025-10-15 12:00:0{n} 10.0.0.9 GET /a token=x 443 - {client} " + AGENT.replace(" ", "+") + " - 200 0 0 15",
    ),
    "CloudFront": (
        ("#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status "
        "cs(Referer) cs(User-Agent) cs-uri-query"),
        "2025-10-15\t12:00:0{n}\tLHR62\t612\t{client}\tGET\td1.example\t/a\t200\t-\t"
        + AGENT.replace(" ", "%20") + "\ttoken=x",
    ),
    "Tomcat extended": (
        "#Fields: c-ip date time cs-method cs-uri sc-status bytes cs(User-Agent)",
        "{client} 2025-10-15 12:00:0{n} GET /a?token=x 200 612 '" + "x'",
    ),
}  # fmt: skip


def read(lines: list[str], name: str = AUTO, **options: object) -> list[dict[str, object]]:
    """The events of lines; a record that is none is given with its reason."""
    sample = [line.encode() for line in lines]
    reader = reader_of(Path("log"), sample, name, ReadingOptions(**options), lambda: KEY)  # type: ignore[arg-type]
    assert isinstance(reader, RequestReader)
    return [json.loads(reader.record(line).value) for line in sample]


def visits(line: str, clients: tuple[str, ...] = (A, B, A)) -> list[str]:
    return [line.format(client=client, n=n) for n, client in enumerate(clients, 1)]


@pytest.mark.parametrize("line", KINDS.values(), ids=KINDS)
def test_a_log_tells_who_asked_for_what_and_when(line: str) -> None:
    found = read(visits(line))
    assert [event["user_id"] == found[0]["user_id"] for event in found] == [True, False, True]
    assert len({event["ip"] for event in found}) == 2
    assert [str(event["timestamp"])[:19] for event in found] == [f"2025-10-15T12:00:0{n}" for n in (1, 2, 3)]
    assert all((event["page"], event["action"], event["outcome"]) == ("/a", "view", "ok") for event in found)
    assert all(event.get("user_agent", AGENT) == AGENT for event in found)
    assert all("200" in str(event["properties"]) for event in found)


@pytest.mark.parametrize(("header", "line"), HEADED.values(), ids=HEADED)
def test_a_log_whose_fields_are_named_is_read_by_their_names(header: str, line: str) -> None:
    begin = header.split("\n")
    found = read([*begin, *visits(line)])
    assert all("no_request" in record for record in found[: len(begin)])
    events = found[len(begin) :]
    assert [event["user_id"] == events[0]["user_id"] for event in events] == [True, False, True]
    assert [event["timestamp"] for event in events] == [f"2025-10-15T12:00:0{n}Z" for n in (1, 2, 3)]
    assert all((event["page"], event["outcome"]) == ("/a", "ok") for event in events)


def test_a_status_of_other_digits_is_none() -> None:
    line = "2025-10-15 12:00:00 203.0.113.5 GET /a \xb2"
    header = "#Fields: date time c-ip cs-method cs-uri-stem sc-status"
    reader = reader_of(Path("log"), [header.encode(), line.encode("latin-1")], key=lambda: KEY)
    event = json.loads(reader.record(line.encode("latin-1")).value)
    assert (event["page"], event.get("outcome")) == ("/a", None)


@pytest.mark.parametrize("line", KINDS.values(), ids=KINDS)
def test_no_address_leaves_a_log(line: str) -> None:
    lines = visits(line)
    reader = reader_of(Path("log"), [text.encode() for text in lines], key=lambda: KEY)
    for text in lines:
        for torn in (text, text[: len(text) // 2], text.replace("GET", "\\x16\\x03")):
            assert b"203.0.113" not in reader.record(torn.encode()).value


def test_where_the_client_cannot_be_told_for_sure_the_log_is_refused_with_the_two_ways_to_say_it() -> None:
    lines = visits("198.51.100.{n} " + COMBINED)
    with pytest.raises(UsageError, match=r"field 1 is 198.51.100.1 and field 2 is 203.0.113.5.*--client-field.*LOG_FO"):
        read(lines)
    first, second = read(lines, client_field="1"), read(lines, client_field="2")
    assert [len({event["user_id"] for event in found}) for found in (first, second)] == [3, 2]


def test_an_address_of_the_internet_that_never_changes_is_not_taken_for_the_client() -> None:
    lines = visits("198.51.100.10 " + COMBINED, ("10.0.0.5", "10.0.0.6", "10.0.0.5"))
    with pytest.raises(UsageError, match="cannot be told for sure"):
        read(lines)
    assert len({event["user_id"] for event in read(lines, client_field="2")}) == 2


def test_behind_a_balancer_a_setting_says_where_the_client_is_and_without_it_a_note_does() -> None:
    lines = visits(COMBINED.replace("{client}", "10.0.0.1") + ' "198.51.100.{n}, {client}, 192.0.2.{n}"')
    sample = [line.encode() for line in lines]
    (note,) = reader_of(Path("log"), sample, key=lambda: KEY).notes
    assert re.search(r"10\.0\.0\.1.*--client-field forwarded", note)
    assert len({event["user_id"] for event in read(lines)}) == 1
    assert len({event["user_id"] for event in read(lines, client_field="forwarded")}) == 3
    assert len({event["user_id"] for event in read(lines, client_field="forwarded", trusted_hops=2)}) == 2


@pytest.mark.parametrize("text", [NGINX_FORMAT, NGINX_STATEMENT, APACHE_STATEMENT])
def test_a_format_string_is_compiled(text: str) -> None:
    lines = visits(COMBINED.replace("{client}", "10.0.0.1") + ' "{client}"')
    assert len({event["user_id"] for event in read(lines, log_format=text)}) == 1
    found = read(lines, log_format=text, client_field="X-Forwarded-For")
    assert len({event["user_id"] for event in found}) == 2
    assert found == read(lines, client_field="forwarded")
    for name in ("$http_x_forwarded_for", "forwarded"):
        assert read(lines, log_format=text, client_field=name) == found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "$time_iso8601|$remote_addr|$request_method|$request_uri|$status",
            "2025-10-15T12:00:0{n}Z|{client}|GET|/a|200",
        ),
        ("$msec $remote_addr $status $request_method $uri", "176052960{n}.000 {client} 200 GET /a"),
        (
            "%{%Y-%m-%d %H:%M:%S}t.%{msec_frac}t %{%z}t %a %m %U %>s",
            "2025-10-15 14:00:0{n}.000 +0200 {client} GET /a 200",
        ),
        ("%{sec}t %h %s %m %U%q %%", "176052960{n} {client} 200 GET /a?x=1 %"),
        ("vhost_combined", "shop.example:443 " + COMBINED),
        ("combined", COMBINED),
        (
            '{"at":"$time_iso8601","who":"$remote_addr","what":"$request","how":$status}',
            '{{"at":"2025-10-15T12:00:0{n}Z","who":"{client}","what":"GET /a HTTP/1.1","how":200}}',
        ),
    ],
)
def test_format_strings_of_many_shapes(text: str, line: str) -> None:
    found = read(visits(line), log_format=text)
    assert [event["user_id"] == found[0]["user_id"] for event in found] == [True, False, True]
    assert [event["timestamp"] for event in found] == [f"2025-10-15T12:00:0{n}Z" for n in (1, 2, 3)]
    assert {(event["page"], event["outcome"]) for event in found} == {("/a", "ok")}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"log_format": "$remote_addr $status"}, "does not have the request .* nor the time"),
        ({"log_format": '$status [$time_local] "$request"'}, "does not have the client"),
        ({"log_format": '$remote_addr [$time_local] "$request"'}, "none of the first 3 lines has it. The first is"),
        ({"log_format": "combined", "client_field": "X-Real-IP"}, "the format .* has remote_addr, ident"),
        ({"log_format": "%h %{%Q}t %r"}, "has %Q; times may be made of %a"),
        ({"client_field": "forwarded"}, "no field after the request holds addresses"),
        ({"client_field": "5"}, "that is 'GET /a.token=x HTTP/1.1', which is no address"),
        ({"client_field": "77"}, "there are fields 1 to 9"),
        ({"client_field": "X-Real-IP"}, "it is forwarded, or the number of a field"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(visits(COMBINED), **options)


def test_the_fields_of_a_log_that_lacks_the_client_are_told() -> None:
    with pytest.raises(UsageError, match=r"#Fields have no client \(c-ip\).*date time cs-method cs-uri-stem"):
        read(["#Fields: date time cs-method cs-uri-stem", "2025-10-15 12:00:00 GET /a"])


def test_a_client_whose_name_was_looked_up_is_taken_by_its_name() -> None:
    line = '{client} - - [01/Aug/1995:00:00:0{n} -0400] "GET /a HTTP/1.0" 200 1839'
    found = read(visits(line, ("in24.inetnebr.com", A, "IN24.inetnebr.com")))
    assert [event["user_id"] == found[0]["user_id"] for event in found] == [True, False, True]


def test_a_clients_name_leaves_a_log_no_more_than_an_address() -> None:
    line = 'In24.inetnebr.com - - [01/Aug/1995:00:00:01 -0400] "-" 408 0'
    record, _ = read([line, line.replace('"-" 408', '"GET / HTTP/1.0" 200')])
    assert record["no_request"] == "no request: -"
    assert "inetnebr" not in json.dumps(record).lower()


@pytest.mark.parametrize(
    ("one", "other"),
    [("::ffff:203.0.113.5", A), ("[2001:db8::7]:443", "2001:db8:0:0:0:0:0:7"), ("2001:DB8::7", "2001:db8::7")],
)
def test_an_address_is_the_same_however_it_is_written(one: str, other: str) -> None:
    first, second = read(visits(COMBINED, (one, other)))
    assert first["user_id"] == second["user_id"]


def test_lines_of_two_kinds_in_one_file_are_each_read_as_they_are() -> None:
    prefixes = "shop.example:443 ", "", "Oct 15 12:00:00 web1 nginx: "
    found = read([line for prefix in prefixes for line in visits(prefix + COMBINED)])
    assert len({event["user_id"] for event in found}) == 2


def test_events_of_the_contract_are_no_log() -> None:
    event = b'{"user_id": "7", "action": "view", "page": "/", "timestamp": "2025-10-15T12:00:00Z", "status": 200}'
    assert format_of_lines(Path("log"), [event]).title == "JSON lines in the event contract"
