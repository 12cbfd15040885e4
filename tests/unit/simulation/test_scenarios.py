from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import islice, pairwise

import numpy as np
import pandas as pd
import pytest

from features.context import CONTEXT_FIELDS, READ
from features.errors import UsageError
from features.events import FIELDS
from simulation import SITES, Columns, Event, Label, Scenario, labels, simulate, simulate_columns

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
PERSONAS = SITES["shop"].personas
HOURS = Scenario(START, rate=10, duration=timedelta(hours=4), users=3000)
TAKE_OVERS = Scenario(START, rate=5, duration=timedelta(hours=3), mix={"returning": 0.9, "account_takeover": 0.1})
KNOWN_KEYS = {*FIELDS, *CONTEXT_FIELDS}


@cache
def some_events() -> list[Event]:
    return list(islice(simulate(Scenario(START, rate=200)), 20_000))


@cache
def frame_of(scenario: Scenario) -> pd.DataFrame:
    """All events with their user's persona, in order of user and time."""
    names, batches = simulate_columns(scenario)
    columns = Columns.together(list(batches))
    persona = np.array([label.persona for label in labels(scenario)])
    frame = pd.DataFrame({"user": columns.user, "seconds": columns.millis / 1000, "persona": persona[columns.user]})
    frame["action"] = np.array(scenario.place.actions)[columns.action]
    frame["page"] = np.array(scenario.place.pages)[columns.page]
    frame["user_id"] = np.array(names)[columns.user]
    frame = frame.sort_values(["user", "seconds"], kind="stable")
    frame["pause"] = frame.groupby("user").seconds.diff()
    return frame


def hours() -> pd.DataFrame:
    return frame_of(HOURS)


def of(persona: str) -> pd.DataFrame:
    return hours().query("persona == @persona")


