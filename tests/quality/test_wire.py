"""Bytes from release 1 must decode for ever. Add lines; never edit one."""

from __future__ import annotations

import pytest

import coldgrid.quality  # noqa: F401  (its events register as they are imported)
from coldgrid.kernel.events import Event, decode, encode, subclasses_of, tag_of

STORED = {
    "quality.excursion_opened": (
        b'{"type":"quality.excursion_opened","excursion_id":"excursion-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"locations":["ATL1-FRZ1-A01-02"],"alarm_id":"alarm-1","cause_id":"alarm-1","incident_id":"incident-1",'
        b'"from_at":"2026-03-01T02:00:00Z","until_at":"2026-03-01T02:21:00Z","why":"-15.8 \xc2\xb0C",'
        b'"units":[{"sscc":"106141410000000019","product_id":"ICE-VAN-1L","lot_id":"L-2601","owner":"COLDGRID",'
        b'"qty":60,"location_id":"ATL1-FRZ1-A01-02","arrived_at":"2026-02-27T08:00:00Z","left_at":null,'
        b'"verdict":"assess","why":"above -18 \xc2\xb0C for 21 min in all","outside_min":21.0,'
        b'"outside_longest_min":21.0,"peak_c":-17.2,"coldest_c":-23.1,"mkt_c":null,"unknown_min":0.0,'
        b'"thawed_at":null,"spent_min":{"ICE-VAN-1L.CUMUL":21.0},"value_cents":25740}],'
        b'"shipped":[{"sscc":"106141410000000019","product_id":"ICE-VAN-1L","lot_id":"L-2601","qty":40,'
        b'"dispatch_id":"d-1","transfer_id":"","order_id":"o-1","at":"2026-03-01T02:05:00Z",'
        b'"verdict":"within_limits","why":"within limits","peak_c":-20.4}],'
        b'"at_stake_cents":25740,"currency":"USD","over":false}'
    ),
    "quality.excursion_updated": (
        b'{"type":"quality.excursion_updated","excursion_id":"excursion-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"locations":[],"from_at":"2026-03-01T02:00:00Z","until_at":"2026-03-01T02:31:00Z","why":"more",'
        b'"units":[],"added":["106141410000000026"],"shipped":[],"at_stake_cents":51480}'
    ),
    "quality.excursion_closed": (
        b'{"type":"quality.excursion_closed","excursion_id":"excursion-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"from_at":"2026-03-01T02:00:00Z","until_at":"2026-03-01T06:00:00Z","units":[],"shipped":[],'
        b'"at_stake_cents":51480,"reason":"cold again"}'
    ),
    "quality.excursion_linked": (
        b'{"type":"quality.excursion_linked","excursion_id":"excursion-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"incident_id":"incident-1"}'
    ),
    "quality.disposition_signed": (
        b'{"type":"quality.disposition_signed","disposition_id":"dp-1","excursion_id":"excursion-1",'
        b'"incident_id":"incident-1","site_id":"ATL1","zone_id":"ATL1-FRZ1","sscc":"106141410000000408",'
        b'"product_id":"ICE-VAN-1L","lot_id":"L-2601","qty":30,"outcome":"reduced_life","reason":"cold core",'
        b'"reduced_life_until":"2026-04-01","evidence":["reading-1"],"witness":"","inspection":"",'
        b'"from_sscc":"106141410000000019","rest_qty":30,"verdict":"assess","signed_as":"quality"}'
    ),
    "quality.deviation_opened": (
        b'{"type":"quality.deviation_opened","deviation_id":"deviation-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"excursion_id":"excursion-1","alarm_id":"alarm-1","incident_id":"incident-1","title":"too warm"}'
    ),
    "quality.deviation_investigated": (
        b'{"type":"quality.deviation_investigated","deviation_id":"deviation-1","site_id":"ATL1",'
        b'"zone_id":"ATL1-FRZ1","weight":"major","root_cause":"fan bearing","remedy":"bearing replaced"}'
    ),
    "quality.deviation_closed": (
        b'{"type":"quality.deviation_closed","deviation_id":"deviation-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"conclusion":"no harm"}'
    ),
    "quality.hand_reading_recorded": (
        b'{"type":"quality.hand_reading_recorded","reading_id":"reading-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"location_id":"","sscc":"106141410000000019","target":"product","value_c":-20.5,'
        b'"taken_at":"2026-03-01T02:30:00Z","probe_id":"PROBE-7","photo_hash":"","note":"between cases"}'
    ),
    "quality.journey_recorded": (
        b'{"type":"quality.journey_recorded","journey_id":"journey-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"logger_id":"LOG-9","carrier":"Polar","from_at":"2026-02-28T02:00:00Z","until_at":"2026-02-28T09:00:00Z",'
        b'"readings":43,"file_hash":"cdcd","units":[{"sscc":"106141410000000019","product_id":"ICE-VAN-1L",'
        b'"lot_id":"L-2601","verdict":"within_limits","why":"within limits","outside_min":0.0,"peak_c":-19.0,'
        b'"spent_min":{}}]}'
    ),
    "quality.lots_rejudged": (
        b'{"type":"quality.lots_rejudged","rejudge_id":"rejudge-1","site_id":"ATL1","zone_id":"ATL1-FRZ1",'
        b'"sensor_id":"ATL1-FRZ1-T1","certificate_id":"CERT-1","since":"2025-03-01T00:00:00Z",'
        b'"until_at":"2026-03-01T02:00:00Z","correction_c":1.2,"lots":[{"lot_id":"L-2601",'
        b'"product_id":"ICE-VAN-1L","units":2,"shipped":1,"was":"within_limits","now":"assess","peak_c":-16.0}]}'
    ),
}


@pytest.mark.parametrize("tag", sorted(STORED))
def test_events_keep_their_wire_form(tag: str) -> None:
    event = decode(tag, STORED[tag])
    assert isinstance(event, Event)
    assert encode(event) == STORED[tag]


def test_every_event_of_the_room_is_frozen() -> None:
    mine = {
        tag_of(event) for event in subclasses_of(Event) if event.__module__.startswith("coldgrid.quality")
    }
    assert mine == set(STORED)
