"""What each tracker's records become, and what is said of those that become nothing."""

import json
import re
import tomllib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert, to_builtins

from schemas.events import Kind, RawEvent
from schemas.formats import Format, Rule, Source
from schemas.rejects import Reason
from udfs.cleaning.refusal import explain
from udfs.payloads.mapping import Found, Part, parts, reader

CONF = Path(__file__).parents[2] / "conf" / "formats.toml"
FORMATS = convert(tomllib.loads(CONF.read_text())["formats"], dict[str, Format])
NOON = 1_767_268_800_000
COLUMNS = FORMATS["snowplow"].columns


def read(name: str, record: Any) -> Found:
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return reader(FORMATS[name], FORMATS)(body)


def said(found: Found | BaseException) -> dict[str, Any]:
    """What an event says, without what it leaves open."""
    assert isinstance(found, RawEvent), found
    return {name: value for name, value in to_builtins(found).items() if value is not None}


def why(found: RawEvent | BaseException) -> tuple[Reason, str]:
    """Reason and path of a failure."""
    assert isinstance(found, ValueError | RecursionError), found
    return explain(found)[:2]


def one(name: str, record: Any) -> dict[str, Any]:
    return said(read(name, record))


def refused(name: str, record: Any) -> tuple[Reason, str]:
    with pytest.raises((ValueError, RecursionError)) as raised:
        read(name, record)
    return why(raised.value)


def several(name: str, record: Any) -> list[Any]:
    """Kinds of the events, and reason and path of the failures, in order."""
    found = read(name, record)
    assert not isinstance(found, RawEvent)
    return [each.kind if isinstance(each, RawEvent) else why(each) for each in found]


def row(**fields: str) -> bytes:
    """Write a Snowplow row."""
    return "\t".join(fields.get(name, "") for name in COLUMNS).encode()


# Our own JSON


def test_our_own_json_may_come_alone_in_a_list_or_in_a_batch() -> None:
    ada, eve = {"user_id": "ada", "kind": "view"}, {"user_id": "eve", "kind": "click", "item": "a91"}
    assert one("trimtab", ada) == ada
    assert one("trimtab", [ada]) == ada
    assert one("trimtab", {"batch": [eve]}) == eve
    assert several("trimtab", [ada, eve]) == [Kind.VIEW, Kind.CLICK]
    assert several("trimtab", {"batch": [ada, eve], "sent": 7}) == [Kind.VIEW, Kind.CLICK]


def test_one_bad_event_in_a_batch_is_refused_by_its_place_and_spoils_no_other() -> None:
    batch = [
        {"user_id": "ada", "kind": "view"},
        {"user_id": "ada", "kind": "teleport"},
        {"kind": "view"},
        7,
        {"user_id": "ada", "kind": "dwell", "dwell_ms": "long"},
        {"user_id": "a{b", "kind": "view"},
        {"user_id": "ada", "kind": "click", "item": "a\nb"},
        {"user_id": "eve", "kind": "click"},
    ]
    rest = [
        (Reason.UNKNOWN_KIND, "[1].kind"),
        (Reason.MISSING_FIELD, "[2].user_id"),
        (Reason.NOT_OBJECT, "[3]"),
        (Reason.WRONG_TYPE, "[4].dwell_ms"),
        (Reason.UNSAFE_TEXT, "[5].user_id"),
        (Reason.UNSAFE_TEXT, "[6].item"),
    ]
    for record, at in ((batch, "$"), ({"batch": batch}, "$.batch")):
        expected = [(reason, at + place) for reason, place in rest]
        assert several("trimtab", record) == [Kind.VIEW, *expected, Kind.CLICK]


def test_an_event_of_ours_may_have_a_field_called_batch() -> None:
    event = {"user_id": "ada", "kind": "view", "batch": [{"user_id": "eve", "kind": "click"}]}
    assert one("trimtab", event) == {"user_id": "ada", "kind": "view"}
    assert refused("trimtab", event | {"kind": "teleport"}) == (Reason.UNKNOWN_KIND, "$.kind")


@pytest.mark.parametrize(
    ("record", "reason", "path"),
    [
        ([], Reason.WRONG_LENGTH, ""),
        ({"batch": []}, Reason.WRONG_LENGTH, "$.batch"),
        ({"batch": {}}, Reason.WRONG_TYPE, "$.batch"),
        ({"batch": None}, Reason.MISSING_FIELD, "$.user_id"),
        ([[{"user_id": "ada", "kind": "view"}]], Reason.NOT_OBJECT, "$[0]"),
        ({"kind": "view"}, Reason.MISSING_FIELD, "$.user_id"),
        ("view", Reason.NOT_OBJECT, "$"),
        (b'[{"user_id":"ada","kind":"view"},]', Reason.NOT_JSON, ""),
        (b"[" * 100_000, Reason.TOO_DEEP, ""),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(record: Any, reason: Reason, path: str) -> None:
    assert refused("trimtab", record) == (reason, path)


# Segment and RudderStack


def track(event: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "anonymousId": "anon-1", "messageId": "m1", "properties": properties}


def test_a_segment_message_keeps_who_when_where_and_what() -> None:
    message = track("Product Added", product_id=507, price="18.99", position="3") | {
        "userId": "ada@example.com",
        "originalTimestamp": "2026-01-01T12:00:00.000Z",
        "timestamp": "2026-01-01T12:00:09.000Z",
        "sentAt": "2026-01-01T12:00:01.000Z",
        "receivedAt": "2026-01-01T12:00:10+00:00",
        "context": {
            "page": {"path": "/games", "url": "https://shop.example/games?utm=1"},
            "userAgent": "Mozilla/5.0",
            "locale": "en-GB",
            "timezone": "Europe/London",
            "location": {"country": "United Kingdom"},
            "ip": "203.0.113.7",
            "consent": {"categoryPreferences": {"Advertising": False, "Analytics": True}},
        },
    }
    assert one("segment", message) == {
        "user_id": "anon-1",
        "account_id": "ada@example.com",
        "kind": "cart",
        "event_id": "m1",
        "occurred_at": NOON,
        "sent_at": NOON + 1000,
        "received_at": NOON + 10_000,
        "item": "507",
        "value": 18.99,
        "position": 3,
        "page": "/games",
        "user_agent": "Mozilla/5.0",
        "language": "en-GB",
        "time_zone": "Europe/London",
        "country": "United Kingdom",
        "ip": "203.0.113.7",
        "consent": {"Advertising": False, "Analytics": True},
        "properties": {"product_id": 507, "price": "18.99", "position": "3"},
    }


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"type": "page", "name": "Home"}, "view"),
        ({"type": "screen", "name": "Home"}, "view"),
        ({"type": "identify", "traits": {}}, "identify"),
        ({"type": "track", "event": "products_searched"}, "search"),
        ({"type": "track", "event": "Order Completed"}, "purchase"),
        ({"type": "track", "event": "Promotion Viewed"}, "exposure"),
        ({"type": "track", "event": "product clicked"}, "click"),
    ],
)
def test_a_segment_call_has_the_kind_that_its_type_or_its_event_names(message: dict[str, Any], kind: str) -> None:
    assert one("segment", message | {"anonymousId": "anon-1"})["kind"] == kind