def per_active_minute(events: pd.DataFrame) -> pd.Series[int]:
    return events.groupby([events.user, events.seconds // 60]).size()


def test_the_same_scenario_gives_the_same_events() -> None:
    assert list(islice(simulate(Scenario(START, rate=200)), 20_000)) == some_events()


def test_another_seed_gives_other_people_and_other_events() -> None:
    other = list(islice(simulate(Scenario(START, rate=200, seed=18)), 1000))
    assert not {event["user_id"] for event in other} & {event["user_id"] for event in some_events()}


def test_another_start_gives_the_same_people_and_no_known_event_id() -> None:
    later = Scenario(START + timedelta(hours=1), rate=200)
    assert [label.user_id for label in labels(later)] == [label.user_id for label in labels(Scenario(START, rate=200))]
    ids = {event["event_id"] for event in islice(simulate(later), 5000)}
    assert not ids & {event["event_id"] for event in some_events()}


def test_the_first_people_of_a_seed_are_the_same_in_a_larger_population() -> None:
    few, many = labels(replace(HOURS, users=500)), labels(HOURS)
    assert [(row.user_id, row.persona) for row in few] == [(row.user_id, row.persona) for row in many[:500]]


def test_events_keep_the_contract() -> None:
    for event in some_events():
        assert set(event) <= KNOWN_KEYS
        assert all(isinstance(event[name], str) and event[name] for name in ("user_id", "action", "page"))
        assert event["timestamp"].endswith("Z")
        assert datetime.fromisoformat(event["timestamp"]) <= datetime.fromisoformat(event["sent_at"])
        assert all(isinstance(text, str) for item in event["properties"].items() for text in item)


def test_most_apps_say_from_where_and_each_value_is_one_that_ingest_takes() -> None:
    says = [event for event in some_events() if "ip" in event]
    assert 0.5 < len(says) / len(some_events()) < 0.9
    for event in says:
        assert all(READ[name](str(text)) == text for name, text in event.items() if name in CONTEXT_FIELDS)


def test_an_intruder_comes_from_another_device_and_its_owner_does_not() -> None:
    strange = {label.user_id for label in labels(TAKE_OVERS) if label.since}
    devices = (
        pd.DataFrame(
            [(event["user_id"], event["device_id"]) for event in simulate(TAKE_OVERS) if "device_id" in event],
            columns=["user_id", "device"],
        )
        .groupby("user_id")
        .device.nunique()
    )
    assert devices[devices.index.isin(strange)].eq(2).mean() > 0.9
    assert devices[~devices.index.isin(strange)].eq(1).all()


def test_passwords_that_are_tried_fail_far_more_often_than_peoples() -> None:
    tried = {label.user_id for label in labels(HOURS) if label.persona == "login_brute_force"}
    ended = pd.DataFrame(
        [(event["user_id"] in tried, event["outcome"]) for event in simulate(HOURS) if "outcome" in event],
        columns=["tried", "outcome"],
    )
    failed = ended.outcome.eq("failed").groupby(ended.tried).mean()
    assert failed[True] > 0.9
    assert failed[False] < 0.2


def test_event_ids_are_unique_and_look_like_uuids() -> None:
    ids = [event["event_id"] for event in some_events()]
    assert len(set(ids)) == len(ids)
    assert all([len(part) for part in event_id.split("-")] == [8, 4, 4, 4, 12] for event_id in ids)


def test_events_come_in_order_of_time_and_within_the_duration() -> None:
    scenario = Scenario(START, rate=50, duration=timedelta(seconds=60))
    times = [datetime.fromisoformat(event["timestamp"]) for event in simulate(scenario)]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < START + timedelta(seconds=60)


def test_some_apps_send_sessions_and_some_do_not() -> None:
    share = sum("session_id" in event for event in some_events()) / len(some_events())
    assert 0.4 < share < 0.8


def test_nothing_in_an_event_tells_who_is_strange() -> None:
    text = json.dumps(some_events())
    assert not [persona.name for persona in PERSONAS if persona.name in text]
    assert "anomal" not in text


def test_every_acting_user_has_one_label() -> None:
    rows = labels(Scenario(START, rate=200))
    assert len({row.user_id for row in rows}) == len(rows)
    assert {event["user_id"] for event in some_events()} <= {row.user_id for row in rows}


def test_labels_name_every_persona_and_say_what_it_is() -> None:
    rows = labels(HOURS)
    strange = {persona.name for persona in PERSONAS if persona.is_anomalous}
    assert {row.persona for row in rows} == {persona.name for persona in PERSONAS}
    assert all(row.is_anomalous == (row.persona in strange) for row in rows)
    assert all((row.since is not None) == (row.persona == "account_takeover") for row in rows)


def test_accounts_taken_over_after_the_end_are_not_strange() -> None:
    rows = [row for row in labels(replace(HOURS, duration=timedelta(minutes=2))) if row.persona == "account_takeover"]
    assert any(row.is_anomalous for row in rows)
    assert any(not row.is_anomalous for row in rows)
    assert all((row.since is not None) == row.is_anomalous for row in rows)


@pytest.mark.parametrize(("rate", "seconds"), [(500, 60), (100, 300), (20, 3600)])
def test_the_rate_is_held(rate: float, seconds: int) -> None:
    _, batches = simulate_columns(Scenario(START, rate=rate, duration=timedelta(seconds=seconds)))
    assert sum(map(len, batches)) / seconds == pytest.approx(rate, rel=0.15)


def test_the_stream_runs_at_full_rate_from_its_first_seconds() -> None:
    runs = [Scenario(START, rate=100, duration=timedelta(seconds=30), seed=seed) for seed in range(12)]
    rates = [sum(map(len, simulate_columns(run)[1])) / 30 for run in runs]
    assert np.mean(rates) == pytest.approx(100, rel=0.08)


def test_nights_are_quiet_where_a_daily_rhythm_is_asked_for() -> None:
    day = Scenario(START.replace(hour=0), rate=5, duration=timedelta(days=1), daily_rhythm=True)
    hour = Columns.together(list(simulate_columns(day)[1])).millis // 3_600_000 % 24
    assert ((hour >= 18) & (hour < 22)).sum() > 2 * ((hour >= 4) & (hour < 8)).sum()


def test_more_events_than_people_can_make_are_refused() -> None:
    with pytest.raises(UsageError, match=r"100 users make at most .* at least [0-9]+ users"):
        next(simulate(Scenario(START, rate=500, users=100)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": 0}, "rate must be"),
        ({"users": 0}, "at least 1 user"),
        ({"duration": timedelta(0)}, "longer than nothing"),
        ({"mix": {"martian": 1.0}}, "no persona martian; there are browser"),
        ({"mix": {"browser": 0.0}}, "one above 0"),
        ({"start": datetime(2026, 1, 1)}, "has none"),  # noqa: DTZ001
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused_in_a_sentence(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Scenario(**{"start": START, **wrong})  # type: ignore[arg-type]


def test_a_mix_of_one_persona_holds_nobody_else() -> None:
    scenario = Scenario(START, rate=20, duration=timedelta(minutes=5), mix={"scraper": 1.0})
    assert {row.persona for row in labels(scenario)} == {"scraper"}
    assert sum(1 for _ in simulate(scenario)) > 1000


def test_users_come_back() -> None:
    visits = of("returning").assign(back=lambda events: events.pause > 1800).groupby("user").back.sum()
    assert (visits > 0).mean() > 0.3


def test_returning_users_come_at_their_own_hours() -> None:
    days = Scenario(START, rate=1, duration=timedelta(days=4), users=400)
    columns = Columns.together(list(simulate_columns(days)[1]))
    persona = np.array([row.persona for row in labels(days)])
    angle = np.exp(2j * np.pi * (columns.millis % 86_400_000) / 86_400_000)
    together = pd.DataFrame({"user": columns.user, "angle": angle, "persona": persona[columns.user]})
    concentration = together.groupby(["persona", "user"]).angle.mean().abs().groupby("persona").median()
    assert concentration["returning"] > concentration["click_flood"]
    assert concentration["returning"] > 0.5


def test_pauses_of_people_are_heavy_tailed() -> None:
    pauses = of("browser").pause.dropna()
    pauses = pauses[pauses < 1800]
    assert pauses.mean() > 1.5 * pauses.median()
    assert pauses.quantile(0.99) > 15 * pauses.median()


def test_few_products_get_much_of_the_attention() -> None:
    views = of("browser").query("page.str.startswith('/product/')").page.value_counts()
    assert views.head(50).sum() > 0.15 * views.sum()
    assert len(views) > 500


def test_floods_click_faster_than_browsers() -> None:
    assert per_active_minute(of("click_flood")).median() > 4 * per_active_minute(of("browser")).median()


def test_scrapers_see_more_of_the_shop_than_browsers() -> None:
    assert (
        of("scraper").groupby("user").page.nunique().median()
        > 4 * of("browser").groupby("user").page.nunique().median()
    )


def test_brute_force_stays_at_the_login() -> None:
    assert (of("login_brute_force").page == "/login").mean() > 0.9
    assert (of("browser").page == "/login").mean() < 0.1


def test_low_and_slow_bots_are_slow_and_regular() -> None:
    def irregularity(events: pd.DataFrame) -> float:
        pauses = events[events.pause < 600].groupby("user").pause
        return float((pauses.std() / pauses.mean()).median())

    assert per_active_minute(of("low_and_slow_bot")).median() <= 3
    assert irregularity(of("low_and_slow_bot")) < 0.8 * irregularity(of("reader"))


def test_a_campaign_brings_many_honest_people_to_one_page_at_once() -> None:
    crowd = of("flash_crowd").query("page.str.startswith('/campaign/')")
    first = crowd[crowd.page == "/campaign/1"].groupby("user").seconds.min()
    assert len(first) >= 20
    assert first.quantile(0.9) - first.min() < 15 * 60
    assert not any(row.is_anomalous for row in labels(HOURS) if row.persona == "flash_crowd")


def test_power_users_are_new_and_very_active() -> None:
    first = of("power_user").groupby("user").seconds.min() - START.timestamp()
    assert first.min() > 0
    assert of("power_user").groupby("user").size().median() > 5 * of("browser").groupby("user").size().median()


def test_strange_and_honest_users_overlap() -> None:
    honest = per_active_minute(hours()[hours().persona.isin(["browser", "buyer", "returning", "power_user"])])
    assert per_active_minute(of("click_flood")).quantile(0.1) < honest.quantile(0.99)
    assert per_active_minute(of("scraper")).quantile(0.25) < honest.quantile(0.95)
    assert per_active_minute(of("login_brute_force")).quantile(0.25) < honest.quantile(0.95)


@cache
def taken_over() -> list[tuple[Label, pd.DataFrame]]:
    accounts = frame_of(TAKE_OVERS).copy()
    rows = [(row, row.since) for row in labels(TAKE_OVERS) if row.since is not None]
    accounts["after"] = accounts.seconds - accounts.user_id.map({row.user_id: since.timestamp() for row, since in rows})
    users = dict(list(accounts.groupby("user_id")))
    return [(row, users[row.user_id]) for row, _ in rows]


def test_a_takeover_begins_at_its_moment_at_the_login_or_the_account() -> None:
    for row, events in taken_over():
        first = events[events.after.abs() < 0.002]
        assert len(first) >= 1, row
        assert first.page.isin(["/login", "/account"]).any(), row


def test_accounts_behave_as_ever_until_they_are_taken_over_and_otherwise_after() -> None:
    events = pd.concat([events for _, events in taken_over()])
    before, after = events[events.after < -0.002], events[events.after.between(-0.002, 300)]
    ordinary = frame_of(TAKE_OVERS).query("persona == 'returning'")
    assert (before.action == "interaction").mean() == pytest.approx((ordinary.action == "interaction").mean(), abs=0.05)
    assert (after.action == "interaction").mean() > 1.5 * (before.action == "interaction").mean()
    assert after.pause.median() < 0.7 * before.pause.median()


def test_visits_have_several_steps_that_follow_each_other() -> None:
    pages = of("buyer").groupby("user").page.agg(list)
    paid = [steps for steps in pages if "/order/done" in steps]
    assert len(paid) > 10
    assert all(any(pair == ("/checkout", "/order/done") for pair in pairwise(steps)) for steps in paid)


def test_the_shops_events_stay_what_models_were_measured_on() -> None:
    """To the bit: figures of different days are to be compared."""
    assert fingerprint(HOURS) == "8b4c1586d3dcc64f"
    assert fingerprint(Scenario(START, 2.5, timedelta(days=1), 3, 2500, daily_rhythm=True)) == "3f4c30426301a7b2"


def fingerprint(scenario: Scenario) -> str:
    columns, told = Columns.together(list(simulate_columns(scenario)[1])), sha256()
    for name in ("user", "millis", "action", "page", "session"):
        told.update(getattr(columns, name).astype(np.int64).tobytes())
    return told.hexdigest()[:16]


def test_after_a_takeover_the_owner_acts_as_ever_and_only_the_intruder_strangely() -> None:
    columns = Columns.together(list(simulate_columns(TAKE_OVERS)[1]))
    since = {row.user_id: row.since for row in labels(TAKE_OVERS)}
    moments = [since[name] for name in np.array(simulate_columns(TAKE_OVERS)[0])[columns.user]]
    after = np.array(
        [
            moment is not None and at >= moment.timestamp()
            for moment, at in zip(moments, columns.millis / 1000 + 0.002, strict=True)
        ]
    )
    assert not columns.strange[~after].any()
    assert 0.1 < columns.strange[after].mean() < 0.99


# The forum: other pages, names and habits.

FORUM = replace(HOURS, site="forum", mix=None)


def in_forum(persona: str) -> pd.DataFrame:
    return frame_of(FORUM).query("persona == @persona")


def test_the_forum_has_words_of_its_own_and_all_of_its_people() -> None:
    rows = labels(FORUM)
    assert {row.persona for row in rows} == {persona.name for persona in SITES["forum"].personas}
    assert len(frame_of(FORUM).action.unique()) == len(SITES["forum"].actions) == 13
    assert frame_of(FORUM).action.isin(["click", "view", "interaction"]).sum() == 0


@pytest.mark.parametrize(("rate", "seconds"), [(200, 60), (20, 3600)])
def test_the_rate_is_held_in_the_forum_too(rate: float, seconds: int) -> None:
    _, batches = simulate_columns(Scenario(START, rate=rate, duration=timedelta(seconds=seconds), site="forum"))
    assert sum(map(len, batches)) / seconds == pytest.approx(rate, rel=0.15)


def test_tabs_are_opened_one_right_after_the_other_and_read_later() -> None:
    members = in_forum("member")
    same = members.user == members.user.shift()
    tabs = members[same & (members.action == "open_tab") & (members.action.shift() == "open_tab")]
    assert tabs.pause.median() < 3
    assert members[same & (members.action.shift() == "read")].pause.median() > 8


def test_watchers_look_at_one_thread_again_and_again_and_are_honest() -> None:
    watched = in_forum("watcher").groupby("user").page.agg(lambda pages: pages.value_counts(normalize=True).iloc[0])
    assert watched.median() > 0.4
    assert not any(row.is_anomalous for row in labels(FORUM) if row.persona == "watcher")


def test_who_forgot_a_password_tries_again_and_then_changes_it() -> None:
    forgot = in_forum("forgot_password").groupby("user").action.agg(list)
    changed = [actions for actions in forgot if "profile_changed" in actions]
    assert len(changed) > 0.5 * len(forgot)
    assert np.median([actions[: actions.index("profile_changed")].count("login") for actions in changed]) >= 3


@pytest.mark.parametrize(
    ("persona", "action"),
    [
        ("message_spam", "message_sent"),
        ("mass_export", "export"),
        ("login_brute_force", "login"),
        ("vote_flood", "vote"),
    ],
)
def test_programs_of_the_forum_do_one_thing_that_people_do_too(persona: str, action: str) -> None:
    done = frame_of(FORUM).query("action == @action")
    assert (in_forum(persona).action == action).mean() > 0.6
    assert (done.persona.isin(["lurker", "member", "writer", "forgot_password", "account_takeover"])).any()


def test_a_site_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="no simulated site bank; there are shop, forum"):
        Scenario(START, site="bank")
