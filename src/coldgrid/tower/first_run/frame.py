"""What every page of the set-up has: the guard, the list of steps, the way on."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.network.profile import SetUpOver, set_up_open
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.progress import TITLES, Progress, progress_of
from coldgrid.webkit.forms import NO_FORM, Form, refused_form
from coldgrid.webkit.problems import status_of
from coldgrid.webkit.shell import page

Req = Request[Any, Any, Any]
SET_UP = {"action": "network.set_up"}
ORDER = list(TITLES)


def must_be_open(db: Reader) -> None:
    """Refuse a network that is not being set up.

    Raises:
        SetUpOver: its set-up ended, or it was there before there was one.
    """
    if not set_up_open(db):
        raise SetUpOver()


def after(key: str) -> str:
    """Return the address of the step after this one."""
    return f"{WELCOME}/{ORDER[ORDER.index(key) + 1]}"


def step_page(
    request: Req,
    db: Reader,
    key: str,
    form: Form = NO_FORM,
    *,
    progress: Progress | None = None,
    **context: Any,
) -> Response[str]:
    """Answer with a step's page.

    Raises:
        SetUpOver: see `must_be_open`.
    """
    must_be_open(db)
    progress = progress or progress_of(db)
    return page(
        request,
        f"tower/first_run/{key}.html",
        db,
        title=f"Set up: {TITLES[key].lower()}",
        nav=WELCOME,
        steps=progress.steps,
        progress=progress,
        current=key,
        number=ORDER.index(key) + 1,
        following=after(key) if key != ORDER[-1] else "",
        before=f"{WELCOME}/{ORDER[ORDER.index(key) - 1]}" if key != ORDER[0] else "",
        form=form,
        status_code=form.status,
        **context,
    )


def refused(rejected: Rejected, values: dict[str, list[str]]) -> Form:
    """Return the form to show again."""
    return refused_form(rejected, values, status_of(rejected))
