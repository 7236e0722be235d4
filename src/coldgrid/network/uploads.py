"""What pages and API of changes share: uploaded files, and ids of changes that make a retry harmless."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from litestar import Request
from litestar.datastructures import UploadFile

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.network.changes import count_changes
from coldgrid.network.imports import SIZE_MAX_BYTES, SourceFile
from coldgrid.webkit.visitors import visitor_of

Req = Request[Any, Any, Any]
FILES_MAX = 20
# All files of one import, with what their form adds.
BODY_BYTES_MAX = 2 * SIZE_MAX_BYTES


async def files_of(request: Req) -> list[SourceFile]:
    """Return the files of a multipart form, in the order sent; controls without a file are left out.

    Raises:
        Invalid: there are more than one import takes; none is left out without a word.
    """
    sent = [part for _, part in (await request.form()).multi_items() if isinstance(part, UploadFile)]
    parts = [part for part in sent if part.filename]
    if len(parts) > FILES_MAX:
        message = f"{len(parts)} files are more than {FILES_MAX}"
        raise Invalid([Problem(field="file", message=message, fix="import them in parts")])
    return [SourceFile(part.filename, await part.read()) for part in parts]


def change_id_for(request: Req, db: Reader, key: str | None, content: bytes) -> str:
    """Return the id of a new change: the same for a form or a request that is sent again.

    Without a key the same content is another change once any other change was drafted.
    """
    actor = visitor_of(request).principal.actor_id
    said = key or f"{sha256(content).hexdigest()} {count_changes(db)}"
    return derive_id("change", actor, said)
