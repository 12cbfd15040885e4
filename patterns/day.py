"""One day of events to its patterns: what goes into the tables, as rows.

Steps that see all of a day run in Spark. What people read (paths with their users, steps against chance, what sets a
segment apart) comes from a sample of whole users that is as large as is asked for: memory does not grow with the day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from features.tables import PATTERN_MEMBERS
from patterns import words
from patterns.acts import Act, habits_of
from patterns.context import Earlier, Options, Row, Sample, shares
from patterns.groups import Groups, groups, with_habits
from patterns.pages import PageKinds, Visits, learn
from patterns.paths import Path, frequent, measured, telling
from patterns.sequences import acts, loaded_pages, page_visits, sequences
from patterns.traits import session_traits, user_traits
from patterns.transitions import Walk, transitions
from patterns.trends import Day, trend

FeatureRows = Callable[[DataFrame], DataFrame]

GRAIN = 1_000_000


@dataclass(frozen=True)
class Mined:
    """Rows of the tables of a day; ``members`` is a frame, the others are as long as a page."""

    day: Row
    patterns: list[Row]
    segments: list[Row]
    transitions: list[Row]
    members: DataFrame
    walks: list[Walk]
    held: list[DataFrame]

    def examples(self) -> dict[str, list[str]]:
        """Users to show, by segment or path."""
        shown: dict[str, list[str]] = {}
        picked = self.members.where("is_example").select("pattern_id", "user_id").orderBy("distance", "user_id")
        for row in picked.collect():
            shown.setdefault(row["pattern_id"], []).append(row["user_id"])
        return shown

    def release(self) -> None:
        """Give back what Spark holds for ``members``; to be called when they are written."""
        for frame in self.held:
            frame.unpersist()

    def summary(self) -> list[str]:
        """The day in some lines."""
        day = self.day
        lines = [
            f"{day['day']:%Y-%m-%d}: {day['events']:,} events, {day['sessions']:,} sessions, {day['users']:,} users"
        ]
        lines += [
            f"  {row['share']:6.1%} of {row['unit']}s: {row['name']}: {row['description']}" for row in self.segments
        ]
        lines += [f"  {row['share']:6.1%} of paths: {row['name']}" for row in self.patterns[:5]]
        return lines + [f"  note: {note}" for note in day["notes"]]


def mine_day(
    day: datetime, events: DataFrame, rows_of: FeatureRows, scores: DataFrame, earlier: Earlier, options: Options
) -> Mined:
    """Mine the sessions that start on ``day`` (a UTC midnight).

    Args:
        events: of the day, and as far before and after as sessions reach.
        rows_of: feature rows of events, from the day's first minute on; the same sessions as in table features.
        scores: the newest score rows of the same time; may be empty.
        earlier: what the days before gave.
    """
    return _Mining(day, events, rows_of, scores, earlier, options).run()


class _Mining:
    def __init__(
        self,
        day: datetime,
        events: DataFrame,
        rows_of: FeatureRows,
        scores: DataFrame,
        earlier: Earlier,
        options: Options,
    ) -> None:
        self.day, self.rows_of, self.scores, self.earlier, self.options = day, rows_of, scores, earlier, options
        self.events = events
        self.notes: list[str] = []
        self.held: list[DataFrame] = []

    def run(self) -> Mined:
        try:
            return self._run()
        except BaseException:
            for frame in self.held:
                frame.unpersist()
            raise

    def _hold(self, frame: DataFrame) -> DataFrame:
        self.held.append(frame.persist(StorageLevel.MEMORY_AND_DISK))
        return frame

    def _run(self) -> Mined:
        options = self.options
        chosen = self.events.where(~F.col("action").isin(list(options.ignored_actions)))
        rows = self._hold(self._of_day(self.rows_of(self.events)))
        done = self._hold(acts(chosen, rows))
        kinds, loaded = self._page_kinds(done)
        meant = done.where(~F.col("page").isin(loaded)) if loaded else done
        verdicts = self._hold(session_verdicts(self.scores))
        sessions = self._hold(self._sessions(chosen, rows, loaded).join(verdicts, ["user_id", "session_start"], "left"))
        counts = sessions.agg(F.count("*").alias("sessions"), F.count_distinct("user_id").alias("users")).collect()[0]
        few = self._users_up_to(options.max_sessions, counts["sessions"])
        walks = self._hold(sequences(meant.where(few), kinds, options.longest_walk))
        sample = self._sample(walks.join(verdicts, ["user_id", "session_start"], "left"))
        if len(sample.walks) < counts["sessions"]:
            self.notes.append(
                f"Paths and steps come from {len(sample.walks):,} of {counts['sessions']:,} sessions"
                + (", all those of a sample of users." if counts["sessions"] > options.max_sessions else ".")
            )
        paths = self._paths(walks, sample)
        members: list[DataFrame] = [self._path_examples(paths, sample)]
        segments: list[Row] = []
        learned = 0
        habits = habits_of(meant, kinds, options.least_users)
        users = self._hold(with_habits(self._users(sessions, verdicts), habits, sessions))
        for unit, traits in (("session", sessions), ("user", users)):
            grouped = self._groups(unit, traits, sample, habits.acts)
            segments += grouped.rows
            members.append(grouped.members)
            learned += grouped.learned if unit == "session" else 0
        frame = self._members(members)
        day_row = {
            "day": self.day,
            "events": 0,
            "sessions": counts["sessions"],
            "users": counts["users"],
            "mined_sessions": len(sample.walks),
            "learned_sessions": learned,
            "page_kinds": list(kinds.templates),
            "notes": self.notes,
        }
        steps = [{"day": self.day, **vars(row)} for row in transitions(sample.walks, options.max_kinds)]
        return Mined(
            day_row, [self._path_row(path, sample) for path in paths], segments, steps, frame, sample.walks, self.held
        )

    # --- sessions and pages ---

    def _of_day(self, rows: DataFrame) -> DataFrame:
        first = F.col("session_start") >= F.lit(self.day)
        return rows.where(first & (F.col("session_start") < F.lit(self.day) + F.expr("interval 1 day")))

    def _page_kinds(self, done: DataFrame) -> tuple[PageKinds, list[str]]:
        pages = page_visits(done, self.options.max_pages).collect()
        if len(pages) == self.options.max_pages:
            self.notes.append(f"Kinds of pages were learned from the {len(pages):,} most used pages.")
        visits = [(row["page"], Visits(row["users"], row["weight"])) for row in pages]
        kinds = learn(visits, PageKinds(self.earlier.page_kinds), self.options.least_users)
        loaded = loaded_pages([(row["page"], row["followers"], row["loaded"]) for row in pages], kinds)
        if loaded:
            named = ", ".join(sorted({kinds.kind_of(page) for page in loaded}))
            self.notes.append(f"Left out, since other pages load them rather than people: {named}.")
        return kinds, loaded

    def _sessions(self, chosen: DataFrame, rows: DataFrame, loaded: list[str]) -> DataFrame:
        """Traits of sessions: the sessions of all events, but only what people did counts."""
        meant = chosen.where(~F.col("page").isin(loaded)) if loaded else chosen
        lean = self.rows_of(meant).drop("session_start")
        sessions = rows.select("user_id", "window_start", "session_start")
        return session_traits(lean.join(sessions, ["user_id", "window_start"], "inner"), self.options.time_zone)

    def _users_up_to(self, most: int, sessions: int) -> Column:
        """Whether a row's user is in a sample that has about ``most`` of the ``sessions``."""
        if sessions <= most:
            return F.lit(True)
        return F.pmod(F.xxhash64("user_id", F.lit(self.options.seed)), F.lit(GRAIN)) < int(GRAIN * most / sessions)

    def _sample(self, walks: DataFrame) -> Sample:
        rows = walks.toArrow().sort_by([("user_id", "ascending"), ("session_start", "ascending")])
        users = rows["user_id"].combine_chunks().dictionary_encode()
        codes = users.indices.to_pylist()
        longest = self.options.longest_walk
        steps = [tuple(each) for each in rows["steps"].to_pylist()]
        return Sample(
            users=rows["user_id"].to_pylist(),
            starts=rows["session_start"].to_pylist(),
            walks=[Walk(code, way, len(way) < longest) for code, way in zip(codes, steps, strict=True)],
            scored=[bool(each) for each in rows["scored"].to_pylist()],
            flagged=[bool(each) for each in rows["flagged"].to_pylist()],
        )

    # --- paths ---

    def _paths(self, walks: DataFrame, sample: Sample) -> list[Path]:
        counts = frequent(walks, len(sample.walks), self.options.min_support, self.options.longest_path)
        return measured(telling(counts), sample.walks, self.options.least_users, self.options.max_patterns)

    def _path_row(self, path: Path, sample: Sample) -> Row:
        total = len(sample.walks)
        known = self.earlier.paths.get(path.id, {})
        before = [Day(known[day], totals["path"]) for day, totals in self.earlier.days.items() if day in known]
        mean, name = trend(path.sessions, total, before, is_first=not self.earlier.days)
        scored = sum(sample.scored[place] for place in path.members)
        flagged = sum(sample.flagged[place] for place in path.members)
        said = words.path_words(path.steps)
        return {
            "day": self.day,
            "pattern_id": path.id,
            "name": said,
            "description": f"{path.sessions:,} of {total:,} sessions ({path.sessions / total:.0%}), "
            f"{path.users:,} users: {said}{words.lift_words(path.lift)}; {words.trend_words(name)}",
            "steps": list(path.steps),
            "sessions": path.sessions,
            "users": path.users,
            "lift": path.lift,
            **shares(path.sessions / total, mean, name, flagged, scored),
        }

    def _path_examples(self, paths: Sequence[Path], sample: Sample) -> DataFrame:
        """Short sessions are the clearest examples of a path."""
        rows = []
        for path in paths:
            shown: dict[str, int] = {}
            for place in sorted(path.members, key=lambda place: (len(sample.walks[place].steps), place)):
                shown.setdefault(sample.users[place], place)
                if len(shown) == self.options.examples:
                    break
            rows += [("path", path.id, user, sample.starts[place], None, True) for user, place in shown.items()]
        return self.events.sparkSession.createDataFrame(rows, MEMBER_SCHEMA)

    # --- segments ---

    def _users(self, sessions: DataFrame, verdicts: DataFrame) -> DataFrame:
        by_user = verdicts.groupBy("user_id").agg(F.max("scored").alias("scored"), F.max("flagged").alias("flagged"))
        return user_traits(sessions).join(by_user, "user_id", "left")

    def _groups(self, unit: str, traits: DataFrame, sample: Sample, acts: tuple[Act, ...]) -> Groups:
        options = self.options
        few = self._users_up_to(options.max_learned, traits.count())
        grouped = groups(self.day, unit, traits, few, sample, self.earlier, options, acts)
        self.notes += grouped.notes
        self.held += grouped.held
        return grouped

    def _members(self, parts: Sequence[DataFrame]) -> DataFrame:
        whole = reduce(DataFrame.unionByName, parts)
        return whole.withColumn("day", F.lit(self.day)).select(*PATTERN_MEMBERS.columns)


MEMBER_SCHEMA = StructType([one for one in PATTERN_MEMBERS.schema.fields if one.name != "day"])


def session_verdicts(scores: DataFrame) -> DataFrame:
    """user_id, session_start, whether any minute of the session was scored, and whether any was flagged."""
    return scores.groupBy("user_id", "session_start").agg(
        F.max(F.col("verdict").isin("normal", "anomaly")).alias("scored"),
        F.max(F.col("verdict") == "anomaly").alias("flagged"),
    )
