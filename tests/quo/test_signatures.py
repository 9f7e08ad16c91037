"""Promise I8: without a good signature, nothing; fault rows 99 and 100."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook
from werkzeug.datastructures import Headers

from viewer.quo import NotFromQuo, Reason, check_secrets, open_delivery, signatures

VECTORS = json.loads((Path(__file__).parent / "signature_vectors.json").read_text())
STANDARD = {vector["name"]: vector for vector in VECTORS["standard"]}
LEGACY = {vector["name"]: vector for vector in VECTORS["legacy"]}
SECRETS = list(VECTORS["keys"].values())
THEN = datetime.fromtimestamp(1790000000, UTC)


def standard_headers(vector):
    return {
        "Webhook-Id": vector["id"],
        "Webhook-Timestamp": vector["timestamp"],
        "Webhook-Signature": vector["signature"],
    }


def legacy_headers(vector):
    return {"Openphone-Signature": vector["header"]}


def opened(headers, body, secrets=SECRETS, now=THEN):
    return open_delivery(headers, body.encode() if isinstance(body, str) else body, secrets, now)


def refusal(headers, body, secrets=SECRETS, now=THEN):
    with pytest.raises(NotFromQuo) as caught:
        opened(headers, body, secrets, now)
    return caught.value.reason


def legacy_signed(body, signed_at, key=SECRETS[0]):
    signed = f"{signed_at}.".encode() + body
    digest = hmac.digest(base64.b64decode(key), signed, "sha256")
    return {"openphone-signature": f"hmac;1;{signed_at};{base64.b64encode(digest).decode()}"}


@pytest.mark.parametrize("vector", STANDARD.values(), ids=list(STANDARD))
def test_a_standard_delivery_is_recognised(vector):
    delivery = opened(standard_headers(vector), vector["body"])

    assert delivery.id == vector["id"]
    assert delivery.scheme == "standard"
    assert delivery.sent_at == THEN
    assert delivery.header_names == ("webhook-id", "webhook-signature", "webhook-timestamp")


def test_the_published_vector_is_recognised():
    vector = VECTORS["published_standard_webhooks"]
    now = datetime.fromtimestamp(int(vector["timestamp"]), UTC)

    assert opened(standard_headers(vector), vector["body"], [vector["key"]], now).id == vector["id"]


def test_what_the_published_library_signs_is_recognised():
    body = '{"text": "señor 💧"}'
    signature = Webhook(VECTORS["keys"]["standard"]).sign("msg_demo", THEN, body)
    headers = standard_headers(
        {"id": "msg_demo", "timestamp": "1790000000", "signature": signature}
    )

    assert opened(headers, body).id == "msg_demo"


@pytest.mark.parametrize("vector", LEGACY.values(), ids=list(LEGACY))
def test_a_legacy_delivery_is_recognised(vector):
    delivery = opened(legacy_headers(vector), vector["body"])

    assert delivery.id == json.loads(vector["body"])["id"]
    assert delivery.scheme == "legacy"
    assert delivery.sent_at == THEN


@pytest.mark.parametrize("vector", LEGACY.values(), ids=list(LEGACY))
def test_an_altered_legacy_body_is_refused(vector):
    altered = vector["body"].replace("EVtest", "EVfake")

    assert refusal(legacy_headers(vector), altered) is Reason.WRONG_SIGNATURE


@pytest.mark.parametrize("vector", STANDARD.values(), ids=list(STANDARD))
@pytest.mark.parametrize(
    "changes",
    [
        {"id": "msg_other"},
        {"timestamp": "1790000001"},
        {"body": "{}"},
        {"signature": "v1,AAAA"},
        {"signature": "v2,aAjDTcKh9f8C3fYJHJn1WWfg5gNePEpjPY2G2q4AUVg= v1,AAAA"},
    ],
    ids=str,
)
def test_anything_altered_in_a_standard_delivery_is_refused(vector, changes):
    altered = vector | changes

    assert refusal(standard_headers(altered), altered["body"]) is Reason.WRONG_SIGNATURE


def test_whitespace_matters_to_a_standard_signature():
    vector = STANDARD["simple"]

    assert refusal(standard_headers(vector), vector["body"] + " ") is Reason.WRONG_SIGNATURE


def test_a_repeated_key_cannot_ride_along_with_a_legacy_signature():
    vector = LEGACY["pretty_body_signed_compact"]
    smuggling = vector["body"].replace("{", '{"id": "EVfake",', 1)

    assert refusal(legacy_headers(vector), smuggling) is Reason.WRONG_SIGNATURE


@pytest.mark.parametrize(
    "vector", [STANDARD["simple"], LEGACY["compact_ms"]], ids=["standard", "legacy"]
)
def test_a_truncated_signature_is_refused(vector):
    if "header" in vector:
        reason = refusal(legacy_headers(vector | {"header": vector["header"][:-1]}), vector["body"])
    else:
        shorter = vector | {"signature": vector["signature"][:-1]}
        reason = refusal(standard_headers(shorter), vector["body"])

    assert reason is Reason.WRONG_SIGNATURE


def test_a_delivery_without_signature_is_refused():
    assert refusal({"Content-Type": "application/json"}, "{}") is Reason.NO_SIGNATURE
    assert refusal({"Webhook-Id": "msg_1", "Webhook-Timestamp": "1"}, "{}") is Reason.NO_SIGNATURE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "hmac",
        "hmac;1;1790000000000",
        "hmac;1;1790000000000;digest;more",
        "hmac;2;1790000000000;digest",
        "sha256=00ff",
        "hmac;1;1790000000000;zÿ",
        "hmac;1;1790000000000;\ud800",
        "hmac;1;\x00;digest",
        ",".join(["hmac;1;1790000000000;digest"] * 6),
    ],
)
def test_a_malformed_legacy_signature_is_refused(header):
    assert refusal({"openphone-signature": header}, "{}") is Reason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "msg_ü"},
        {"timestamp": "yesterday"},
        {"timestamp": "-1790000000"},
        {"timestamp": "179000000٠"},
        {"timestamp": "9" * 5000},
        {"timestamp": "nan"},
        {"signature": "v2,AAAA"},
        {"signature": " "},
        {"signature": "v1,\ud800"},
    ],
    ids=ascii,
)
def test_malformed_standard_headers_are_refused(changes):
    vector = STANDARD["simple"] | changes

    assert refusal(standard_headers(vector), vector["body"]) is Reason.MALFORMED


def test_a_repeated_id_is_refused_where_the_two_differ():
    vector = STANDARD["simple"]
    headers = Headers(standard_headers(vector))
    headers.add("webhook-id", "msg_other")

    assert refusal(headers, vector["body"]) is Reason.MALFORMED


def test_a_header_that_a_proxy_doubled_is_harmless():
    vector = STANDARD["simple"]
    headers = Headers([*standard_headers(vector).items()] * 2)

    assert opened(headers, vector["body"]).id == vector["id"]


def test_signatures_in_several_headers_are_all_tried():
    vector = LEGACY["compact_ms"]
    headers = Headers([("openphone-signature", "hmac;1;1790000000000;AAAA")])
    headers.add("openphone-signature", vector["header"])

    assert opened(headers, vector["body"]).id == "EVtest0001"


def test_a_signature_version_of_the_future_does_not_hide_the_one_we_know():
    vector = LEGACY["compact_ms"]
    headers = {"openphone-signature": f"hmac;2;now;AAAA;x, {vector['header']}"}

    assert opened(headers, vector["body"]).id == "EVtest0001"


def test_where_both_signatures_came_either_is_enough():
    vector = LEGACY["compact_ms"]
    headers = standard_headers(STANDARD["simple"]) | legacy_headers(vector)

    assert opened(headers, vector["body"]).scheme == "legacy"
    assert opened(headers, STANDARD["simple"]["body"]).scheme == "standard"


def test_a_secret_of_the_other_kind_proves_nothing_and_says_so():
    vector, other = STANDARD["simple"], [VECTORS["keys"]["legacy"]]

    assert refusal(standard_headers(vector), vector["body"], other) is Reason.NO_KEY
    assert refusal(standard_headers(vector), vector["body"], []) is Reason.NO_KEY


def test_a_rotated_secret_alone_is_not_enough_for_the_old_signature():
    vector = STANDARD["simple"]

    reason = refusal(
        standard_headers(vector), vector["body"], [VECTORS["keys"]["standard_rotated"]]
    )

    assert reason is Reason.WRONG_SIGNATURE


@pytest.mark.parametrize("late", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_a_replayed_standard_delivery_is_stale_and_tells_by_how_much(late):
    vector = STANDARD["simple"]

    with pytest.raises(NotFromQuo) as caught:
        opened(standard_headers(vector), vector["body"], now=THEN + late)

    assert caught.value.reason is Reason.STALE
    assert caught.value.age == late


FORGED = base64.b64encode(bytes(32)).decode()
MIB = 1024 * 1024


@pytest.fixture
def work(monkeypatch):
    """What is hashed, in bytes, and how often JSON is parsed."""
    done = {"hashed": 0, "parsed": 0}

    class Counted:
        def __init__(self, key, start, kind):
            self._real = hmac.new(key, start, kind)
            done["hashed"] += len(start)

        def update(self, body):
            self._real.update(body)
            done["hashed"] += len(body)

        def digest(self):
            return self._real.digest()

    def loads(*given, **named):
        done["parsed"] += 1
        return json_loads(*given, **named)

    def one_shot(key, body, kind):
        done["hashed"] += len(body)
        return hmac_digest(key, body, kind)

    json_loads, hmac_digest = json.loads, hmac.digest
    monkeypatch.setattr(json, "loads", loads)
    monkeypatch.setattr(
        signatures,
        "hmac",
        SimpleNamespace(new=Counted, digest=one_shot, compare_digest=hmac.compare_digest),
    )
    return done


FORGED_BODIES = {
    "objects": b"[" + b'{"a": 1}, ' * (MIB // 10) + b"0]",
    "escaped": b'["' + rb"\\" * (MIB // 2) + b'" ]',
    "deep": b"[ " * (MIB // 2),
    "numbers": b"[" + b"9" * MIB + b" ]",
    "text": b'["' + b"words " * (MIB // 6) + b'" ]',
}


@pytest.mark.parametrize("body", FORGED_BODIES.values(), ids=list(FORGED_BODIES))
def test_a_forged_body_is_hashed_once_a_recipe_and_never_parsed(body, work):
    headers = {"openphone-signature": f"hmac;1;1790000000000;{FORGED}"}

    assert refusal(headers, body, [VECTORS["keys"]["legacy"]]) is Reason.WRONG_SIGNATURE
    assert work["parsed"] == 0
    assert work["hashed"] <= 2 * (len(body) + 20)


@pytest.mark.parametrize("late", [timedelta(days=9), timedelta(days=-9)])
def test_a_stale_delivery_is_refused_before_its_body_is_looked_at(late, work):
    body, vector = FORGED_BODIES["objects"], STANDARD["simple"]
    legacy = {"openphone-signature": f"hmac;1;1790000000000;{FORGED}"}

    assert refusal(legacy, body, now=THEN + late) is Reason.STALE
    assert refusal(standard_headers(vector), body, now=THEN + late) is Reason.STALE
    assert work == {"hashed": 0, "parsed": 0}


def test_what_has_not_the_shape_of_a_digest_costs_no_hash(work):
    standard = standard_headers(STANDARD["simple"] | {"signature": "v1,AAAA"})

    for headers in ({"openphone-signature": "hmac;1;1790000000000;AAAA"}, standard):
        assert refusal(headers, FORGED_BODIES["text"]) is Reason.WRONG_SIGNATURE
    assert work == {"hashed": 0, "parsed": 0}


def test_several_signatures_do_not_multiply_the_work(work):
    body = FORGED_BODIES["objects"]
    one = f"hmac;1;1790000000000;{FORGED}"
    others = ",".join(f"hmac;1;179000000000{place};{FORGED}" for place in range(5))

    same = refusal({"openphone-signature": ",".join([one] * 5)}, body, SECRETS[:1])
    assert (same, work["hashed"] <= 2 * (len(body) + 20)) == (Reason.WRONG_SIGNATURE, True)
    work["hashed"] = 0
    assert refusal({"openphone-signature": others}, body, SECRETS[:1]) is Reason.MALFORMED
    assert work["hashed"] == 0


def test_a_stale_signature_does_not_hide_the_fresh_one_beside_it():
    vector = LEGACY["compact_ms"]
    header = f"hmac;1;1780000000000;{FORGED},{vector['header']}"

    assert opened({"openphone-signature": header}, vector["body"]).sent_at == THEN


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
        lambda child: st.lists(child) | st.dictionaries(st.text(), child),
    ),
    st.sampled_from([None, 0, 2, "\t", " \r "]),
    st.booleans(),
)
def test_json_signed_without_its_whitespace_is_recognised(value, indent, is_ascii):
    sent = json.dumps({"id": "EVtest", "data": value}, indent=indent, ensure_ascii=is_ascii)
    signed = json.dumps(
        {"id": "EVtest", "data": value}, separators=(",", ":"), ensure_ascii=is_ascii
    )
    headers = legacy_signed(signed.encode("utf-8", "surrogatepass"), "1790000000000")

    assert opened(headers, sent.encode("utf-8", "surrogatepass")).scheme == "legacy"


def test_a_long_transcript_signed_without_its_whitespace_is_recognised():
    line = {"content": 'He said "it leaks \\ drips".', "start": 2.6, "end": 4.9, "userId": None}
    value = {"id": "EVtest", "dialogue": [line] * 1_000}
    headers = legacy_signed(json.dumps(value, separators=(",", ":")).encode(), "1790000000000")

    assert opened(headers, json.dumps(value, indent=2)).id == "EVtest"


def test_whitespace_cannot_be_forged_into_a_signed_number():
    headers = legacy_signed(b'{"id":"EVtest","n":12}', "1790000000000")

    assert opened(headers, '{"id":"EVtest", "n": 12}').id == "EVtest"
    assert refusal(headers, '{"id":"EVtest","n":1 2}') is Reason.WRONG_SIGNATURE
    assert refusal(headers, '{"id":"EV test","n":12}') is Reason.WRONG_SIGNATURE


def test_a_legacy_retry_of_yesterday_is_accepted_and_of_last_week_refused():
    vector = LEGACY["compact_ms"]
    headers = legacy_headers(vector)

    assert opened(headers, vector["body"], now=THEN + timedelta(hours=28)).id == "EVtest0001"
    assert refusal(headers, vector["body"], now=THEN + timedelta(days=7)) is Reason.STALE


def test_legacy_seconds_are_told_from_milliseconds():
    assert opened(legacy_signed(b"{}", "1790000000"), b"{}").sent_at == THEN
    assert opened(legacy_signed(b"{}", "1790000000000"), b"{}").sent_at == THEN


@pytest.mark.parametrize("signed_at", ["Mon Sep 21 2026", "9" * 40, ""])
def test_a_signed_time_in_an_unknown_notation_is_accepted_as_unknown(signed_at):
    assert opened(legacy_signed(b"{}", signed_at), b"{}").sent_at is None


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"not json",
        b'{"id": ""}',
        b'{"id": 7}',
        b'{"id": "a\\u0000b"}',
        b'{"id": "%s"}' % (b"x" * 256),
        b'{"id": "a", "id": "b"}',
        b"[" * 20_000,
        b"\xff\xfe",
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_a_legacy_delivery_without_usable_id_is_known_by_its_body(body):
    delivery = opened(legacy_signed(body, "1790000000000"), body)

    assert delivery.id == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_an_endless_standard_id_is_replaced_by_the_digest_of_the_body():
    signature = Webhook(VECTORS["keys"]["standard"]).sign("m" * 300, THEN, "{}")
    headers = standard_headers({"id": "m" * 300, "timestamp": "1790000000", "signature": signature})

    assert opened(headers, "{}").id.startswith("sha256:")


HEADER_NAMES = ["webhook-id", "webhook-timestamp", "webhook-signature", "openphone-signature"]


@settings(deadline=None)
@given(
    headers=st.dictionaries(st.sampled_from(HEADER_NAMES), st.text()),
    body=st.binary(max_size=50),
)
def test_hostile_headers_are_refused_and_nothing_worse(headers, body):
    with pytest.raises(NotFromQuo):
        open_delivery(headers, body, SECRETS, THEN)


def test_good_secrets_pass_the_check():
    check_secrets(SECRETS)
    check_secrets([f" {SECRETS[0].rstrip('=')}\n"])


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ([], "there is no webhook secret"),
        ([""], "1 of 1 is empty"),
        (["whsec_"], "1 of 1 is empty"),
        ([SECRETS[0], " "], "2 of 2 is empty"),
        (["whsec_not base64!"], "is not base64"),
        (["ключ"], "is not base64"),
        (["whsec_c2hvcnQ="], "is too short: 5 bytes"),
    ],
)
def test_a_bad_secret_is_named_by_its_place(secrets, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        check_secrets(secrets)

    assert all(secret.strip() == "" or secret not in str(caught.value) for secret in secrets)