def test_an_alias_tells_who_an_earlier_id_is() -> None:
    alias = {"type": "alias", "previousId": "A", "userId": "B"}
    assert one("segment", alias) == {"user_id": "A", "kind": "identify", "account_id": "B"}


def test_a_segment_batch_lends_its_events_the_time_it_was_sent() -> None:
    batch = [track("Product Clicked"), track("Download"), {"type": "group", "groupId": "g"}, {"type": "page"}]
    whole = {"batch": batch, "sentAt": "2026-01-01T12:00:00Z", "messageId": "b1"}
    assert several("segment", whole) == [
        Kind.CLICK,
        (Reason.UNKNOWN_KIND, "$.batch[1].event"),
        (Reason.UNKNOWN_KIND, "$.batch[2].type"),
        (Reason.MISSING_FIELD, "$.batch[3].anonymousId"),
    ]
    found = read("segment", whole)
    assert not isinstance(found, RawEvent)
    first = found[0]
    assert isinstance(first, RawEvent)
    assert (first.sent_at, first.event_id) == (NOON, "m1")


def test_rudderstack_is_segment_with_an_envelope_and_its_own_consent() -> None:
    message = track("Login") | {
        "context": {"consentManagement": {"allowedConsentIds": ["C1", "C2"]}},
        "request_ip": "203.0.113.7",
    }
    expected = {
        "user_id": "anon-1",
        "kind": "identify",
        "event_id": "m1",
        "ip": "203.0.113.7",
        "consent": {"C1": True, "C2": True},
    }
    assert one("rudderstack", message) == expected
    assert one("rudderstack", {"message": message, "destination": {}}) == expected
    assert one("rudderstack", message | {"message": "hello"}) == expected
    assert refused("rudderstack", {"message": track("Fly")}) == (Reason.UNKNOWN_KIND, "$.message.event")


@pytest.mark.parametrize(
    ("change", "reason", "path"),
    [
        ({"event": None}, Reason.MISSING_FIELD, "$.event"),
        ({"event": {"name": "Login"}}, Reason.WRONG_TYPE, "$.event"),
        ({"type": "fly"}, Reason.UNKNOWN_KIND, "$.type"),
        ({"anonymousId": None}, Reason.MISSING_FIELD, "$.anonymousId"),
        ({"anonymousId": ""}, Reason.MISSING_FIELD, "$.anonymousId"),
        ({"anonymousId": True}, Reason.WRONG_TYPE, "$.anonymousId"),
        ({"anonymousId": "x" * 300}, Reason.WRONG_LENGTH, "$.anonymousId"),
        ({"anonymousId": "a}b"}, Reason.UNSAFE_TEXT, "$.anonymousId"),
        ({"anonymousId": "", "userId": "u\x00"}, Reason.UNSAFE_TEXT, "$.userId"),
        ({"timestamp": "yesterday"}, Reason.WRONG_TYPE, "$.timestamp"),
        ({"timestamp": "2026-01-01T12:00:00"}, Reason.WRONG_TYPE, "$.timestamp"),
        ({"timestamp": "1815-12-10T12:00:00Z"}, Reason.OUT_OF_RANGE, "$.timestamp"),
        ({"timestamp": "9999-12-31T23:59:59.999999-23:59"}, Reason.OUT_OF_RANGE, "$.timestamp"),
        ({"sentAt": 5}, Reason.WRONG_TYPE, "$.sentAt"),
        ({"properties": {"price": "£5"}}, Reason.WRONG_TYPE, "$.properties.price"),
        ({"properties": {"value": "1e999"}}, Reason.OUT_OF_RANGE, "$.properties.value"),
        ({"properties": {"position": -1}}, Reason.OUT_OF_RANGE, "$.properties.position"),
        ({"properties": {"product_id": 1.5}}, Reason.WRONG_TYPE, "$.properties.product_id"),
        (
            {"context": {"consent": {"categoryPreferences": 5}}},
            Reason.WRONG_TYPE,
            "$.context.consent.categoryPreferences",
        ),
    ],
)
def test_what_a_tracker_sends_wrong_is_refused_in_the_trackers_own_terms(
    change: dict[str, Any], reason: Reason, path: str
) -> None:
    assert refused("segment", track("Login") | change) == (reason, path)


# Google Analytics 4


