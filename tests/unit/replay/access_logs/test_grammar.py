"""Lines that a grammar makes of any format, prefix, kind of address, kind of time and oddity.

Each is read as what it is, or refused: never as somebody else's, or as of another time.
"""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import UsageError
from replay.access_logs.requests import page_of
from replay.formats.access_log import AccessLogReader
from replay.formats.registry import reader_of
from replay.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef"
PREFIXES = (
    "", "shop.example ", "shop.example:8443 ", "Oct 15 12:00:00 web1 nginx: ", "Oct  5 12:00:00 10.9.8.7 nginx[7]: ",
    "<190>1 2025-10-15T12:00:00.003Z web1 nginx 12 - - ", "2025-10-15T12:00:00.110000000Z stdout F ",
    "[pod/web-77/nginx] ", "web-1  | ", "2025-10-15T11:59:59.1Z ", "172.16.0.1 ", "192.0.2.10:443 ",
)  # fmt: skip
BEHIND = ("", " 0.004", ' "-"', ' "10.0.0.7:8080" 12', " - .", ' rt=0.1 uct="0.0"')
MIDDLE = ("{status} {size}", "{status} {size} 0.005", "0.005 {status} {size}", "{status} {size} 15 -")
AGENTS = ("-", "curl/8.4", "Mozilla/5.0 (X11; Linux x86_64) Example/1.0", 'a \\"quoted\\" agent/1', "مرورگر/2")
addresses = st.ip_addresses().map(str) | st.sampled_from(["203.0.113.5", "2001:db8::7", "198.51.100.77"])
instants = st.datetimes(datetime(2001, 1, 1), datetime(2037, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
zones = st.integers(-11 * 4, 13 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters='"\\ ?#\x7f'), max_size=20)


@st.composite
def written_addresses(draw: st.DrawFn, address: str) -> str:
    """An address as logs have it: with a port, in brackets, in long form, first of those who passed it on."""
    known = ipaddress.ip_address(address)
    forms = [address, f"{address}, 10.0.0.1", f"{address}, 198.51.100.9, 10.0.0.1"]
    if known.version == 4:
        forms += [f"{address}:51234", f"::ffff:{address}"]
    else:
        forms += [f"[{address}]:51234", known.exploded, address.upper()]
    return draw(st.sampled_from(forms))


@st.composite
def written_times(draw: st.DrawFn, at: datetime) -> str:
    local = at.astimezone(draw(zones))
    offset = local.strftime("%z")[:5]
    return draw(
        st.sampled_from(
            [
                local.strftime("[%d/%b/%Y:%H:%M:%S ") + offset + "]",
                local.strftime("[%d/%b/%Y:%H:%M:%S.") + f"{local.microsecond // 1000:03d} {offset}]",
                local.strftime("[%Y-%m-%dT%H:%M:%S") + offset[:3] + ":" + offset[3:] + "]",
                at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            ]
        )
    )


@given(st.data())
@settings(max_examples=600, deadline=None)
def test_what_a_line_says_is_read_or_the_line_is_refused(data: st.DataObject) -> None:
    address, at, path = data.draw(addresses), data.draw(instants), "/" + data.draw(paths)
    method, status = data.draw(st.sampled_from(["GET", "POST", "HEAD", "DELETE"])), data.draw(st.integers(100, 599))
    agent, size = data.draw(st.sampled_from(AGENTS)), data.draw(st.sampled_from(["-", "0", "612", "99999999"]))
    middle = data.draw(st.sampled_from(MIDDLE)).format(status=status, size=size)
    quoted = data.draw(st.sampled_from([f' "-" "{agent}"', f' "https://x.example/?q=1" "{agent}"', ""]))
    blank = data.draw(st.sampled_from([" ", "  "]))
    line = (
        data.draw(st.sampled_from(PREFIXES))
        + f"{data.draw(written_addresses(address))} - {data.draw(st.sampled_from(['-', 'bob', 'Ann Lee']))}{blank}"
        + f'{data.draw(written_times(at))} "{method} {path} HTTP/1.1"{blank}{middle}{quoted}'
        + data.draw(st.sampled_from(BEHIND))
    ).encode()
    try:
        reader = reader_of(Path("log"), [line], key=lambda: KEY)
    except UsageError:
        return
    assert isinstance(reader, AccessLogReader)
    event = json.loads(reader.record(line).value)
    known = ipaddress.ip_address(address)
    client = str(getattr(known, "ipv4_mapped", None) or known)
    assert event["ip"] == Pseudonyms(KEY).of(client.encode())
    assert event["timestamp"][:19] == at.strftime("%Y-%m-%dT%H:%M:%S")
    assert event["page"] == page_of(path.encode().decode("latin-1"))[0]
    assert event["properties"]["status"] == str(status)
    assert event["outcome"] == ("failed" if status >= 400 else "ok")
    assert event.get("user_agent") in ((None,) if agent == "-" or not quoted else (agent.replace('\\"', '"'),))


@given(st.binary(max_size=200), st.sampled_from(["203.0.113.77", "[2001:db8::77]:443", "203.0.113.77:1"]), st.data())
@settings(max_examples=300, deadline=None)
def test_garbage_ends_nothing_and_keeps_no_address(noise: bytes, address: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(noise)))
    line = (noise[:cut] + b" " + address.encode() + b" " + noise[cut:]).replace(b"\n", b"")
    record = AccessLogReader(lambda: KEY).record(line)
    assert b"203.0.113.77" not in record.value
    assert b"2001:db8::77" not in record.value
