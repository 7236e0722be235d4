"""Gateways and sources as master data: what is refused, with the fix, and which point is which sensor."""

from __future__ import annotations

from typing import Any

import pytest

from coldgrid.kernel import log
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.change_rules import DraftChange
from coldgrid.network.item_forms import form_fields, item_of
from coldgrid.network.items import item_kinds
from coldgrid.telemetry.gateways import (
    DriverForm,
    GatewayNotFound,
    driver_forms,
    gateways_of_site,
    get_gateway,
    list_gateways,
    register_form,
)
from coldgrid.telemetry.sources import sensors_by_source
from tests.conftest import Kernel
from tests.network.master import Raw, put_in_force, site, small_network
from tests.telemetry.cold_room import AIR, AIR_2, sensor


def map_problems(text: str) -> list[Problem]:
    if "broken" not in text:
        return []
    return [Problem(field="points[0].register", message="is no register", fix="0 to 65535")]


if "trial" not in driver_forms():
    register_form(DriverForm("trial", ("trial",), True, map_problems))
    register_form(DriverForm("trial-http", (), False, map_problems))


def gateway(gateway_id: str = "ATL1-GW1", **fields: Any) -> Raw:
    raw = {
        "gateway_id": gateway_id,
        "site_id": gateway_id.split("-", maxsplit=1)[0],
        "driver": "trial",
        "address": "trial://10.0.0.7:502",
        "every_s": 5,
    }
    return {"kind": "gateway", **raw, **fields}


def refused(kernel: Kernel, *items: Raw) -> dict[str, Problem]:
    with pytest.raises(Invalid) as caught:
        kernel.do(DraftChange(change_id="change-x", items=list(items), reason="a gateway"))
    return {problem.field: problem for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("fields", "field", "fix"),
    [
        ({"gateway_id": "ATL1-GATEWAY 2"}, "gateway_id", "did you mean ATL1-GW2?"),
        ({"site_id": "CLT1"}, "gateway_id", "CLT1-"),
        ({"gateway_id": "CLT1-GW1", "site_id": "CLT1"}, "site_id", None),
        ({"driver": "mod-bus"}, "driver", "trial"),
        ({"address": "http://10.0.0.7"}, "address", "trial://host:port"),
        ({"address": "trial://10.0.0.7:port"}, "address", "trial://host:port"),
        ({"address": "trial://[::1"}, "address", "trial://host:port"),
        ({"address": "trial://ana:secret@10.0.0.7"}, "address", "file of credentials"),
        ({"driver": "trial-http"}, "address", "leave it empty"),
        ({"driver": "trial-http", "address": "", "every_s": 3}, "every_s", "leave it at 0"),
        ({"every_s": 0}, "every_s", "1 to 86400 seconds"),
        ({"every_s": -1}, "every_s", None),
        ({"credentials": "../signing.key"}, "credentials", "COLDGRID_CREDENTIALS"),
        ({"credentials": "a/b"}, "credentials", "COLDGRID_CREDENTIALS"),
        ({"map": "broken"}, "map.points[0].register", "0 to 65535"),
        ({"password": "x"}, "password", "known fields"),
    ],
    ids=str,
)
def test_a_wrong_gateway_names_its_field_and_the_fix(
    kernel: Kernel, fields: dict[str, Any], field: str, fix: str | None
) -> None:
    small_network(kernel)
    problem = refused(kernel, gateway(**fields))[f"items[0].{field}"]
    assert fix is None or fix in (problem.fix or "")
    assert list_gateways(kernel.reader()) == []


def test_what_is_approved_is_in_force_and_told_to_its_site_alone(kernel: Kernel) -> None:
    small_network(kernel)
    put_in_force(kernel, site("CLT1", escalation_group="GRP-ATL1"), change_id="change-clt")
    put_in_force(kernel, gateway(), gateway("CLT1-GW1"), change_id="change-gw")
    db = kernel.reader()
    assert [one.gateway_id for one in gateways_of_site(db, "ATL1")] == ["ATL1-GW1"]
    assert get_gateway(db, "CLT1-GW1").every_s == 5
    with pytest.raises(GatewayNotFound):
        get_gateway(db, "ATL1-GW9")
    told = [(e.stream, e.audience) for e in log.read_all(db) if e.type == "telemetry.gateway_defined"]
    assert told == [("gateway/ATL1-GW1", "ATL1"), ("gateway/CLT1-GW1", "CLT1")]
    kernel.rebuild()


class TestSources:
    @pytest.fixture(autouse=True)
    def with_gateway(self, kernel: Kernel) -> None:
        small_network(kernel)
        put_in_force(kernel, gateway(), change_id="change-gw")

    @pytest.mark.parametrize("source", ["ATL1-GW1", "ATL1-GW1/", "ATL1-GW1/ ", "ATL1-GW1/a\nb", "ATL1-GW9/a"])
    def test_a_source_that_names_no_point_is_refused(self, kernel: Kernel, source: str) -> None:
        assert "items[0].source" in refused(kernel, sensor(source=source))

    def test_a_point_is_one_active_sensor_at_most(self, kernel: Kernel) -> None:
        put_in_force(kernel, sensor(source="ATL1-GW1/R1/air"), change_id="change-1")
        problem = refused(kernel, sensor(AIR_2, source="ATL1-GW1/R1/air"))["items[0].source"]
        assert AIR in problem.message
        put_in_force(
            kernel,
            sensor(active=False, source="ATL1-GW1/R1/air"),
            sensor(AIR_2, source="ATL1-GW1/R1/air"),
            change_id="change-2",
        )
        assert sensors_by_source(kernel.reader(), "ATL1") == {"ATL1-GW1/R1/air": AIR_2}
        kernel.rebuild()

    def test_two_sensors_of_one_change_are_not_the_same_point(self, kernel: Kernel) -> None:
        problems = refused(kernel, sensor(source="ATL1-GW1/a"), sensor(AIR_2, source="ATL1-GW1/a"))
        assert set(problems) == {"items[0].source", "items[1].source"}

    def test_a_gateway_and_its_sensors_come_in_one_change(self, kernel: Kernel) -> None:
        put_in_force(kernel, gateway("ATL1-GW2"), sensor(source="ATL1-GW2/a"), change_id="change-both")
        assert sensors_by_source(kernel.reader(), "ATL1") == {"ATL1-GW2/a": AIR}

    def test_a_sensor_without_a_source_is_unbound(self, kernel: Kernel) -> None:
        put_in_force(kernel, sensor(source="ATL1-GW1/a"), change_id="change-1")
        put_in_force(kernel, sensor(), change_id="change-2")
        assert sensors_by_source(kernel.reader(), "ATL1") == {}


def test_a_form_keeps_the_lines_of_a_map() -> None:
    kind = item_kinds()["gateway"]
    text = "points:\n  - register: 7\n    unit: C"
    [control] = [one for one in form_fields(kind, {"map": text}, {}) if one.name == "map"]
    assert (control.kind, control.value) == ("textarea", text)
    item, problems = item_of(kind, {"gateway_id": ["ATL1-GW1"], "map": [text.replace("\n", "\r\n") + "\r\n"]})
    assert (item["map"], problems) == (text, [])
