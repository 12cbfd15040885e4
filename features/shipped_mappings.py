"""Mappings of schemas that many senders have, after their public specifications; ``ingest.mappings`` names them.

Each says of one event a record. What such a tool sends in batches (``batch``, ``events``) has to be cut before.
"""

from __future__ import annotations

from typing import Any

_SEGMENT: dict[str, Any] = {
    "user_id": ["userId", "context.traits.userId", "anonymousId"],
    "action": ["event", "type"],
    "page": [
        "properties.path", "context.page.path", "properties.url", "context.page.url", "context.screen.name", "name",
        "=/",
    ],
    "timestamp": ["timestamp", "originalTimestamp", "sentAt"],
    "event_id": "messageId",
    "session_id": ["context.sessionId", "context.session_id", "properties.session_id"],
    "ip": ["context.ip", "request_ip"],
    "user_agent": "context.userAgent",
    "device_id": "context.device.id",
    "actions": {
        "page": "view", "screen": "view", "Page Viewed": "view", "Screen Viewed": "view", "Product Viewed": "view",
        "Product List Viewed": "view", "Product Clicked": "click", "Product Added": "add_to_cart",
        "Product Removed": "remove_from_cart", "Checkout Started": "checkout", "Order Completed": "purchase",
        "Signed In": "login", "Signed Up": "sign_up",
    },
    "properties": "properties",
}  # fmt: skip