def test_one_measurement_record_gives_several_events_of_one_person() -> None:
    record = {
        "client_id": "123.456",
        "user_id": "ada",
        "timestamp_micros": "1767268800000000",
        "non_personalized_ads": True,
        "user_location": {"country_id": "GB", "region_id": "GB-LND"},
        "ip_override": "203.0.113.7",
        "events": [
            {
                "name": "page_view",
                "params": {"page_location": "https://shop.example/a?b", "engagement_time_msec": "1200"},
            },
            {"name": "level_up", "params": {}},
            {"name": "view_item_list", "params": {"items": [{"item_id": "a"}, {"item_id": 7}]}},
            {"name": "scroll", "params": {"percent_scrolled": 90}, "timestamp_micros": 1767268801000000},
        ],
    }
    found = read("ga4", record)
    assert not isinstance(found, RawEvent)
    page_view, level_up, listed, scrolled = found
    common = {
        "user_id": "123.456",
        "account_id": "ada",
        "occurred_at": NOON,
        "country": "GB",
        "region": "GB-LND",
        "ip": "203.0.113.7",
        "consent": {"ad_personalization": False},
    }
    seen = {"page_location": "https://shop.example/a?b", "engagement_time_msec": "1200"}
    assert said(page_view) == common | {"kind": "view", "page": "/a", "dwell_ms": 1200, "properties": seen}
    assert why(level_up) == (Reason.UNKNOWN_KIND, "$.events[1].name")
    assert said(listed) == common | {"kind": "exposure", "item": "a", "items": ["a", "7"]}
    assert said(scrolled) == common | {
        "kind": "scroll",
        "scroll": 0.9,
        "occurred_at": NOON + 1000,
        "properties": {"percent_scrolled": 90},
    }


def test_a_measurement_record_may_lie_in_a_collectors_record() -> None:
    body = {"client_id": "c", "events": [{"name": "login"}], "consent": {"ad_user_data": "DENIED"}}
    expected = {"user_id": "c", "kind": "identify", "consent": {"ad_user_data": False}}
    assert one("ga4", {"params": {"api_secret": "s"}, "body": body}) == expected
    nobody = {"body": {"events": [{"name": "login"}]}}
    assert refused("ga4", nobody) == (Reason.MISSING_FIELD, "$.body.client_id")
    odd = {"body": {"client_id": "c", "consent": {"ad_user_data": "MAYBE"}, "events": [{"name": "login"}]}}
    assert refused("ga4", odd) == (Reason.WRONG_TYPE, "$.body.consent.ad_user_data")


# Snowplow


def iglu(schema: str, data: Any) -> str:
    """Write a column that describes itself."""
    return json.dumps(
        {"schema": "iglu:com.snowplowanalytics.snowplow/x/jsonschema/1-0-0", "data": {"schema": schema, "data": data}}
    )


LINK_CLICK = "iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1"
VIEW = {"event": "page_view", "domain_userid": "d1", "collector_tstamp": "2026-01-01 12:00:00.123"}


def test_a_snowplow_row_is_read_by_the_names_of_its_columns() -> None:
    entities = [
        {"schema": "iglu:com.acme/other/jsonschema/1-0-0", "data": {"id": "x"}},
        {"schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0", "data": {"id": "a91"}},
    ]
    robots = [{"schema": "iglu:com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0", "data": {"spiderOrRobot": True}}]
    body = row(
        **VIEW,
        event_id="e1",
        app_id="shop",
        user_id="ada",
        user_ipaddress="203.0.113.7",
        page_urlpath="/games",
        dvce_created_tstamp="2026-01-01 12:00:00",
        dvce_sent_tstamp="2026-01-01 12:00:00.5",
        useragent="Mozilla/5.0",
        br_lang="en-GB",
        geo_country="GB",
        os_timezone="Europe/London",
        tr_total="12.50",
        contexts=json.dumps({"schema": "iglu:contexts", "data": entities}),
        derived_contexts=json.dumps({"schema": "iglu:contexts", "data": robots}),
    )
    assert len(COLUMNS) == 131
    assert one("snowplow", body + b"\r\n") == {
        "user_id": "d1",
        "account_id": "ada",
        "kind": "view",
        "event_id": "e1",
        "occurred_at": NOON,
        "sent_at": NOON + 500,
        "received_at": NOON + 123,
        "item": "a91",
        "items": ["a91"],
        "page": "/games",
        "value": 12.5,
        "user_agent": "Mozilla/5.0",
        "language": "en-GB",
        "country": "GB",
        "time_zone": "Europe/London",
        "robot": True,
        "ip": "203.0.113.7",
        "properties": {"app_id": "shop"},
    }


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"event": "page_view"}, "view"),
        ({"event": "page_ping"}, "dwell"),
        ({"event": "unstruct", "event_name": "link_click"}, "click"),
        ({"event": "unstruct", "unstruct_event": iglu(LINK_CLICK, {})}, "click"),
        ({"event": "struct", "event_name": "event", "se_action": "login"}, "identify"),
        (
            {
                "event": "unstruct",
                "event_name": "snowplow_ecommerce_action",
                "unstruct_event": iglu(LINK_CLICK, {"type": "transaction"}),
            },
            "purchase",
        ),
    ],
)
def test_a_snowplow_event_has_the_kind_that_the_first_telling_column_names(fields: dict[str, str], kind: str) -> None:
    assert one("snowplow", row(**VIEW | fields))["kind"] == kind


def test_a_page_ping_is_ten_seconds_of_reading() -> None:
    assert one("snowplow", row(**VIEW | {"event": "page_ping"}))["dwell_ms"] == 10_000
    assert "dwell_ms" not in one("snowplow", row(**VIEW))


def test_consent_preferences_grant_the_purposes_they_name() -> None:
    schema = "iglu:com.snowplowanalytics.snowplow/consent_preferences/jsonschema/1-0-0"
    name = "unstruct_event_com_snowplowanalytics_snowplow_consent_preferences_1"
    told = VIEW | {"event": "unstruct", "event_name": "consent_preferences"}
    for answer, scopes, granted in (
        ("allow_selected", ["necessary", "statistics"], {"necessary": True, "statistics": True}),
        ("allow_all", [], {}),
        ("deny_all", ["necessary"], None),
        ("withdrawn", ["statistics"], None),
        ("pending", ["statistics"], None),
        ("implicit_consent", ["statistics"], None),
    ):
        sent = {"eventType": answer, "consentScopes": scopes}
        stored = {"event_type": answer, "consent_scopes": scopes}
        for record in (
            row(**VIEW | {"event": "unstruct", "unstruct_event": iglu(schema, sent)}),
            told | {name: sent},
            told | {name: stored},
            told | {f"{name}_0_0": json.dumps([stored])},
        ):
            found = one("snowplow", record)
            assert (found["kind"], found.get("consent")) == ("consent", granted)


