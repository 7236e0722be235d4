"""What telemetry shows on other rooms' pages: a zone's defrost plan, readings that are lost, its alarms."""

from __future__ import annotations

from collections.abc import Sequence

from litestar.types import ControllerRouterHandler
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.sources import Source, register_source, zone_page
from coldgrid.telemetry.alarms import find_alarm
from coldgrid.telemetry.defrosts import plan_of_zone
from coldgrid.telemetry.losses import Loss, losses_of_site, losses_of_zone
from coldgrid.webkit.shell import PanelContext, register_panel

LOSSES_SHOWN = 10


def _defrost(c: PanelContext) -> Markup:
    """Show when a zone defrosts."""
    return c.render("telemetry/_defrost.html", plan=plan_of_zone(c.db, c.about["zone"].zone_id))


def _losses(c: PanelContext) -> Markup | None:
    """Show a site's lost readings; of what is whole it says nothing."""
    return _shown(c, losses_of_site(c.db, c.about["site"].site_id))


def _zone_losses(c: PanelContext) -> Markup | None:
    """Show a zone's lost readings, whenever they were measured."""
    return _shown(c, losses_of_zone(c.db, c.about["zone"].zone_id))


def _shown(c: PanelContext, found: Sequence[Loss]) -> Markup | None:
    if not found:
        return None
    more = max(0, len(found) - LOSSES_SHOWN)
    return c.render("telemetry/_losses.html", losses=found[:LOSSES_SHOWN], more=more)


def _alarm(db: Reader, id_: str) -> Source | None:
    """Tell of an alarm that a decision rests on: which sensor saw what, and when."""
    alarm = find_alarm(db, id_)
    if alarm is None:
        return None
    facts = {"sensor": alarm.sensor_id, "zone": alarm.zone_id, "why": alarm.why}
    return Source(
        id=id_,
        text="Alarm of {sensor} in {zone}: {why}",
        facts=facts,
        at=alarm.raised_at,
        href=zone_page(alarm.site_id, alarm.zone_id),
    )


register_source("telemetry.alarms", _alarm)
register_panel("site", "main", _losses, order=30)
register_panel("network_zone", "main", _zone_losses, order=30)
register_panel("network_zone", "side", _defrost, order=40)
handlers: list[ControllerRouterHandler] = []
