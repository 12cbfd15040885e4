from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.context import READ
from features.errors import BehaviorError, ConfigurationError, UsageError
from features.events import EPOCH, ValidationRules
from features.validation import Rejection, validate_value
from kafka.producer import EventProducer
from replay.file_lines import MAX_LINE, lines
from replay.file_replay import replay
from replay.formats.access_log import AccessLogReader
from replay.formats.json_lines import JsonLinesReader, shifted
from replay.formats.registry import NAMES, format_of
from replay.pseudonyms import pseudonym_key
from tests.paths import DATA

KEY = b"0123456789abcdef"
RULES = ValidationRules(max_bytes=1_000_000, max_depth=16, oldest=EPOCH, max_future_seconds=300)

GET = (
    b'203.0.113.9 - - [22/Jan/2019:03:56:14 +0330] "GET /product/7?token=s3cret HTTP/1.1" '
    b'200 30577 "-" "Firefox/64.0" "-"'
)
POST = (
    b'203.0.113.9 - bob [22/Jan/2019:03:56:15 +0330] "POST /basket HTTP/1.1" '
    b'302 - "https://x.example/?q=1" "Firefox/64.0"'
)
IPV6 = b'2001:db8::7 - - [22/Jan/2019:00:26:16 +0000] "HEAD /static/app.css HTTP/2.0" 304 0 "-" "Safari/12.0"'
QUOTED = rb'203.0.113.9 - - [22/Jan/2019:00:26:17 -0130] "GET / HTTP/1.0" 200 12 "-" "a \"quoted\" agent"'
NO_AGENT = b'203.0.113.9 - - [22/Jan/2019:00:26:18 +0000] "GET /help HTTP/1.1" 200 12 "-" "-"'
HANDSHAKE = rb'203.0.113.9 - - [22/Jan/2019:00:26:19 +0000] "\x16\x03\x01" 400 166 "-" "-"'
BROKEN = b'203.0.113.9 - - [22/Jan/2019:00:26:20 +0000] "GET /product/9 HTT'
EVENT = b'{"user_id":"7", "action":"click","page":"/","timestamp":"2019-01-22T00:26:14Z"}'


class Memory(EventProducer):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []

    def send_raw(self, value: bytes, key: bytes | None, *, headers: object = None) -> None:
        self.records.append((value, key))

    def flush(self, timeout: float | None = None) -> int:
        return len(self.records)


def event(line: bytes, key: bytes = KEY) -> dict[str, object]:
    record = AccessLogReader(lambda: key).record(line)
    assert record.is_event
    found: dict[str, object] = json.loads(record.value)
    return found


def sent(path: Path, **options: object) -> list[tuple[bytes, bytes | None]]:
    producer = Memory()
    done = replay(path, producer, key=lambda: KEY, **options)  # type: ignore[arg-type]
    assert done.lines == len(producer.records)
    return producer.records


def events(path: Path, **options: object) -> list[dict[str, str]]:
    return [json.loads(value) for value, _ in sent(path, **options)]


def file_of(folder: Path, *content: bytes) -> Path:
    path = folder / "recording"
    path.write_bytes(b"\n".join(content) + b"\n")
    return path


def test_a_get_is_a_view_of_its_path_in_utc_and_keeps_no_query() -> None:
    found = event(GET)
    assert found.pop("user_id") == event(POST)["user_id"]
    assert found.pop("ip") == event(POST)["ip"] != "203.0.113.9"
    assert found == {
        "action": "view",
        "page": "/product/7",
        "timestamp": "2019-01-22T00:26:14Z",
        "properties": {"status": "200", "bytes": "30577"},
        "outcome": "ok",
        "user_agent": "Firefox/64.0",
    }


def test_a_log_tells_the_context_with_a_pseudonym_of_the_address() -> None:
    quoted, silent = event(QUOTED), event(NO_AGENT)
    assert quoted["ip"] == silent["ip"] == event(GET)["ip"]
    assert READ["ip"](str(quoted["ip"])) == quoted["ip"]
    assert quoted["user_agent"] == 'a "quoted" agent'
    assert "user_agent" not in silent
    assert event(GET.replace(b" 200 ", b" 404 "))["outcome"] == "failed"


def test_a_post_is_an_interaction_and_unknown_bytes_are_left_out() -> None:
    found = event(POST)
    assert (found["action"], found["page"], found["properties"]) == ("interaction", "/basket", {"status": "302"})