def test_the_analytics_sdks_json_says_the_same_as_the_row() -> None:
    record = VIEW | {
        "collector_tstamp": "2026-01-01T12:00:00.123Z",
        "contexts_com_iab_snowplow_spiders_and_robots_1": [{"spiderOrRobot": False}],
    }
    assert one("snowplow", record) == {"user_id": "d1", "kind": "view", "received_at": NOON + 123, "robot": False}


@pytest.mark.parametrize(
    ("body", "reason", "path"),
    [
        (row(**VIEW).removesuffix(b"\t\t"), Reason.WRONG_LENGTH, ""),
        (row(**VIEW) + b"\t", Reason.WRONG_LENGTH, ""),
        (b"not json", Reason.WRONG_LENGTH, ""),
        (row(), Reason.MISSING_FIELD, "$.event"),
        (row(event="page_view"), Reason.MISSING_FIELD, "$.domain_userid"),
        (row(**VIEW | {"event": "struct"}), Reason.MISSING_FIELD, "$.event_name"),
        (row(**VIEW | {"event": "ad_impression"}), Reason.UNKNOWN_KIND, "$.event"),
        (row(**VIEW | {"event": "unstruct", "event_name": "cmp_visible"}), Reason.UNKNOWN_KIND, "$.event_name"),
        (
            row(
                **VIEW | {"event": "unstruct", "unstruct_event": iglu("iglu:com.acme/link_click/jsonschema/1-0-0", {})}
            ),
            Reason.UNKNOWN_KIND,
            "$.unstruct_event.data.schema",
        ),
        (row(**VIEW | {"event": "unstruct", "unstruct_event": "{"}), Reason.WRONG_TYPE, "$.unstruct_event.data.schema"),
        (row(**VIEW | {"collector_tstamp": "0000-01-01 00:00:00.000"}), Reason.WRONG_TYPE, "$.collector_tstamp"),
        (row(**VIEW | {"collector_tstamp": "0001-01-01 00:00:00.000"}), Reason.OUT_OF_RANGE, "$.collector_tstamp"),
        (row(**VIEW, tr_total="a lot"), Reason.WRONG_TYPE, "$.tr_total"),
        (row(**VIEW, page_urlpath="/" + "x" * 600), Reason.WRONG_LENGTH, "$.page_urlpath"),
        (row(**VIEW, page_urlpath="/\x1b[31m"), Reason.UNSAFE_TEXT, "$.page_urlpath"),
        (row(**VIEW | {"domain_userid": "d{1}"}), Reason.UNSAFE_TEXT, "$.domain_userid"),
        (row(**VIEW, page_urlpath="/a").replace(b"/a", b"/\xff"), Reason.NOT_UTF8, ""),
    ],
)
def test_a_snowplow_row_that_is_no_event_is_refused_with_reason_and_column(
    body: bytes, reason: Reason, path: str
) -> None:
    assert refused("snowplow", body) == (reason, path)


# Adobe


def prefixed(record: Any) -> Any:
    if isinstance(record, dict):
        return {f"xdm:{key}": prefixed(value) for key, value in record.items()}
    return [prefixed(each) for each in record] if isinstance(record, list) else record


def test_an_experience_event_reads_the_same_with_and_without_prefixes() -> None:
    event = {
        "timestamp": "2026-01-01T12:00:00+00:00",
        "eventType": "commerce.productViews",
        "identityMap": {"Email": [{"id": "ada@example.com"}], "ECID": [{"id": "92312748749128", "primary": True}]},
        "productListItems": [{"SKU": "1002352692", "priceTotal": 159.0}],
        "web": {"webPageDetails": {"URL": "https://www.example.com/p/1?q=2"}},
        "placeContext": {"geo": {"countryCode": "JP", "stateProvince": "JP-13"}},
        "environment": {"ipV6": "2001:db8::1", "browserDetails": {"userAgent": "Safari", "acceptLanguage": "ja"}},
        "consents": {"collect": {"val": "y"}, "personalize": {"content": {"val": "n"}}, "share": {"val": "VI"}},
        "consentStrings": [
            {"consentStandard": "US Privacy", "consentStringValue": "1YNN"},
            {"consentStandard": "IAB TCF", "consentStringValue": "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA"},
        ],
        "commerce": {"order": {"currencyCode": "JPY"}},
    }
    expected = {
        "user_id": "92312748749128",
        "kind": "view",
        "occurred_at": NOON,
        "item": "1002352692",
        "items": ["1002352692"],
        "page": "/p/1",
        "country": "JP",
        "region": "JP-13",
        "user_agent": "Safari",
        "language": "ja",
        "ip": "2001:db8::1",
        "consent": {"collect": True, "personalize": False, "share": False},
        "tcf": "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA",
        "properties": {"currency": "JPY"},
    }
    assert one("xdm", event) == one("xdm", prefixed(event)) == expected


def test_the_primary_identity_counts_and_else_the_first() -> None:
    event = {"timestamp": "2026-01-01T12:00:00Z", "eventType": "commerce.purchases"}
    named = {"A": [{"id": "a1"}], "B": [{"id": "b1"}, {"id": "b2", "primary": True}]}
    assert one("xdm", event | {"identityMap": named})["user_id"] == "b2"
    assert (
        one("xdm", event | {"identityMap": {"https://n.example/4": [{"id": 92312748749128}]}})["user_id"]
        == "92312748749128"
    )
    assert refused("xdm", event | {"identityMap": {}}) == (Reason.MISSING_FIELD, "$.identityMap.ECID.0.id")


