"""Remove people from every table, and from the files under the tables, for good.

Reads every table, the checkpoints and BEHAVIOR_PSEUDONYM_KEY; deletes from every table, and the pages of mine_patterns
that name them; writes erasures (keyed hashes), and rejected_events: where the records were in Kafka, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from features.errors import BehaviorError, UsageError
from features.tables import ERASURES, EVENTS, IDENTITIES
from jobs.shared.starter import finisher
from lake.spark_tables import Lake
from online.feed import forget
from privacy.erased_people import secret_key
from privacy.erasure import Erasure
from privacy.mentions import People
from privacy.unreached import unreached
from settings import Settings, cli, load_settings
from spark.session import spark_session


def users_of(named: Sequence[str], file: Path | None) -> list[str]:
    """Whom to erase: those named, and those in ``file``, one a line; each once.

    Raises:
        UsageError: nobody is named, an id is blank, or the file cannot be read.
    """
    listed: list[str] = []
    if file is not None:
        try:
            listed = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"--users-file {file} cannot be read ({why}). Needed: text, one id a line.") from None
    users = list(dict.fromkeys([*named, *listed]))
    if not users:
        raise UsageError("Nobody is named. Needed: --user-id ID, or --users-file FILE with one id a line.")
    if not all(user.strip() for user in users):
        raise UsageError("An id is blank: nobody has a blank id.")
    return users


def main(
    user_id: Annotated[
        list[str] | None, typer.Option("--user-id", help="Whom to erase, as the app sends it; may be repeated.")
    ] = None,
    users_file: Annotated[Path | None, typer.Option(help="A file with such ids, one a line; any number.")] = None,
    linked: Annotated[
        bool, typer.Option("--linked", help="Also erase the anonymous ids that only these people were linked to.")
    ] = False,
    rabbitmq: Annotated[
        bool, typer.Option("--rabbitmq", help="Also look through QUEUE.undeliverable of RabbitMQ.")
    ] = False,
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
) -> None:
    """Erase people. Reads all tables, checkpoints, BEHAVIOR_PSEUDONYM_KEY; deletes from all tables, writes erasures."""
    users = users_of(user_id or (), users_file)
    settings = load_settings(env, overrides or ())
    secret_key(settings, "erasures are remembered as hashes under it")
    with ThreadPoolExecutor(1) as aside:
        examples = aside.submit(from_registry, settings)  # MLflow takes as long to import as Spark to start
        spark = spark_session(settings)
        lake = Lake(spark, settings.storage.root)
        lake.create(EVENTS, IDENTITIES, ERASURES)  # of an older version they lack columns, or are not there
        erasure = Erasure(spark, lake, settings, users, finisher(spark, lake, settings), linked)
        for table, rows in erasure.run().items():
            typer.echo(f"{table}: {rows:,} rows removed")
        if erasure.strays:
            typer.echo(f"{erasure.strays:,} files that were in no table's log removed")
        if not lake.takes_files:
            typer.echo(
                f"Files under {lake.root} that are in no table's log were not looked through: what kills left "
                f"goes with maintain_tables, {settings.maintenance.vacuum_hours} hours after it was written."
            )
        queued = from_rabbitmq(settings, erasure.people) if rabbitmq else []
        forget(settings, erasure.people.ids)
        said = [*erasure.linked.sentences(are_erased=linked), *erasure.from_kafka(), *queued, *examples.result()]
        for sentence in (*said, *unreached(settings, rabbitmq=rabbitmq)):
            typer.echo(sentence)


def from_registry(settings: Settings) -> list[str]:
    """Remove rows of people, which earlier versions of the platform kept as models' examples; a sentence if any."""
    database = settings.model.tracking_uri.removeprefix("sqlite:///")
    if database != settings.model.tracking_uri and not Path(database).is_file():
        return []
    from registry.configured import registry_of  # noqa: PLC0415

    try:
        versions = registry_of(settings).remove_examples()
    except BehaviorError as problem:
        return [f"Examples of old models were not removed: {problem}"]
    return [f"Five rows of feature values, without ids, removed from model versions {', '.join(versions)}."] * bool(
        versions
    )


def from_rabbitmq(settings: Settings, people: People) -> list[str]:
    """Remove what bridge_rabbitmq put aside; what became of it, in a sentence."""
    from rabbitmq.amqp import forget  # noqa: PLC0415

    try:
        return [forget(settings.rabbitmq, people)]
    except BehaviorError as problem:
        return [f"{problem} Nothing was removed there: call erase_user again with the same ids."]


if __name__ == "__main__":
    cli.run(main)