@pytest.mark.parametrize(
    ("request_", "action"),
    [
        ("HEAD /", "view"),
        ("GET /image/60844/productModel/200x200", "asset"),
        ("GET /static/x", "asset"),
        ("GET /logo.PNG?v=3", "asset"),
        ("HEAD /robots.txt", "asset"),
        ("GET /manifest.json", "view"),
        ("GET /amp-helper-frame.html", "view"),
        ("GET /v3.5-large", "view"),
        ("PUT /account.png", "interaction"),
        ("PATCH /account", "interaction"),
        ("DELETE /basket/1", "interaction"),
        ("OPTIONS /basket", "options"),
    ],
)
def test_method_and_path_tell_the_action(request_: str, action: str) -> None:
    assert event(GET.replace(b"GET /product/7?token=s3cret", request_.encode()))["action"] == action


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("/a/b?c=d#e", "/a/b"),
        ("/a#b", "/a"),
        ("?c=d", "/"),
        ("http://user:pass@x.example/a?b", "/a"),
        ("http://x.example", "/"),
        ("/a;jsessionid=1F2E/b", "/a/b"),
        (r"/\xD8\xB3", "/%D8%B3"),
        ("/س", "/%D8%B3"),
        (r"/a\"b", '/a"b'),
        ("/a b", "/a%20b"),
        ("/" + 600 * "x", "/" + 511 * "x"),
    ],
)
def test_a_page_is_a_path_without_secrets(target: str, page: str) -> None:
    assert event(GET.replace(b"/product/7?token=s3cret", target.encode()))["page"] == page


def test_ipv6_quotes_in_an_agent_and_no_agent_are_understood() -> None:
    assert event(IPV6)["action"] == "asset"
    assert event(QUOTED)["timestamp"] == "2019-01-22T01:56:17Z"
    assert event(NO_AGENT)["page"] == "/help"


def test_the_common_format_without_an_agent_is_understood() -> None:
    assert event(NO_AGENT.removesuffix(b' "-" "-"')) == event(NO_AGENT)


def test_a_user_is_address_and_agent_under_the_key() -> None:
    users = {str(event(line)["user_id"]) for line in (GET, IPV6, QUOTED, NO_AGENT)}
    assert len(users) == 4
    assert event(GET, b"another key of some length")["user_id"] not in users
    assert not any("203" in user and len(user) < 10 for user in users)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (HANDSHAKE, "no request: \\x16\\x03\\x01"),
        (HANDSHAKE.replace(rb"\x16\x03\x01", b"-"), "no request: -"),
        (HANDSHAKE.replace(rb"\x16\x03\x01", b"GET"), "no request: GET"),
        (BROKEN, "an access log has other lines"),
        (b"hello 203.0.113.9", "an access log has other lines"),
        (b"\xff\xfe[2001:db8::7]:443", "an access log has other lines"),
        (GET.replace(b"22/Jan", b"31/Feb"), "an access log has other lines"),
    ],
)
def test_a_line_that_is_no_request_says_so_and_has_no_address(line: bytes, why: str) -> None:
    record = AccessLogReader(lambda: KEY).record(line)
    assert not record.is_event
    assert json.loads(record.value)["no_request"] == why
    assert not re.search(rb"203\.0|2001:db8", record.value)
    verdict = validate_value(record.value, RULES, 0, None)
    assert isinstance(verdict, Rejection)
    assert (verdict.reason, verdict.detail) == ("no_request", why)


def test_a_line_that_is_no_request_has_the_key_of_who_sent_it() -> None:
    reader = AccessLogReader(lambda: KEY)
    record = reader.record(HANDSHAKE)
    assert record.key == reader.record(NO_AGENT).key
    assert json.loads(record.value)["user_id"].encode() == record.key


def test_every_line_of_a_log_is_one_record(tmp_path: Path) -> None:
    path = file_of(tmp_path, GET, BROKEN, b"", HANDSHAKE, b"\xff\xff", EVENT, IPV6)
    values = [value for value, _ in sent(path)]
    assert (values[2], values[5]) == (b"", EVENT)
    assert ["no_request" in json.loads(value) for value in values if value] == [False, True, True, True, False, False]
    assert all(json.loads(value)["user_id"].encode() == key for value, key in sent(path) if key)


def test_json_lines_go_byte_for_byte_keyed_by_user(tmp_path: Path) -> None:
    odd = [
        EVENT,
        b' {"user_id": "\\u00fc"}\r',
        b"",
        b"{cut",
        b"[1]",
        b'{"user_id":5}',
        b'{"user_id":""}',
        b"\xff{}",
        b"null",
    ]
    records = sent(file_of(tmp_path, *odd))
    assert [value for value, _ in records] == odd
    assert [key for _, key in records] == [b"7", "ü".encode(), *[None] * 7]


def test_nested_and_endless_json_is_sent_as_it_is(tmp_path: Path) -> None:
    deep = b'{"user_id":' + 100_000 * b"["
    assert sent(file_of(tmp_path, EVENT, deep))[1] == (deep, None)