def test_without_an_event_type_the_strongest_measure_says_what_it_was() -> None:
    event = {"timestamp": "2026-01-01T12:00:00Z", "identityMap": {"ECID": [{"id": "e"}]}}
    seen = {"webPageDetails": {"pageViews": {"value": 1.0}}}
    played = {"mediaTimed": {"timePlayed": {"value": 80}, "primaryAssetReference": {"@id": "v1", "xmpDM:duration": 87}}}
    assert one("xdm", event | {"web": seen})["kind"] == "view"
    assert one("xdm", event | {"web": seen, "commerce": {"purchases": {"value": 1}}})["kind"] == "purchase"
    film = one("xdm", event | {"media": played})
    assert (film["kind"], film["item"], film["dwell_ms"], film["duration_ms"]) == ("dwell", "v1", 80_000, 87_000)
    assert refused("xdm", event | {"commerce": {"purchases": {"value": 0}}}) == (Reason.MISSING_FIELD, "$.eventType")


# PostHog, Metarank


def test_a_posthog_batch_tells_clicks_from_forms_and_accounts_from_devices() -> None:
    batch: list[dict[str, Any]] = [
        {
            "event": "$pageview",
            "distinct_id": "d1",
            "properties": {"$current_url": "https://a.example/x?y", "$timezone": "UTC"},
        },
        {"event": "$autocapture", "properties": {"distinct_id": "d1", "$event_type": "submit"}},
        {"event": "$autocapture", "properties": {"distinct_id": "d1"}},
        {"event": "$identify", "distinct_id": "ada", "properties": {"$anon_distinct_id": "d1"}},
        {
            "event": "$pageleave",
            "distinct_id": "ada",
            "uuid": "u5",
            "timestamp": "2026-01-01T12:00:00Z",
            "properties": {
                "$device_id": "d1",
                "$user_id": "ada",
                "$prev_pageview_duration": 12.5,
                "$prev_pageview_max_scroll_percentage": 0.4,
            },
        },
        {"event": "Bought hat", "distinct_id": "d1"},
    ]
    found = read("posthog", {"api_key": "phc_1", "batch": batch, "sent_at": "2026-01-01T12:00:01Z"})
    assert not isinstance(found, RawEvent)
    view, form, capture, identify, leave, hat = found
    further = [batch[place]["properties"] for place in (0, 1, 3, 4)]
    sent = {"user_id": "d1", "sent_at": NOON + 1000}
    assert said(view) == sent | {
        "kind": "view",
        "page": "/x",
        "time_zone": "UTC",
        "properties": further[0],
    }
    assert said(form) == sent | {"kind": "form", "properties": further[1]}
    assert why(capture) == (Reason.MISSING_FIELD, "$.batch[2].properties.$event_type")
    assert said(identify) == sent | {"kind": "identify", "account_id": "ada", "properties": further[2]}
    assert said(leave) == sent | {
        "kind": "dwell",
        "account_id": "ada",
        "event_id": "u5",
        "occurred_at": NOON,
        "dwell_ms": 12_500,
        "scroll": 0.4,
        "properties": further[3],
    }
    assert why(hat) == (Reason.UNKNOWN_KIND, "$.batch[5].event")


def test_a_metarank_ranking_is_one_exposure_that_its_interactions_answer() -> None:
    ranking = {
        "event": "ranking",
        "id": "r1",
        "user": "u1",
        "timestamp": "1767268800000",
        "items": [{"id": "1805", "fields": []}, {"id": 2387}],
    }
    click = {"event": "interaction", "type": "click", "id": "c1", "ranking": "r1", "item": "1805", "user": "u1"}
    assert one("metarank", ranking) == {
        "user_id": "u1",
        "kind": "exposure",
        "event_id": "r1",
        "decision_id": "r1",
        "occurred_at": NOON,
        "items": ["1805", "2387"],
    }
    assert one("metarank", click | {"timestamp": NOON}) == {
        "user_id": "u1",
        "kind": "click",
        "event_id": "c1",
        "decision_id": "r1",
        "occurred_at": NOON,
        "item": "1805",
    }
    item = {"event": "item", "id": "i1", "item": "1805", "timestamp": "1", "fields": []}
    assert refused("metarank", item) == (Reason.UNKNOWN_KIND, "$.event")
    assert refused("metarank", ranking | {"user": None}) == (Reason.MISSING_FIELD, "$.user")
    assert refused("metarank", ranking | {"timestamp": "noon"}) == (Reason.WRONG_TYPE, "$.timestamp")


# What travels with any event: consent strings, signals, addresses, further properties

SHOP = Format(
    about="",
    like="segment",
    tcf="context.tcf",
    gpc=["context.gpc", Source("context.sale", words={"forbidden": True, "allowed": False})],
    properties={
        "*": ["properties", "traits"],
        "plan": "context.plan",
        "seats": Source("context.seats", type="numeral"),
        "trial": Source("context.trial", words={"yes": True, "no": False}),
        "referrer": Source("context.referrer", type="url"),
    },
)


def shop(record: Any, wanted: list[str] | None = None) -> dict[str, Any]:
    return said(reader(SHOP, FORMATS, wanted)(json.dumps(record).encode()))


@pytest.mark.parametrize(
    ("context", "gpc"),
    [
        ({"gpc": 1}, True),
        ({"gpc": "1"}, True),
        ({"gpc": True}, True),
        ({"gpc": "true"}, True),
        ({"gpc": 0}, False),
        ({"gpc": "0"}, False),
        ({"gpc": False}, False),
        ({"sale": "forbidden"}, True),
        ({"gpc": ""}, None),
        ({"gpc": None}, None),
        ({}, None),
    ],
)
def test_a_signal_is_a_yes_however_its_tracker_spells_it(context: dict[str, Any], gpc: bool | None) -> None:
    assert shop(track("Login") | {"context": context}).get("gpc") is gpc


def test_a_signal_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Expected yes or no, got 'maybe' - at `\$\.context\.gpc`$"):
        shop(track("Login") | {"context": {"gpc": "maybe"}})


