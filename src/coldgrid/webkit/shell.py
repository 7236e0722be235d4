"""The page shell: navigation that rooms register, pages whose slots rooms fill, and the one way to render.

Invariants
    S1  A page that spans rooms is a template with slots; a panel that fails is shown as failed, not the page.
    S2  Templates are named "room/file.html" and lie in the room's own templates folder.
    S3  Everything is escaped unless a template says otherwise; an undefined name is an error, not
        an empty text.
"""

from __future__ import annotations

import gettext
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from litestar import Request, Response
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.webkit import charts, formats, forms
from coldgrid.webkit.assets import asset, basemap
from coldgrid.webkit.notices import notice_of, pending_notice
from coldgrid.webkit.visitors import Visitor, visitor_of

Req = Request[Any, Any, Any]
GROUPS = ("", "Run", "Assure", "Plan", "Set up")
PHONE_TABS = 4
HTML = "text/html"
_log = structlog.get_logger(__name__)


class Badge(msgspec.Struct, frozen=True):
    """A count beside a navigation item; `hot` when somebody must act."""

    count: int
    hot: bool = False


class NavItem(msgspec.Struct, frozen=True, kw_only=True):
    """One place in the navigation. `roles` None: everybody. `phone`: also on a phone's bottom bar.

    `shown` tells whether there is anything to see there; without it there always is. `topic`: where news of
    the badge's count is told; a page that is live follows it.
    """

    group: str
    label: str
    href: str
    icon: str
    roles: frozenset[str] | None = None
    badge: Callable[[Reader, Visitor], Badge | int | None] | None = None
    order: int = 100
    phone: bool = False
    shown: Callable[[Reader], bool] | None = None
    topic: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """What a room shows in a slot of a page. `render` returns markup, or None to show nothing."""

    page: str
    slot: str
    order: int
    render: Callable[[PanelContext], Markup | None]
    roles: frozenset[str] | None = None


class PanelContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a panel is given: the request, a reader, and what the page is about."""

    request: Req
    db: Reader
    visitor: Visitor
    about: Mapping[str, Any]

    def render(self, template: str, **context: Any) -> Markup:
        """Render one of the room's templates."""
        return Markup(render(self.request, template, {"db": self.db, **self.about, **context}))


_nav: list[NavItem] = []
_panels: dict[tuple[str, str], list[Panel]] = {}


def register_nav(item: NavItem) -> None:
    """Add a place to the navigation; registering the same address again replaces it.

    Raises:
        ValueError: the group is not one of `GROUPS`.
    """
    if item.group not in GROUPS:
        raise ValueError(f"{item.label}: the group is none of {GROUPS}")
    _nav[:] = [other for other in _nav if other.href != item.href]
    _nav.append(item)
    _nav.sort(key=lambda i: (GROUPS.index(i.group), i.order, i.label))


def register_panel(
    page: str,
    slot: str,
    render_panel: Callable[[PanelContext], Markup | None],
    *,
    order: int = 100,
    roles: frozenset[str] | None = None,
) -> None:
    """Fill a slot of another room's page. Panels show by `order`, then in the order of registration."""
    panels = _panels.setdefault((page, slot), [])
    panels.append(Panel(page=page, slot=slot, order=order, render=render_panel, roles=roles))
    panels.sort(key=lambda panel: panel.order)


def nav_for(visitor: Visitor) -> list[NavItem]:
    """Return the places a visitor may see, in order."""
    return [item for item in _nav if item.roles is None or not item.roles.isdisjoint(visitor.roles)]


