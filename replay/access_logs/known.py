"""Formats of proxies, balancers and stores that are not told from their fields alone, as nginx would say them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from replay.access_logs.fields import FORWARDED
from replay.access_logs.format_strings import FormatString, compiled_format

KNOWN = {
    "AWS Application Load Balancer": (
        '$type $time_iso8601 $elb $remote_addr $target $t1 $t2 $t3 $status $target_status $received $bytes_sent '
        '"$request" "$http_user_agent" $more'
    ),
    "AWS Classic Load Balancer": (
        '$time_iso8601 $elb $remote_addr $target $t1 $t2 $t3 $status $target_status $received $bytes_sent "$request" '
        '"$http_user_agent" $more'
    ),
    "Amazon S3": (
        '$owner $bucket [$time_local] $remote_addr $requester $id $operation $key "$request" $status $error '
        '$bytes_sent $object $total $turnaround "$http_referer" "$http_user_agent" $more'
    ),
    "HAProxy": (
        "$remote_addr [$time_local] $frontend $server $timers $status $bytes_sent $c1 $c2 $termination $connections "
        '$queues$captures "$request"'
    ),
    "Envoy": (
        '[$time_iso8601] "$request" $status $flags $received $bytes_sent $duration $upstream_time '
        '"$http_x_forwarded_for" "$http_user_agent" "$id" "$host" "$upstream"'
    ),
    "Istio": (
        '[$time_iso8601] "$request" $status $flags $details $termination "$failure" $received $bytes_sent $duration '
        '$upstream_time "$http_x_forwarded_for" "$http_user_agent" "$id" "$host" "$upstream" $cluster $local '
        '$downstream_local $remote_addr $more'
    ),
}  # fmt: skip
"""Names, and formats as :mod:`replay.access_logs.format_strings` compiles them."""


def known_format(sample: Sequence[str], trusted_hops: int | None = None) -> FormatString | None:
    """The format that more than half of the lines have; None where that is none of the known ones."""
    lines = [line for line in sample if line.strip()]
    for found in _compiled(trusted_hops):
        requests = [request for line in lines if (request := found.read(line)) is not None]
        if sum(bool(request.method or request.client) for request in requests) > len(lines) / 2:
            return found
    return None


@cache
def _compiled(trusted_hops: int | None) -> tuple[FormatString, ...]:
    clients = [FORWARDED if "$http_x_forwarded_for" in text else None for text in KNOWN.values()]
    return tuple(
        compiled_format(text, client_field=client, trusted_hops=trusted_hops)[0]
        for text, client in zip(KNOWN.values(), clients, strict=True)
    )