def test_of_a_table_of_properties_what_is_nested_or_nothing_is_left_out() -> None:
    told = {"text": "a", "whole": 7, "part": 0.5, "flag": False, "no": None, "list": [1], "table": {"a": 1}, "": "x"}
    assert shop(track("Login", **told))["properties"] == {
        "text": "a",
        "whole": 7,
        "part": 0.5,
        "flag": False,
        "": "x",
    }
    without: list[Any] = [{}, [], "text", 7, None, {"a": None}]
    for nothing in without:
        assert "properties" not in shop(track("Login") | {"properties": nothing})


def test_a_property_with_a_place_of_its_own_is_read_as_it_was_declared_and_wins_over_the_table() -> None:
    context = {"plan": "pro", "seats": "12", "trial": "no", "referrer": "https://a.example/x?y"}
    assert shop(track("Login", plan="free", theme="dark") | {"context": context})["properties"] == {
        "plan": "pro",
        "theme": "dark",
        "seats": 12,
        "trial": False,
        "referrer": "/x",
    }
    with pytest.raises(ValueError, match=r"^Expected a number, got `str` - at `\$\.context\.seats`$"):
        shop(track("Login") | {"context": {"seats": "many"}})


def test_only_the_properties_that_are_wanted_are_looked_for() -> None:
    record = track("Login", b=2, c="line\nbreak", a=1) | {"context": {"plan": "pro", "seats": "many"}}
    assert shop(record, ["plan", "a", "b", "a"])["properties"] == {"a": 1, "b": 2, "plan": "pro"}
    assert "properties" not in shop(record, [])
    assert "properties" not in shop(record, ["d"])


def test_a_table_of_more_properties_than_an_event_may_have_gives_the_first() -> None:
    many = {f"p{number}": number for number in range(101)} | {"x" * 257: 1}
    assert list(shop(track("Login", **many))["properties"]) == [f"p{number}" for number in range(100)]
    assert shop(track("Login", **many), ["p100"])["properties"] == {"p100": 100}


def test_our_own_json_says_its_properties_consent_string_signal_and_address_itself() -> None:
    event = {"user_id": "ada", "kind": "view", "tcf": "C", "gpc": True, "ip": "203.0.113.7"}
    event |= {"properties": {"plan": "pro", "seats": 12, "half": 0.5, "trial": True}}
    assert one("trimtab", event) == one("trimtab", [event]) == one("auto", event) == event
    assert refused("trimtab", event | {"properties": {"a": {"b": 1}}}) == (Reason.WRONG_TYPE, "$.properties[...]")
    assert refused("trimtab", event | {"properties": [1]}) == (Reason.WRONG_TYPE, "$.properties")
    assert refused("trimtab", event | {"gpc": 1}) == (Reason.WRONG_TYPE, "$.gpc")
    many = {str(number): number for number in range(101)}
    assert refused("trimtab", event | {"properties": many}) == (Reason.WRONG_LENGTH, "$.properties")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"context": {"ip": "10.0.0.1\n"}}, "$.context.ip"),
        ({"context": {"tcf": "C\x00"}}, "$.context.tcf"),
        ({"properties": {"a\tb": 1}}, "$.properties"),
        ({"properties": {"a": "line\nbreak"}}, "$.properties"),
    ],
)
def test_what_would_break_logs_is_refused_in_these_too(change: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected no control character") as raised:
        shop(track("Login") | change)
    assert why(raised.value) == (Reason.UNSAFE_TEXT, path)


def test_an_empty_list_or_table_of_purposes_is_an_answer() -> None:
    def with_preferences(found: Any) -> dict[str, Any]:
        return track("Login") | {"context": {"consent": {"categoryPreferences": found}}}

    assert one("segment", with_preferences({}))["consent"] == {}
    assert one("segment", with_preferences([]))["consent"] == {}
    assert "consent" not in one("segment", with_preferences(None))


def test_an_edit_of_wikipedia_names_neither_its_page_nor_whether_a_robot_made_it() -> None:
    edit = {"time": "2026-01-01T12:00:00Z", "channel": "#en.wikipedia", "namespace": "Talk", "page": "Talk:Ada"}
    assert one("wikiticker", edit | {"user": "Ada", "isRobot": True, "delta": 36}) == {
        "user_id": "Ada",
        "kind": "form",
        "occurred_at": NOON,
        "item": "#en.wikipedia",
        "page": "Talk",
        "value": 36,
    }


# Envelopes, and whatever comes


def cloud(**more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "ce1",
        "source": "/web",
        "type": "click",
        "time": "2026-01-01T12:00:00Z",
        **more,
    }


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"user_id": "ada", "kind": "view"}},
        {"data": [{"user_id": "ada", "kind": "view"}]},
        {"data": '{"user_id": "ada", "kind": "view"}'},
        {"data_base64": b64encode(b'{"user_id": "ada", "kind": "view"}').decode()},
        {"data": {"type": "page", "anonymousId": "ada"}},
        {"data": row(event="page_view", domain_userid="ada").decode()},
    ],
    ids=["record", "list", "text", "base64", "segment", "row"],
)
def test_a_cloud_event_says_what_the_event_in_it_does_not(content: dict[str, Any]) -> None:
    for name in ("cloudevents", "auto"):
        found = one(name, cloud(**content))
        assert found == {"user_id": "ada", "kind": "view", "event_id": "ce1", "occurred_at": NOON}


def test_a_cloud_event_does_not_speak_for_several_events_nor_against_the_one_in_it() -> None:
    own = {"user_id": "ada", "kind": "view", "event_id": "e1", "occurred_at": 5}
    assert one("cloudevents", cloud(data=own)) == own
    assert several("cloudevents", cloud(data={"batch": [own, {"user_id": "eve"}]})) == [
        Kind.VIEW,
        (Reason.MISSING_FIELD, "$.data.batch[1].kind"),
    ]
    assert several("cloudevents", [cloud(data=own), cloud(data=5), cloud(), cloud(data={"x": 1})]) == [
        Kind.VIEW,
        (Reason.WRONG_TYPE, "$[1].data"),
        (Reason.MISSING_FIELD, "$[2].data"),
        (Reason.UNKNOWN_FORMAT, "$[3].data"),
    ]


