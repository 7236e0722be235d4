"""The shell: navigation by role, slots, themes, units; and the kit's small tools."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient
from markupsafe import Markup

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.money import Money
from coldgrid.webkit import assets, charts, formats, maps, shell
from coldgrid.webkit.shell import NavItem, PanelContext
from coldgrid.webkit.visitors import Visitor
from tests.webkit.tour import SITES, Tour, frame

Client = TestClient[Litestar]


class TestNavigation:
    def test_it_shows_what_the_roles_may_see(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shell, "_nav", [])
        shell.register_nav(NavItem(group="Run", label="Orders", href="/orders", icon="cart"))
        shell.register_nav(
            NavItem(group="", label="People", href="/people", icon="people", roles=frozenset({"admin"}))
        )
        seen = {
            role: [i.label for i in shell.nav_for(Visitor(principal=Principal("x", frozenset({role}))))]
            for role in ("admin", "operator")
        }
        assert seen == {"admin": ["People", "Orders"], "operator": ["Orders"]}

    def test_the_same_address_again_replaces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shell, "_nav", [])
        for label in ("Old", "New"):
            shell.register_nav(NavItem(group="Run", label=label, href="/x", icon="box"))
        assert [item.label for item in shell.nav_for(Visitor())] == ["New"]

    def test_an_unknown_group_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="group"):
            shell.register_nav(NavItem(group="Else", label="X", href="/x", icon="box"))

    def test_the_current_place_is_marked(self, client: Client) -> None:
        assert '<a href="/tour" aria-current="page">' in client.get("/tour").text


class TestSlots:
    def test_panels_show_in_order_and_a_broken_one_does_not_break_the_page(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(context: PanelContext) -> Markup | None:
            raise ZeroDivisionError

        monkeypatch.setattr(shell, "_panels", {})
        shell.register_panel(
            "tour", "end", lambda c: Markup("<p>second {}</p>").format(c.about["title"]), order=20
        )
        shell.register_panel("tour", "end", broken, order=15)
        shell.register_panel("tour", "end", lambda c: Markup("<p>first</p>"), order=10)
        shell.register_panel("tour", "end", lambda c: None, order=1)
        shell.register_panel("tour", "end", lambda c: Markup("<p>secret</p>"), roles=frozenset({"admin"}))
        text = client.get("/tour").text
        assert (
            text.index("first")
            < text.index("This part could not be shown")
            < text.index("second Control tower")
        )
        assert "secret" not in text


class TestPreferences:
    def test_the_theme_is_kept_and_the_server_writes_it_into_the_page(self, client: Client) -> None:
        answer = client.post(
            "/preferences", data={"theme": "dark"}, headers={"referer": "http://testserver.local/menu"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/menu")
        assert '<html lang="en" data-theme="dark"' in client.get("/tour").text
        client.post("/preferences", data={"theme": "system"})
        assert "data-theme=" not in client.get("/tour").text.split(">")[1]

    def test_temperatures_read_in_the_chosen_unit(self, client: Client) -> None:
        assert "−11.2 °C" in client.get("/tour").text
        client.post("/preferences", data={"unit": "f"})
        text = client.get("/tour").text
        client.post("/preferences", data={"unit": "c"})
        assert "11.8 °F" in text
        assert "−13 to −0.4 °F" in text

    def test_what_is_not_offered_is_ignored(self, client: Client) -> None:
        answer = client.post("/preferences", data={"theme": "<script>", "unit": "k"})
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize(
        "referer", ["https://evil.example/x", "", "http://evil.example/?http://testserver.local/"]
    )
    def test_the_way_back_never_leads_elsewhere(self, client: Client, referer: str) -> None:
        answer = client.post("/preferences", data={"unit": "c"}, headers={"referer": referer})
        assert answer.headers["location"].startswith("/")
        assert not answer.headers["location"].startswith("//")


class TestAssets:
    def test_an_asset_is_kept_for_ever_and_travels_packed(self, client: Client) -> None:
        address = assets.asset("src/style.css")
        answer = client.get(address, headers={"accept-encoding": "gzip"})
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        plain = client.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
        assert plain.headers["content-type"] == "text/css; charset=utf-8"

    @pytest.mark.parametrize("name", ["manifest.json", "nothing.js", "..%2Fapp.py", "%2e%2e%2fshell.py"])
    def test_nothing_else_is_served(self, client: Client, name: str) -> None:
        assert client.get(f"/static/{name}").status_code == 404

    def test_a_page_weighs_less_than_the_proof_did(self, client: Client) -> None:
        parts = [assets.asset("src/app.ts"), assets.asset("src/style.css"), "/tour"]
        packed = sum(len(gzip.compress(client.get(path).content, 6)) for path in parts)
        font = next(assets.STATIC.glob("inter-*.woff2")).stat().st_size
        assert packed + font < 130_000


class TestApiPage:
    def test_it_shows_the_commands_and_a_local_viewer(self, client: Client) -> None:
        text = client.get("/api").text
        assert "<code>tour.note</code>" in text
        assert 'src="/static/swagger-ui-bundle-' in text

    def test_the_document_describes_the_feed_and_the_commands(self, client: Client) -> None:
        paths = client.get("/api/v1/openapi.json").json()["paths"]
        assert {"/api/v1/events", "/api/v1/commands/{name}"} <= set(paths)
        assert "/login" not in paths


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (formats.temperature(-18.44), "−18.4 °C"),
        (formats.temperature(-18.44, "f"), "−1.2 °F"),
        (formats.temperature(None), "—"),
        (formats.difference(2.9), "+2.9 °C"),
        (formats.difference(0.04), "0.0 °C"),
        (formats.difference(-0.04), "0.0 °C"),
        (formats.temperature(-0.04), "0.0 °C"),
        (formats.difference(-1.0, "f"), "−1.8 °F"),
        (formats.band(2, 8), "2–8 °C"),
        (formats.band(-25, -18), "−25 to −18 °C"),
        (formats.band(None, -18), "≤ −18 °C"),
        (formats.band(2, 8, "f"), "35.6–46.4 °F"),
        (formats.band(None, None), "—"),
        (formats.money(Money(4_128_000)), "$41,280"),
        (formats.money(Money(-1250)), "−$12.50"),
        (formats.money(Money(999, "CHF")), "CHF 9.99"),
        (formats.money_short(Money(8_283_000)), "$82.8k"),
        (formats.money_short(Money(124_000_000)), "$1.24M"),
        (formats.count(1_048), "1,048"),
        (formats.percent(0.9684), "96.8 %"),
        (formats.weight(450), "450 g"),
        (formats.weight(8400), "8.4 kg"),
        (formats.zone_label("America/New_York", datetime(2026, 3, 1, tzinfo=UTC)), "America/New_York (EST)"),
        (formats.zone_label("Asia/Dubai", datetime(2026, 3, 1, tzinfo=UTC)), "Asia/Dubai (UTC+04)"),
        (formats.zone_label(None, datetime(2026, 3, 1, tzinfo=UTC)), "UTC"),
        (formats.true_minus(Markup("<time>3 -4</time>")), "<time>3 -4</time>"),
        (formats.true_minus("-18.2 °C, above -20.0 °C"), "−18.2 °C, above −20.0 °C"),
        (formats.in_words("-18.2 °C, above -20.0 °C, +1.4 °C/h"), "−18.2 °C, above −20.0 °C, +1.4 °C/h"),
        (formats.in_words("-18.2 °C, above -20 °C, +1.4 °C/h", "f"), "−0.8 °F, above −4 °F, +2.5 °F/h"),
        (formats.in_words("above 0 °C for 32 min", "f"), "above 32 °F for 32 min"),
        (formats.in_words("T1 was -0.20 °C off (CERT-7)", "f"), "T1 was −0.36 °F off (CERT-7)"),
        (formats.in_words("moved -1.2 °C away from the others", "f"), "moved −2.2 °F away from the others"),
        (formats.in_words("kept, warmest 7.04 °C", "f"), "kept, warmest 44.67 °F"),
        (formats.in_words(Markup("<b>8 °C</b>"), "f"), "<b>8 °C</b>"),
        (formats.true_minus("web-1120-00100 of 2026-03-01"), "web-1120-00100 of 2026-03-01"),
        (formats.actor("system:site_flows.hold_exposed", {}), "Coldgrid"),
        (formats.actor("person-sam", {"person-sam": "Sam Okafor"}), "Sam Okafor"),
        (formats.actor("gateway", {}), "gateway"),
        (formats.actor(None, {}), ""),
        (formats.duration(0.3), "18 s"),
        (formats.duration(48), "48 min"),
        (formats.duration(72), "1 h 12 min"),
        (formats.duration(60), "1 h"),
        (formats.duration(timedelta(days=3, hours=4)), "3 d 4 h"),
        (formats.duration(-5), "−5 min"),
        (formats.day(date(2026, 12, 31)), "31 Dec 2026"),
        (formats.initials("Dana Ortiz"), "DO"),
        (formats.initials("ana"), "AN"),
        (formats.initials(""), "?"),
    ],
)  # fmt: skip
def test_values_read_as_people_write_them(shown: str, text: str) -> None:
    assert shown == text


def test_an_instant_reads_in_the_sites_time_on_the_night_the_clocks_change() -> None:
    before = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    after = before + timedelta(hours=1)
    assert [formats.local(t, "America/New_York", "%H:%M %Z") for t in (before, after)] == [
        "01:30 EDT",
        "01:30 EST",
    ]
    assert formats.local(before, "Nowhere/At_All", "%H:%M %Z") == "05:30 UTC"


@given(st.floats(min_value=-80, max_value=80))
def test_a_temperature_says_the_same_in_both_units(value_c: float) -> None:
    assert (formats.in_unit(value_c, "f") - 32) / 1.8 == pytest.approx(value_c, abs=1e-9)


class TestCharts:
    @pytest.mark.parametrize("text", ["</script><script>", "<!--", "&amp;", "]]>"])
    def test_data_cannot_leave_its_element(self, text: str) -> None:
        data = charts.json_data({"label": text})
        assert not set("<>&") & set(data)
        assert msgspec.json.decode(str(data).encode()) == {"label": text}

    def test_a_frame_has_columns_of_one_length(self) -> None:
        made = frame()
        lengths = {len(c) for c in (made.t, made.air, made.product, made.product_lo, made.product_hi)}
        assert lengths == {240}

    def test_a_spark_of_too_little_is_nothing(self) -> None:
        assert charts.spark([1.0]) == ""
        assert charts.spark([None, None]) == ""
        assert "NaN" not in charts.spark([2.0, 2.0, None, 2.0])


def pin(code: str, x: float, y: float, *, state: str = "ok", selected: bool = False) -> maps.Pin:
    return maps.Pin(
        code=code,
        place="Town",
        x=x,
        y=y,
        state=state,
        figure="−18.2°",
        told=code,
        href=f"/?site={code}",
        selected=selected,
    )


class TestMap:
    @pytest.mark.parametrize(
        ("_place", "lat", "lon"), [(code, lat, lon) for code, _, lat, lon, _, _ in SITES]
    )
    def test_every_place_lies_on_the_map(self, _place: str, lat: float, lon: float) -> None:
        base = assets.basemap()
        x, y = maps.project(lat, lon)
        assert 0 < x < base.width
        assert 0 < y < base.height

    def test_west_is_left_and_north_is_up(self) -> None:
        (seattle_x, seattle_y), (tampa_x, tampa_y) = maps.project(47.4, -122.2), maps.project(28.0, -82.0)
        assert seattle_x < tampa_x
        assert seattle_y < tampa_y

    def test_two_ways_of_a_lane_differ(self) -> None:
        one, other = (33.6, -84.4), (35.4, -80.6)
        assert maps.lane_path(one, other) != maps.lane_path(other, one)

    def test_a_label_at_the_edge_stays_on_the_map(self) -> None:
        edge = float(assets.basemap().width)
        near, far = maps.labelled([pin("ATL1", edge - 30, 200.0), pin("CLT1", 100.0, 200.0)])
        assert near.label.x < 0 < far.label.x
        assert near.label.shown
        assert far.label.shown

    def test_a_narrow_screen_names_the_selected_site_and_those_with_trouble(self) -> None:
        calm, chosen = pin("ATL1", 100.0, 100.0), pin("CLT1", 400.0, 100.0, selected=True)
        troubled = pin("DEN1", 400.0, 300.0, state="off")
        found = maps.labelled([calm, chosen, troubled])
        assert [one.small.shown for one in found] == [False, True, True]
        assert all(one.label.shown for one in found)

    def test_in_a_crowd_the_selected_site_and_the_worst_are_named_first(self) -> None:
        crowd = [pin(f"S{n:02}1", 40.0 + 16 * n, 200.0, state="warn") for n in range(40)]
        crowd[20] = pin("WRS1", 360.0, 200.0, state="crit")
        crowd[30] = pin("ZZZ1", 520.0, 200.0, selected=True)
        found = {one.code: one.small.shown for one in maps.labelled(crowd)}
        assert found["WRS1"]
        assert found["ZZZ1"]
        assert not all(found.values())

    @given(
        st.lists(
            st.tuples(
                st.floats(0, 720),
                st.floats(0, 436),
                st.sampled_from(["ok", "warn", "crit", "off"]),
                st.booleans(),
            ),
            max_size=20,
        ),
        st.sampled_from([1.0, maps.SMALL_SCALE]),
    )
    def test_no_label_that_is_shown_covers_another_or_a_mark_or_leaves_the_map(
        self, places: list[tuple[float, float, str, bool]], scale: float
    ) -> None:
        pins = [
            pin(f"S{n:02}1", x, y, state=state, selected=one and n == 0)
            for n, (x, y, state, one) in enumerate(places)
        ]
        labels = maps.place_labels(pins, scale, [True] * len(pins))
        boxes = {
            n: (
                p.x + at.x * scale,
                p.y + at.y * scale,
                p.x + (at.x + at.width) * scale,
                p.y + (at.y + 22) * scale,
            )
            for n, (p, at) in enumerate(zip(pins, labels, strict=True))
            if at.shown
        }
        for n, (left, top, right, bottom) in boxes.items():
            assert left >= -0.1
            assert right <= assets.basemap().width + 0.1
            for other, p in enumerate(pins):
                if other != n:
                    assert not (left < p.x < right and top < p.y < bottom)
                if other in boxes and other > n:
                    o = boxes[other]
                    apart = (
                        left >= o[2] - 0.2 or o[0] >= right - 0.2 or top >= o[3] - 0.2 or o[1] >= bottom - 0.2
                    )
                    assert apart

    def test_sixty_labels_are_placed_while_nobody_waits(self) -> None:
        pins = [pin(f"S{n:02}1", 20.0 + 97 * (n % 8), 20.0 + 45 * (n // 8), state="warn") for n in range(60)]
        begin_s = time.thread_time()
        maps.labelled(pins)
        assert time.thread_time() - begin_s < 0.5


def test_the_page_asks_for_its_stream_with_its_topics(client: Client, tour: Tour) -> None:
    assert 'sse-connect="/stream?topics=tour%2Csite/ATL1"' in client.get("/tour").text


def test_what_a_template_prints_is_escaped(client: Client) -> None:
    answer: Any = client.get("/tour?site=<script>alert(1)</script>")
    assert "<script>alert" not in answer.text
