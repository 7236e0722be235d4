"""Which playbooks there are: those that come with the program and those that a site's log keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import NotFound
from coldgrid.orchestration import runs
from coldgrid.orchestration.playbook_file import load_playbook, playbook_hash
from coldgrid.orchestration.playbook_model import Playbook


class PlaybookNotFound(NotFound):
    """There is no such playbook here."""


@lru_cache(maxsize=1)
def shipped() -> dict[str, str]:
    """The sources that come with this release, by name."""
    folder = files("coldgrid.orchestration").joinpath("playbooks")
    sources = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {parsed(source).name: source for source in sources}


@lru_cache(maxsize=256)
def parsed(source: str) -> Playbook:
    """A playbook from its source; the same source is read once.

    Raises:
        Invalid: it is no playbook.
    """
    return load_playbook(source)


def current_playbook(db: Reader, site_id: str, name: str) -> Playbook | None:
    """The playbook that a new run of a name uses at a site: the highest version, published or shipped."""
    own = shipped().get(name)
    candidates = [parsed(own)] if own is not None else []
    found = runs.current_hash(db, site_id, name)
    if found is not None:
        candidates.append(playbook_of(db, found[0]))
    return max(candidates, key=lambda playbook: playbook.version, default=None)


def playbooks_in_use(db: Reader, site_ids: Sequence[str]) -> list[tuple[Playbook, list[str]]]:
    """Each playbook that new runs use at some of these sites, with those sites, by name and version."""
    published = {(site_id, name): hash_ for site_id, name, hash_ in runs.published_hashes(db)}
    found: dict[str, tuple[Playbook, list[str]]] = {}
    for name, source in sorted(shipped().items()):
        own = parsed(source)
        for site_id in site_ids or [""]:
            hash_ = published.get((site_id, name))
            used = own if hash_ is None else max(own, playbook_of(db, hash_), key=lambda one: one.version)
            found.setdefault(used.hash, (used, []))[1].append(site_id)
    return list(found.values())


def playbook_of(db: Reader, hash_: str) -> Playbook:
    """The playbook of a hash, out of the log or this release.

    Raises:
        PlaybookNotFound: neither knows it.
    """
    return parsed(source_of(db, hash_))


def source_of(db: Reader, hash_: str) -> str:
    """The bytes of a playbook.

    Raises:
        PlaybookNotFound: neither the log nor this release knows it.
    """
    for source in shipped().values():
        if playbook_hash(source) == hash_:
            return source
    source_kept = runs.kept_source(db, hash_)
    if source_kept is None:
        raise PlaybookNotFound(hash=hash_)
    return source_kept


def kept(playbook: Playbook, source: str, *, current: bool) -> runs.PlaybookKept:
    """The event that puts a playbook on record."""
    return runs.PlaybookKept(
        hash=playbook.hash, name=playbook.name, version=playbook.version, source=source, current=current
    )