@pytest.mark.parametrize(
    ("content", "reason", "path"),
    [
        ({"data": {"user_id": "ada", "kind": "view"}, "id": "x" * 300}, Reason.WRONG_LENGTH, "$.id"),
        ({"data": {"user_id": "ada", "kind": "view"}, "id": "a\nb"}, Reason.UNSAFE_TEXT, "$.id"),
        ({"data": {"user_id": "ada", "kind": "view"}, "time": "2200-01-01T00:00:00Z"}, Reason.OUT_OF_RANGE, "$.time"),
        (
            {"data_base64": b64encode(rb'{"user_id": "a\u0000b", "kind": "view"}').decode()},
            Reason.UNSAFE_TEXT,
            "$.data_base64.user_id",
        ),
        ({"data_base64": "no base64!"}, Reason.WRONG_TYPE, "$.data_base64"),
        ({"data": "neither JSON nor a row"}, Reason.NOT_JSON, ""),
    ],
)
def test_an_envelope_is_held_to_the_same_rules_as_an_event(content: dict[str, Any], reason: Reason, path: str) -> None:
    for name in ("cloudevents", "auto"):
        assert refused(name, cloud() | content) == (reason, path)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"user_id": "ada", "kind": "rage"}, Kind.RAGE),
        ({"batch": [{"user_id": "ada", "kind": "rage"}]}, Kind.RAGE),
        ({"type": "page", "anonymousId": "a"}, Kind.VIEW),
        ({"batch": [{"type": "page", "anonymousId": "a"}]}, Kind.VIEW),
        ({"message": {"type": "page", "anonymousId": "a"}}, Kind.VIEW),
        ({"client_id": "c", "events": [{"name": "search"}]}, Kind.SEARCH),
        ({"body": {"client_id": "c", "events": [{"name": "search"}]}}, Kind.SEARCH),
        (row(**VIEW), Kind.VIEW),
        (VIEW, Kind.VIEW),
        ({"event": "$rageclick", "distinct_id": "d"}, Kind.RAGE),
        ({"api_key": "k", "batch": [{"event": "$rageclick", "properties": {"distinct_id": "d"}}]}, Kind.RAGE),
        ({"event": "interaction", "type": "click", "id": "c", "user": "u", "timestamp": "1"}, Kind.CLICK),
        (
            prefixed(
                {
                    "timestamp": "2026-01-01T12:00:00Z",
                    "eventType": "commerce.purchases",
                    "identityMap": {"E": [{"id": 1}]},
                }
            ),
            Kind.PURCHASE,
        ),
    ],
)
def test_whatever_comes_is_read_by_the_first_format_whose_marks_it_has(record: Any, kind: Kind) -> None:
    found = read("auto", record)
    assert isinstance(found, RawEvent)
    assert found.kind is kind


def test_a_list_may_mix_trackers() -> None:
    mixed = [{"user_id": "ada", "kind": "rage"}, {"type": "page", "userId": 7}, {"hello": 1}, {"event": "ranking"}]
    assert several("auto", mixed) == [
        Kind.RAGE,
        Kind.VIEW,
        (Reason.UNKNOWN_FORMAT, "$[2]"),
        (Reason.UNKNOWN_FORMAT, "$[3]"),
    ]


@pytest.mark.parametrize(
    ("record", "reason", "path"),
    [
        ({}, Reason.UNKNOWN_FORMAT, ""),
        ({"vendor": "acme", "event": "x"}, Reason.UNKNOWN_FORMAT, ""),
        ({"kind": "view"}, Reason.MISSING_FIELD, "$.user_id"),
        ({"user_id": "ada", "kind": "teleport"}, Reason.UNKNOWN_KIND, "$.kind"),
        (b"not json", Reason.NOT_JSON, ""),
        (b"a\tb", Reason.WRONG_LENGTH, ""),
        (b"\xff\t" * 130, Reason.NOT_UTF8, ""),
        ([], Reason.WRONG_LENGTH, ""),
        (7, Reason.NOT_OBJECT, "$"),
    ],
)
def test_what_has_no_tracker_is_refused(record: Any, reason: Reason, path: str) -> None:
    assert refused("auto", record) == (reason, path)


# Taking records apart, for replays


def test_a_batch_comes_apart_into_records_of_its_own_format() -> None:
    batch = {
        "sentAt": "2026-01-01T12:00:00Z",
        "batch": [{"type": "page", "userId": 7, "receivedAt": "2026-01-01T12:00:00Z"}, 5, {"type": "fly"}],
    }
    found = parts(FORMATS["segment"], FORMATS)(json.dumps(batch).encode())
    assert found == [
        Part(
            b'{"sentAt":"2026-01-01T12:00:00Z","batch":[{"type":"page","userId":7,"receivedAt":"2026-01-01T12:00:00Z"}]}',
            "7",
            NOON,
        ),
        Part(b'{"sentAt":"2026-01-01T12:00:00Z","batch":[5]}', None, None),
        Part(b'{"sentAt":"2026-01-01T12:00:00Z","batch":[{"type":"fly"}]}', None, None),
    ]
    assert one("segment", found[0].body)["user_id"] == "7"


def test_what_lies_in_an_envelope_comes_apart_inside_it() -> None:
    events = [{"user_id": "ada", "kind": "view", "occurred_at": 5}, {"user_id": "eve", "kind": "view"}]
    apart = parts(FORMATS["cloudevents"], FORMATS)
    plain = apart(json.dumps(cloud(data=events)).encode())
    assert [(part.user_id, part.at) for part in plain] == [("ada", 5), ("eve", None)]
    text = apart(json.dumps(cloud(data=json.dumps(events))).encode())
    packed = apart(json.dumps(cloud(data_base64=b64encode(json.dumps(events).encode()).decode())).encode())
    for found in (plain, text, packed):
        assert [one("cloudevents", part.body)["user_id"] for part in found] == ["ada", "eve"]


