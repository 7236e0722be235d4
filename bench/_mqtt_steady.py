"""A steady load for the alarm benchmark: `python -m bench._mqtt_steady HOST PORT RATE SITE/SENSOR=VALUE…`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TICK_S = 0.02


def main() -> None:
    """Publish at the rate until killed; the sensors take turns, each with its own present time."""
    host, port, rate, *topics = sys.argv[1:]
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1_000)
    client.connect(host, int(port))
    client.loop_start()
    each_tick, sent, turn = int(rate) * TICK_S, 0.0, 0
    next_s = time.perf_counter()
    while True:
        sent += each_tick
        while sent >= 1:
            now = datetime.now(UTC).isoformat()
            topic, _, value = topics[turn % len(topics)].partition("=")
            client.publish(f"coldgrid/{topic}", f'{{"at":"{now}","value":{value}}}', qos=1)
            turn += 1
            sent -= 1
        next_s += TICK_S
        time.sleep(max(0.0, next_s - time.perf_counter()))


if __name__ == "__main__":
    main()
