"""Calls as the provider tells of them: one that ended in a voicemail, one that was recorded."""

from collections.abc import Sequence
from typing import Any

from tests.payloads import load

PEOPLE = {
    "workspace": ["+16175550100"],
    "external": ["+16175550123"],
    "resolution": "available",
}


def voicemail(url: str, said: str | None = None, number: int = 1) -> list[dict[str, Any]]:
    """The deliveries of a missed call and the voicemail that was left; an hour between numbers."""
    missed, left = load("d3_call_missed"), load("d3_call_voicemail")
    call = f"ACcall-missed-{number}"
    missed["data"]["resource"]["id"] = left["data"]["resource"]["callId"] = call
    missed["data"]["resource"]["createdAt"] = f"2026-09-21T{14 + number}:01:40.000Z"
    left["data"]["resource"] |= {
        "id": f"ACvm-{number}",
        "voicemailId": f"VM{number}",
        "recordingUrl": url,
        "transcript": said,
    }
    return [_ours(one, f"EVvoicemail-{number}-{n}") for n, one in enumerate((missed, left))]


def recorded(url: str, said: Sequence[tuple[float, str]] = ()) -> list[dict[str, Any]]:
    """The deliveries of a call, its recording, and who said what at which second."""
    recording, transcript = load("d3_call_recordings"), load("d3_call_transcript")
    resource = recording["data"]["resource"]
    resource["recordings"] = [resource["recordings"][0] | {"url": url}]
    transcript["data"]["resource"]["dialogue"] = [
        {
            "userId": None if n % 2 else "USdemo1",
            "identifier": "+16175550123" if n % 2 else None,
            "content": words,
            "start": start,
            "end": start + 1.5,
        }
        for n, (start, words) in enumerate(said)
    ]
    found = [recording, transcript] if said else [recording]
    return [_ours(one, f"EVrecorded-{n}") for n, one in enumerate(found)]


def _ours(event: dict[str, Any], identity: str) -> dict[str, Any]:
    event["id"] = identity
    event["data"]["context"] |= {"conversationId": "CNtest1", "participants": PEOPLE}
    return event