def test_a_last_line_without_line_feed_counts_and_nothing_after_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(EVENT + b"\n\n" + EVENT)
    assert [line.text for line in lines(path)] == [EVENT, b"", EVENT]
    path.write_bytes(EVENT + b"\n\n")
    assert [line.text for line in lines(path)] == [EVENT, b""]


def test_a_line_too_long_for_a_record_is_cut_and_still_one_record(tmp_path: Path) -> None:
    path = file_of(tmp_path, EVENT, 2_000_000 * b"x", EVENT, MAX_LINE * b"y")
    producer = Memory()
    done = replay(path, producer)
    assert (done.lines, done.raw, done.cut) == (4, 2, 1)
    assert [len(value) for value, _ in producer.records] == [len(EVENT), MAX_LINE, len(EVENT), MAX_LINE]
    assert [line.length for line in lines(path)] == [len(EVENT), 2_000_000, len(EVENT), MAX_LINE]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_format_and_packing_are_told_from_the_content(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "whatever.txt"
    path.write_bytes(pack(b"\n" + GET + b"\n" + BROKEN))
    assert format_of(path) is AccessLogReader
    path.write_bytes(pack(b"\xef\xbb\xbf" + EVENT + b"\n" + BROKEN))
    assert format_of(path) is JsonLinesReader


def test_an_empty_file_is_done_with_no_line(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert sent(path) == []


def test_another_format_is_refused_in_a_sentence_unless_it_is_named(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"user,action", b"7,click")
    with pytest.raises(UsageError, match=r"neither an access log .* nor .* The first is 'user,action'"):
        sent(path)
    assert len(sent(path, format_name="events")) == 2


def test_a_name_that_no_format_has_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no format 'csv'; needed: one of {', '.join(NAMES)}"):
        sent(file_of(tmp_path, EVENT), format_name="csv")


def test_a_key_is_asked_for_where_pseudonyms_are_needed_before_anything_is_sent(tmp_path: Path) -> None:
    def key() -> bytes:
        raise ConfigurationError("no key")

    producer = Memory()
    assert replay(file_of(tmp_path, EVENT), producer, key=key).lines == 1
    with pytest.raises(ConfigurationError, match="no key"):
        replay(file_of(tmp_path, BROKEN, GET), producer, format_name="access_log", key=key)
    assert len(producer.records) == 1


def test_a_missing_file_and_a_folder_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.jsonl cannot be read: no such file"):
        sent(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match="is a folder without files"):
        sent(tmp_path)


def test_a_torn_gzip_says_how_far_it_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "torn.gz"
    text = b"\n".join(b'{"user_id":"%s"}' % hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(2000))
    path.write_bytes(gzip.compress(text)[:-1000])
    with pytest.raises(BehaviorError, match=r"torn\.gz is damaged after line 19\d\d"):
        sent(path)


def test_shifting_at_full_speed_puts_the_last_event_now_and_keeps_all_spans(tmp_path: Path) -> None:
    path = file_of(tmp_path, GET, POST, BROKEN, IPV6)
    before = datetime.now(UTC)
    records = [value for value, key in sent(path, shift_to_now=True) if key]
    times = [datetime.fromisoformat(json.loads(value)["timestamp"]) for value in records]
    assert before - timedelta(milliseconds=1) <= times[-1] <= datetime.now(UTC)
    assert [round((when - times[0]).total_seconds(), 3) for when in times] == [0, 1, 2]


def test_shifting_at_the_pace_of_the_recording_or_slower_puts_the_first_event_now(tmp_path: Path) -> None:
    late = EVENT.replace(b":14Z", b":14.010Z")
    before = datetime.now(UTC)
    first, last = (
        datetime.fromisoformat(e["timestamp"])
        for e in events(file_of(tmp_path, EVENT, late), shift_to_now=True, rate=50)
    )
    assert before <= first <= datetime.now(UTC)
    assert last - first == timedelta(milliseconds=10)


def test_shifting_at_any_pace_puts_no_event_ahead_of_the_clock(tmp_path: Path) -> None:
    hours = [EVENT.replace(b"T00", b"T%02d" % hour) for hour in range(10)]
    times = [
        datetime.fromisoformat(e["timestamp"]) for e in events(file_of(tmp_path, *hours), shift_to_now=True, rate=1000)
    ]
    assert max(times) <= datetime.now(UTC)
    assert max(times) >= datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.parametrize("line", [EVENT, GET.replace(b"03:56:14 +0330", b"00:26:14 +0000")])
def test_one_wild_time_does_not_spoil_the_shift_and_stays_wild(tmp_path: Path, line: bytes) -> None:
    wild = line.replace(b"2019", b"9999")
    ordinary, odd = events(file_of(tmp_path, line, wild), shift_to_now=True)
    assert datetime.now(UTC) - datetime.fromisoformat(ordinary["timestamp"]) < timedelta(minutes=1)
    assert odd["timestamp"] == "9999-01-22T00:26:14Z"


def test_shifting_changes_nothing_but_the_two_times() -> None:
    begin = b'{ "page":"timestamp" ,"properties":{"timestamp":"2019-01-22T00:26:14Z"},\t"timestamp": '
    line = begin + b'"2019-01-22T03:56:14+03:30","sent_at":"2019-01-22T00:26:15.5Z"}\r'
    moved = begin + b'"2019-01-22T00:26:19Z","sent_at":"2019-01-22T00:26:20.500000Z"}\r'
    assert shifted(line, timedelta(seconds=5)) == moved


@pytest.mark.parametrize(
    "line",
    [
        b'{"timestamp":"2019-01-22T00:26:14"}',
        b'{"timestamp":"now"}',
        b'{"timestamp":1548116774}',
        b'{"timestamp":"2019-02-30T00:26:14Z"}',
        b'{"timestamp":"20190122T002614Z"}',
        b'["timestamp","2019-01-22T00:26:14Z"]',
        b'{"timestamp":"2019-01-22T00:26:14Z"',
        b"\xff",
        b"",
    ],
)
def test_times_that_are_to_be_rejected_are_not_repaired_by_a_shift(line: bytes) -> None:
    assert shifted(line, timedelta(days=1)) in (line, b'{"timestamp":"2019-01-23T00:26:14Z"')


def test_event_ids_are_only_invented_when_asked_for(tmp_path: Path) -> None:
    path = file_of(tmp_path, GET, GET)
    assert not any("event_id" in e for e in events(path))
    first, second = [e["event_id"] for e in events(path, event_ids=True)]
    assert first != second


def test_event_ids_are_the_same_in_a_second_replay_packed_or_not(tmp_path: Path) -> None:
    plain = file_of(tmp_path, EVENT, b'{"event_id":"mine","user_id":"7"}', EVENT, b"{}", b"{broken")
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    once = sent(plain, event_ids=True)
    assert sent(packed, event_ids=True) == once
    assert [json.loads(value)["event_id"] for value, key in once if key][1] == "mine"
    assert [value for value, key in once if key is None] == [b"{}", b"{broken"]


def test_the_event_id_is_all_that_is_added(tmp_path: Path) -> None:
    ((value, _),) = sent(file_of(tmp_path, EVENT), event_ids=True)
    assert value == EVENT.replace(b"{", b'{"event_id":"%s",' % json.loads(value)["event_id"].encode())


def test_other_content_has_other_event_ids(tmp_path: Path) -> None:
    first = events(file_of(tmp_path, EVENT), event_ids=True)
    assert events(file_of(tmp_path, EVENT, EVENT), event_ids=True)[0]["event_id"] != first[0]["event_id"]


def test_a_stop_ends_a_replay_early(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert sent(file_of(tmp_path, EVENT, EVENT), stop=stop) == []


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_must_be_above_zero(tmp_path: Path, rate: float) -> None:
    with pytest.raises(UsageError, match="rate"):
        sent(file_of(tmp_path, EVENT), rate=rate)


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEHAVIOR_PSEUDONYM_KEY", raising=False)
    file = tmp_path / "new" / "key"
    key = pseudonym_key(file)
    assert len(key) == 64
    assert pseudonym_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["key"]


def test_a_key_from_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", KEY.decode())
    assert pseudonym_key(tmp_path / "key") == KEY
    assert list(tmp_path.iterdir()) == []


def test_a_short_key_and_one_that_others_can_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", "secret")
    with pytest.raises(ConfigurationError, match="6 characters") as refused:
        pseudonym_key(tmp_path / "key")
    assert "secret" not in str(refused.value)
    monkeypatch.delenv("BEHAVIOR_PSEUDONYM_KEY")
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        pseudonym_key(file)


needs_shop = pytest.mark.skipif(
    not (DATA / "shop_access.log.gz").exists(), reason=f"no real shop log in {DATA}; set BEHAVIOR_DATA"
)


@needs_shop
def test_the_real_shop_log_becomes_the_known_events() -> None:
    found = events(DATA / "shop_access.log.gz")
    known = [json.loads(line.text) for line in lines(DATA / "shop_events.jsonl.gz")]
    assert Counter(e["action"] for e in found) == {"view": 5578, "asset": 4418, "interaction": 22}
    assert [(e["action"], e["page"], e["timestamp"]) for e in found] == [
        (e["action"], e["page"], e["timestamp"]) for e in known
    ]


@needs_shop
def test_the_real_shop_log_has_the_known_users() -> None:
    found = [e["user_id"] for e in events(DATA / "shop_access.log.gz")]
    known = [json.loads(line.text)["user_id"] for line in lines(DATA / "shop_events.jsonl.gz")]
    pairs = set(zip(found, known, strict=True))
    assert len(pairs) == len(set(found)) == len(set(known)) == 640
