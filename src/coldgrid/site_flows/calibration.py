"""Calibration: a certificate that found a sensor off has every lot since the last good one judged again.

The certificate is the network's fact, the goods are the site's: so it runs from a durable cursor.
"""

from __future__ import annotations

from datetime import UTC, datetime

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.quality.calibration import AlreadyRejudged, RejudgeSince, found_off, last_good_at
from coldgrid.telemetry.sensors import SensorDefined

# A sensor that was never found right has been in doubt ever since.
EVER_SINCE = datetime(2000, 1, 1, tzinfo=UTC)


@reacts(SensorDefined, name="site_flows.rejudge", cursor=True)
def rejudge(tx: Tx, event: SensorDefined) -> None:
    """Judge again what stood under a sensor that was found off, with its readings put right."""
    found = event.sensor.calibration
    if found is None or not found_off(found):
        return
    sensor_id = event.sensor.sensor_id
    since = last_good_at(tx, sensor_id, found.calibrated_on) or EVER_SINCE
    try:
        tx.run(
            RejudgeSince(
                site_id=event.site_id,
                rejudge_id=derive_id("rejudge", sensor_id, found.certificate_id),
                sensor_id=sensor_id,
                certificate_id=found.certificate_id,
                since=since,
                correction_c=-found.as_found_error,
            )
        )
    except AlreadyRejudged:
        # The sensor was changed otherwise; its certificate is known.
        return