def test_a_record_of_one_event_stays_as_it_is() -> None:
    body = b' {"user_id": "ada", "kind": "view", "received_at": 9, "occurred_at": 5}'
    assert parts(FORMATS["trimtab"])(body) == [Part(body, "ada", 9)]
    assert parts(FORMATS["auto"], FORMATS)(row(**VIEW)) == [Part(row(**VIEW), "d1", NOON + 123)]


# Declarations


def test_a_team_adds_its_own_words_to_a_vendors_format() -> None:
    ours = Format(
        about="", like="segment", kinds=[Rule("event", words={"Level Up": Kind.CLICK})], item="properties.level"
    )
    read_ours = reader(ours, FORMATS)
    assert said(read_ours(json.dumps(track("level_up", level=7)).encode()))["item"] == "7"
    assert said(read_ours(json.dumps(track("Product Viewed", product_id="a")).encode()))["kind"] == "view"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Format(about="", user_id="u"), "kind: missing, and so are kinds"),
        (Format(about="", user_id="u..v", kind=Kind.VIEW), 'user_id: "u..v" is no path'),
        (Format(about="", user_id="u", kind=Kind.VIEW, item=Source()), "item: a source needs a path or a default"),
        (Format(about="", user_id="u", kind=Kind.VIEW, item=Source("x", unit="s")), "item: only times and durations"),
        (
            Format(about="", user_id="u", kind=Kind.VIEW, dwell_ms=Source("x", unit="utc")),
            "dwell_ms: unit: expected ms, s, us",
        ),
        (
            Format(about="", user_id="u", kind=Kind.VIEW, value=Source("x", type="url")),
            'value: only a text can be of the type "url"',
        ),
        (
            Format(about="", user_id="u", kind=Kind.VIEW, properties={"since": Source("x", unit="s")}),
            "properties: only times and durations have a unit",
        ),
        (Format(about="", user_id="u", kind=Kind.VIEW, properties={"*": "a..b"}), 'properties: "a..b" is no path'),
        (Format(about="", user_id="u", kinds=[Rule("k", find="(")]), "kinds: find is no regular expression"),
        (Format(about="", user_id="u", kinds=[Rule("k", find="a")]), 'kinds: "a" must have one group'),
        (Format(about="", user_id="u", kind=Kind.VIEW, events="a.*"), '"a.*" must be a path of keys alone'),
        (Format(about="", like="nobody"), 'there is no format "nobody"'),
        (Format(about="", holds=["nobody"]), 'there is no format "nobody"'),
        (FORMATS["auto"], 'holds: "ring" holds itself'),
    ],
)
def test_an_impossible_declaration_is_refused_before_anything_is_read(form: Format, message: str) -> None:
    forms = FORMATS
    if form is FORMATS["auto"]:
        form = Format(about="", holds=["ring"])
        forms = FORMATS | {"ring": form}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        reader(form, forms)


# Whatever is wrong with a record, it is said, not raised as something else

SAMPLES: list[tuple[str, Any]] = [
    (
        "trimtab",
        {
            "batch": [
                {
                    "user_id": "ada",
                    "kind": "click",
                    "items": ["a"],
                    "consent": {"x": True},
                    "properties": {"a": 1},
                    "tcf": "C",
                    "gpc": True,
                },
                {},
            ]
        },
    ),
    (
        "segment",
        track("Product Added", product_id="a", products=[{"product_id": "b"}], price=5)
        | {"timestamp": "2026-01-01T12:00:00Z"},
    ),
    (
        "ga4",
        {"body": {"client_id": "c", "timestamp_micros": 5, "events": [{"name": "search", "params": {"value": 1}}]}},
    ),
    ("snowplow", VIEW | {"unstruct_event": iglu(LINK_CLICK, {"consent_scopes": ["a"]}), "tr_total": "5"}),
    (
        "xdm",
        {
            "timestamp": "2026-01-01T12:00:00Z",
            "eventType": "commerce.purchases",
            "identityMap": {"E": [{"id": 1}]},
            "media": {"mediaTimed": {"timePlayed": {"value": 5}}},
        },
    ),
    ("posthog", {"batch": [{"event": "$pageleave", "distinct_id": "d", "properties": {"$prev_pageview_duration": 5}}]}),
    ("metarank", {"event": "ranking", "id": "r", "user": "u", "timestamp": "5", "items": [{"id": "a"}]}),
    ("cloudevents", cloud(data={"user_id": "ada", "kind": "view"}, data_base64="e30=")),
]
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**19,
    10**30,
    1e300,
    "",
    "x",
    "{",
    "[[[",
    "9" * 500,
    "\x00",
    "\ud800",
    [],
    [None],
    [[]],
    {},
    {"": {}},
)


def spoilt(record: Any) -> Any:
    """Put each odd value into each place of a record, one at a time."""
    yield from ODD
    if isinstance(record, dict | list):
        for key, value in list(record.items() if isinstance(record, dict) else enumerate(record)):
            for other in spoilt(value):
                copy = record.copy()
                copy[key] = other
                yield copy


@pytest.mark.parametrize(("name", "record"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_no_odd_value_in_any_place_raises_anything_but_a_reason(name: str, record: Any) -> None:
    for form in (name, "auto"):
        read_form, apart = reader(FORMATS[form], FORMATS), parts(FORMATS[form], FORMATS)
        for odd in spoilt(record):
            body = json.dumps(odd).encode()
            for use in (read_form, apart):
                try:
                    for part in apart(body) if use is apart else ():
                        assert isinstance(part.user_id, str | None)
                        assert isinstance(part.at, int | None)
                    use(body)
                except (ValueError, RecursionError) as error:
                    reason, _, detail = explain(error)
                    assert isinstance(reason, Reason)
                    assert detail