def environment(root: Path, more: Mapping[str, Path] | None = None) -> Environment:
    """Return the template environment over every room's templates folder below `root` (S2, S3).

    `more`: further rooms, such as a test's, by name and templates folder.
    """
    folders = {path.parent.name: path for path in sorted(root.glob("*/templates"))} | dict(more or {})
    rooms = {name: FileSystemLoader(path) for name, path in folders.items()}
    jinja = Environment(
        loader=PrefixLoader(rooms),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    jinja.install_gettext_translations(gettext.NullTranslations(), newstyle=True)  # type: ignore[attr-defined]
    jinja.filters.update(formats.FILTERS)
    jinja.filters["json_data"] = charts.json_data
    jinja.globals.update(formats.GLOBALS)
    jinja.globals.update(
        asset=asset, basemap=basemap, spark=charts.spark, field_of=forms.field_of, tokens=_tokens
    )
    return jinja


@pass_context
def _tokens(context: Context) -> Markup:
    """The two hidden fields of every form: the session's token, and a key against a second press."""
    hidden = '<input type="hidden" name="_csrf" value="{}"><input type="hidden" name="_key" value="{}">'
    return Markup(hidden).format(context["csrf"], context["fresh_key"]())


def page(request: Req, template: str, db: Reader, *, status_code: int = 200, **context: Any) -> Response[str]:
    """Answer with a whole page (or, to htmx, with the part the template's `part` block names).

    Context that the shell reads: `title`, `nav` (the address of the current navigation item), `topics` (what
    the page's event stream follows), `timezone` (of the site shown), `slots` (page name for panels).
    """
    text = render(request, template, {"db": db, **context})
    response = Response(text, status_code=status_code, media_type=HTML)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "HX-Request, Cookie"
    if pending_notice(request) is not None:
        response.delete_cookie("coldgrid_notice", path="/")
    return response


def fragment(request: Req, template: str, db: Reader, **context: Any) -> Response[str]:
    """Answer with a piece of a page, for htmx to swap in."""
    text = render(request, template, {"db": db, **context})
    return Response(text, media_type=HTML, headers={"Cache-Control": "no-store"})


def render(request: Req, template: str, context: Mapping[str, Any]) -> str:
    """Render a template with what every page has."""
    app = request.app.state
    visitor = visitor_of(request)
    db = context.get("db")
    about = {name: value for name, value in context.items() if name != "db"}
    shown = _nav_shown(db, visitor)
    base: dict[str, Any] = {
        "request": request,
        "visitor": visitor,
        "csrf": visitor.csrf,
        "fresh_key": app.door.fresh_key,
        "unit": visitor.unit,
        "timezone": visitor.timezone,
        "now": app.now(),
        "theme": theme_of(request),
        "notice": notice_of(request),
        "nav_items": shown,
        "phone_tabs": [entry for _, entries in shown for entry in entries if entry["item"].phone][
            :PHONE_TABS
        ],
        "nav": "",
        "title": "",
        "topics": (),
        "form": forms.NO_FORM,
        "brand": app.brand,
        "clock_note": app.clock_note,
        "search": app.search,
        "path": request.scope["path"],
        "slot": lambda page_name, name: _slot(request, db, page_name, name, about),
    }
    jinja: Environment = app.templates
    shown_with = base | dict(context)
    if visitor.known and (everywhere := app.get("shell_topics")):
        # What the shell itself shows live, it shows live on every page.
        shown_with["topics"] = (*shown_with["topics"], *everywhere)
    if visitor.known and shown_with["topics"]:
        counted = [item.topic for item in nav_for(visitor) if item.badge and item.topic]
        shown_with["topics"] = tuple(dict.fromkeys((*shown_with["topics"], *counted)))
    return jinja.get_template(template).render(shown_with)


def theme_of(request: Req) -> str:
    """Return the theme the reader chose ("light", "dark"), or "" for the system's."""
    theme = request.cookies.get("coldgrid_theme", "")
    return theme if theme in ("light", "dark") else ""


def _nav_shown(db: Reader | None, visitor: Visitor) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in nav_for(visitor):
        if item.shown is not None and (db is None or not item.shown(db)):
            continue
        badge = item.badge(db, visitor) if item.badge and db is not None else None
        shown = Badge(badge) if isinstance(badge, int) else badge
        groups.setdefault(item.group, []).append(
            {"item": item, "badge": shown if shown and shown.count else None}
        )
    return list(groups.items())


def _slot(request: Req, db: Reader | None, page_name: str, name: str, about: Mapping[str, Any]) -> Markup:
    visitor = visitor_of(request)
    if db is None:
        return Markup("")
    context = PanelContext(request=request, db=db, visitor=visitor, about=about)
    shown = []
    for panel in _panels.get((page_name, name), []):
        if panel.roles is not None and panel.roles.isdisjoint(visitor.roles):
            continue
        try:
            shown.append(panel.render(context))
        except Exception as fault:  # S1: the other panels are still true
            _log.error(
                "panel failed", page=page_name, slot=name, panel=panel.render.__qualname__, exc_info=fault
            )
            shown.append(Markup(render(request, "webkit/_panel_failed.html", {})))
    return Markup("\n").join(part for part in shown if part)