SHIPPED: dict[str, dict[str, Any]] = {
    "segment": _SEGMENT,
    "rudderstack": _SEGMENT | {"timestamp": ["originalTimestamp", "timestamp", "sentAt"]},
    "snowplow_json": {
        "user_id": ["user_id", "domain_userid", "network_userid", "user_fingerprint"],
        "action": ["se_action", "event_name", "event"],
        "page": ["page_urlpath", "page_url", "=/"],
        "timestamp": ["derived_tstamp", "collector_tstamp", "dvce_created_tstamp"],
        "event_id": "event_id",
        "session_id": "domain_sessionid",
        "ip": "user_ipaddress",
        "user_agent": "useragent",
        "country": "geo_country",
        "zone_is_utc": True,
        "actions": {"page_view": "view", "screen_view": "view", "link_click": "click", "button_click": "click"},
    },
    "posthog": {
        "user_id": ["distinct_id", "properties.distinct_id"],
        "action": "event",
        "page": ["properties.$pathname", "properties.$current_url", "properties.$screen_name", "=/"],
        "timestamp": ["timestamp", "sent_at", "properties.$time"],
        "event_id": ["uuid", "properties.$insert_id"],
        "session_id": "properties.$session_id",
        "ip": ["properties.$ip", "ip"],
        "user_agent": ["properties.$raw_user_agent", "properties.$user_agent"],
        "device_id": "properties.$device_id",
        "country": "properties.$geoip_country_code",
        "actions": {"$pageview": "view", "$screen": "view", "$autocapture": "click", "$rageclick": "click"},
        "properties": "properties",
    },
    "ga4_bigquery": {
        "user_id": ["user_id", "user_pseudo_id"],
        "action": "event_name",
        "page": [
            "event_params[key=page_location].value.string_value",
            "event_params[key=firebase_screen].value.string_value", "=/",
        ],
        "timestamp": "event_timestamp",
        "session_id": [
            "event_params[key=ga_session_id].value.int_value", "event_params[key=ga_session_id].value.string_value",
        ],
        "unit": "microseconds",
        "actions": {
            "page_view": "view", "screen_view": "view", "view_item": "view", "select_item": "click", "click": "click",
        },
    },
    "amplitude": {
        "user_id": ["user_id", "device_id", "amplitude_id"],
        "action": "event_type",
        "page": [
            'event_properties."[Amplitude] Page Path"', "event_properties.page_path", "event_properties.page",
            'event_properties."[Amplitude] Page URL"', "=/",
        ],
        "timestamp": ["time", "event_time", "client_event_time"],
        "event_id": ["insert_id", "$insert_id", "uuid"],
        "session_id": "session_id",
        "ip": ["ip", "ip_address"],
        "device_id": "device_id",
        "zone_is_utc": True,
        "actions": {"[Amplitude] Page Viewed": "view", "[Amplitude] Element Clicked": "click"},
        "properties": "event_properties",
    },
    "matomo": {
        "user_id": ["uid", "userId", "_id", "visitorId", "cid"],
        "action": ["e_a", "type", "=view"],
        "page": ["url", "action_name", "=/"],
        "timestamp": ["cdt", "timestamp", "serverTimestamp"],
        "event_id": ["pv_id", "idpageview"],
        "ip": ["cip", "visitIp"],
        "user_agent": "ua",
        "zone_is_utc": True,
        "actions": {"action": "view", "outlink": "click", "download": "click", "goal": "goal"},
    },
    "cloudevents": {
        "user_id": ["data.user_id", "data.userId", "subject"],
        "action": ["data.action", "type"],
        "page": ["data.page", "data.url", "source"],
        "timestamp": ["data.timestamp", "time"],
        "event_id": ["data.event_id", "id"],
        "session_id": "data.session_id",
        "ip": "data.ip",
        "user_agent": "data.user_agent",
        "properties": "data",
    },
    "opentelemetry": {
        "user_id": [
            "attributes[key=enduser.id].value.stringValue", "attributes[key=user.id].value.stringValue",
            "attributes[key=session.id].value.stringValue", "attributes.enduser.id", "attributes.user.id",
            "attributes.session.id",
        ],
        "action": [
            "eventName", "attributes[key=event.name].value.stringValue", "attributes.event.name", "name",
            "body.stringValue",
        ],
        "page": [
            "attributes[key=url.path].value.stringValue", "attributes[key=url.full].value.stringValue",
            "attributes[key=http.url].value.stringValue", "attributes.url.path", "attributes.url.full",
            "attributes.http.url", "=/",
        ],
        "timestamp": ["timeUnixNano", "startTimeUnixNano", "observedTimeUnixNano", "startTime", "timestamp"],
        "event_id": ["spanId", "span_id"],
        "session_id": ["attributes[key=session.id].value.stringValue", "attributes.session.id"],
        "ip": ["attributes[key=client.address].value.stringValue", "attributes.client.address"],
        "user_agent": ["attributes[key=user_agent.original].value.stringValue", "attributes.user_agent.original"],
        "unit": "auto",
        "actions": {"documentLoad": "view", "click": "click", "browser.page_view": "view"},
    },
    "ocsf": {
        "user_id": ["user.uid", "actor.user.uid", "user.name", "actor.user.name", "user.email_addr"],
        "action": ["activity_name", "type_name", "class_name"],
        "page": ["http_request.url.path", "http_request.url.url_string", "service.name", "dst_endpoint.hostname", "=/"],
        "timestamp": ["time", "start_time", "time_dt"],
        "event_id": ["metadata.uid", "metadata.original_event_uid"],
        "session_id": ["session.uid", "actor.session.uid"],
        "ip": "src_endpoint.ip",
        "user_agent": "http_request.user_agent",
        "device_id": ["device.uid", "src_endpoint.uid"],
        "country": "src_endpoint.location.country",
        "outcome": ["status", "status_id"],
        "actions": {"Logon": "login", "Logoff": "logout", "Get": "view", "Post": "interaction"},
    },
    "ecs": {
        "user_id": ["user.id", "user.name", "user.email", "source.user.id", "source.user.name"],
        "action": ["event.action", "http.request.method", "event.type"],
        "page": ["url.path", "url.full", "url.original", "service.name", "=/"],
        "timestamp": "@timestamp",
        "event_id": "event.id",
        "session_id": "session.id",
        "ip": ["source.ip", "client.ip", "source.address"],
        "user_agent": "user_agent.original",
        "device_id": "host.id",
        "country": ["source.geo.country_iso_code", "client.geo.country_iso_code"],
        "outcome": "event.outcome",
        "actions": {"GET": "view", "HEAD": "view", "POST": "interaction", "PUT": "interaction", "user_login": "login"},
    },
}  # fmt: skip
SHIPPED["snowplow_tsv"] = SHIPPED["snowplow_json"] | {
    "width": 131,
    "columns": {
        0: "app_id", 1: "platform", 3: "collector_tstamp", 4: "dvce_created_tstamp", 5: "event", 6: "event_id",
        12: "user_id", 13: "user_ipaddress", 14: "user_fingerprint", 15: "domain_userid", 17: "network_userid",
        18: "geo_country", 29: "page_url", 30: "page_title", 35: "page_urlpath", 53: "se_category", 54: "se_action",
        55: "se_label", 56: "se_property", 57: "se_value", 77: "useragent", 123: "domain_sessionid",
        124: "derived_tstamp", 126: "event_name",
    },
}  # fmt: skip
