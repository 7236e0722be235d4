"""A node's side: joining with a code, talking to the tower over mutual TLS, renewing without a pause.

Invariants
    T1  A node talks to nobody but the authority that its code named: the pin is compared before the secret
        is told, and afterwards only certificates of that authority for servers are accepted, or of one that
        it vouches for (`trusting`).
    T2  The private key never leaves the node's folder.
    T3  Joining and renewing can be asked again after any failure, with the same key and so for the same
        certificate.
    T4  A renewal loses no request: those under way end on the old connections, later ones use the new one.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from coldgrid.sync import authority as ca
from coldgrid.sync import identity_files as files
from coldgrid.sync.admission import Run
from coldgrid.sync.authorities import name_of
from coldgrid.sync.authority import BadCertificate, Entropy
from coldgrid.sync.codes import EnrolmentCode, parse_code
from coldgrid.sync.gate import run_header
from coldgrid.sync.identity_files import KnownTower, NodeIdentity, NotEnrolled
from coldgrid.sync.registrar import AuthorityTold, EnrolAsked, Granted, RenewAsked
from coldgrid.sync.trusting import certified_by, made_by, pinned_context, unpinned_context
from coldgrid.sync.unreached import why_unreached

CONNECT_S = 10.0
ANSWER_S = 60.0
ANSWER_BYTES_MAX = 64 * 1024


class TowerRefused(Exception):
    """The tower refused. `code` is the refusal's stable name; the message says the rule and what to do."""

    def __init__(self, status: int, code: str, told: str) -> None:
        self.status = status
        self.code = code
        super().__init__(told)


class TowerUnreachable(Exception):
    """The tower could not be reached, or what answered is not the tower."""


class WrongTower(TowerUnreachable):
    """What answers there is not the tower that the code was made by; the secret was not told."""


class Joined(msgspec.Struct, frozen=True):
    """What joining brought: who the node is now, and until when its certificate holds (system clock)."""

    network: str
    site_id: str
    node_id: str
    tower_url: str
    folder: Path
    not_after: datetime
    signing_keys: list[str]


# --- Asking ------------------------------------------------------------------------


def tower_address(url: str) -> str:
    """Return the address of a tower's port for nodes, as `https://host:port`.

    Raises:
        ValueError: it is none, or not HTTPS.
    """
    parts = urlsplit(url if "//" in url else f"https://{url}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or port == 0 or parts.path.strip("/") or parts.query:
        raise ValueError(f"the tower's address looks like https://tower.example:8443, not {url!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}:{port}" if port else f"https://{host}"


def _client(address: str, context: ssl.SSLContext, headers: dict[str, str] | None = None) -> httpx.Client:
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=540.0)
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    return httpx.Client(
        base_url=address, verify=context, headers=headers, limits=limits, timeout=timeout, trust_env=False
    )


def _ask(client: httpx.Client, method: str, path: str, body: Any = None) -> bytes:
    """Send one small request, and return the answer.

    Raises:
        TowerRefused: with the code of the refusal.
        TowerUnreachable: nothing like a tower answered.
    """
    content = b"" if body is None else msgspec.json.encode(body)
    try:
        with client.stream(method, path, content=content) as response:
            answer = b""
            for chunk in response.iter_raw():
                answer += chunk
                if len(answer) > ANSWER_BYTES_MAX:
                    raise TowerUnreachable(f"{client.base_url} answers too much to be a tower")
    except httpx.HTTPError as error:
        raise TowerUnreachable(why_unreached(str(client.base_url), error)) from error
    if response.status_code != 200:
        raise refusal_of(response.status_code, answer)
    return answer


def refusal_of(status: int, body: bytes) -> TowerRefused:
    """Read a refusal (RFC 9457)."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = {}
    code = str(told.get("code", "unknown"))
    text = " ".join(str(told[part]) for part in ("detail", "todo") if told.get(part))
    return TowerRefused(status, code, text or f"the tower answered {status}")


# --- Joining ----------------------------------------------------------------------


def join(
    tower_url: str,
    code: str,
    folder: Path,
    now: datetime,
    entropy: Entropy,
    signing_keys: Sequence[str] = (),
) -> Joined:
    """Enrol the node in `folder` at a tower: make its key, get its certificate, keep both, and use them once.

    Args:
        tower_url: The tower's port for nodes, https://host:port.
        code: The enrolment code, as typed.
        folder: Where the node's identity is kept; made when missing.
        now: The system clock; only told when the certificate seems to be of another time.
        entropy: The host's randomness.
        signing_keys: The lines of the keys that the node signs its logs with.

    Raises:
        ValueError: the address is none; BadCode: the code is none.
        WrongTower: another authority answers than the code names. Nothing secret was told.
        TowerUnreachable, TowerRefused: try again later, or with another code (T3).
    """
    address, parsed = tower_address(tower_url), parse_code(code)
    already = _joined_with(folder, parsed)
    if already is not None:
        return already
    told = authority_at(address)
    if not made_by(parsed, told):
        raise WrongTower(f"{address} is not the tower that made this code; nothing was told to it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = files.next_key(folder, entropy)
    asked = EnrolAsked(parsed.secret, ca.make_request(key).decode(), tuple(signing_keys))
    with _client(address, pinned_context(told.authority)) as client:
        granted = _granted(_ask(client, "POST", "/sync/v1/enrol", asked))
    tower = KnownTower(
        url=address,
        network=granted.network,
        authority=told.authority,
        site_id=granted.site_id,
        node_id=granted.node_id,
        signing_keys=granted.signing_keys,
        joined_with=parsed.secret_hash,
    )
    identity = files.keep_certificate(folder, key, granted.certificate, tower)
    with TowerLink(folder, files.begin_run(folder, entropy)) as link:
        link.standing()
    return _joined(identity, folder)


def _joined_with(folder: Path, code: EnrolmentCode) -> Joined | None:
    """Return what joining brought, where the node in a folder joined with this very code already (T3)."""
    try:
        identity = files.open_identity(folder)
    except (NotEnrolled, BadCertificate):
        return None
    return _joined(identity, folder) if identity.tower.joined_with == code.secret_hash else None


def _joined(identity: NodeIdentity, folder: Path) -> Joined:
    tower, until = identity.tower, identity.shown.not_after
    return Joined(
        tower.network, tower.site_id, tower.node_id, tower.url, folder, until, list(tower.signing_keys)
    )


def authority_at(address: str) -> AuthorityTold:
    """Ask who certifies at an address. The answer is anybody's word until its fingerprint was compared.

    Raises:
        TowerUnreachable: nothing like a tower answered.
    """
    with _client(address, unpinned_context()) as client:
        try:
            answer = _ask(client, "GET", "/sync/v1/authority")
            told = msgspec.json.decode(answer, type=AuthorityTold)
            ca.load_certificate(told.authority.encode())
        except (msgspec.MsgspecError, UnicodeDecodeError, BadCertificate, TowerRefused) as error:
            raise TowerUnreachable(
                f"{address} answers, but not as a tower's port for nodes: {error}"
            ) from None
    return told


def _granted(answer: bytes) -> Granted:
    try:
        return msgspec.json.decode(answer, type=Granted)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TowerUnreachable(f"the tower's answer cannot be read: {error}") from None


# --- The link of an enrolled node ---------------------------------------------------


class TowerLink:
    """A node's connections to its tower, with its certificate. Threads may share it.

    Args:
        folder: The node's identity.
        run: This start of the program, from `identity_files.begin_run`.

    Raises:
        NotEnrolled, BadCertificate, PermissionError: see `identity_files.open_identity`.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder = folder
        self._run = run
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._identity = files.open_identity(folder)
        self._client = self._connect()
        self._users: dict[int, int] = {}
        self._closed = False

    def __enter__(self) -> TowerLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def identity(self) -> NodeIdentity:
        """Who the node is, with its present certificate."""
        return self._identity

    @property
    def authority(self) -> str:
        """The authority that this node's tower is known by, as the facts name it (`authorities.name_of`)."""
        return name_of(ca.load_certificate(self._identity.tower.authority.encode()))

    @property
    def authority_before(self) -> str:
        """The one before it, where that is still trusted; else empty."""
        before = self._identity.tower.before
        return name_of(ca.load_certificate(before.encode())) if before else ""

    def post(self, frame: bytes, timeout_s: float = ANSWER_S, path: str = "/sync/v1") -> bytes:
        """Send a frame, and return the frame that answers.

        Raises:
            TowerRefused: with the code of the refusal.
            TowerUnreachable: no answer; whether the tower took the frame is unknown.
        """
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)

        def ask(client: httpx.Client) -> bytes:
            try:
                response = client.post(path, content=frame, timeout=timeout)
            except httpx.HTTPError as error:
                raise TowerUnreachable(why_unreached(str(client.base_url), error)) from error
            if response.status_code != 200:
                raise refusal_of(response.status_code, response.content)
            return response.content

        return self._with_client(ask)

    def standing(self) -> dict[str, str]:
        """Ask who the tower takes this node for."""
        answer = self._with_client(lambda client: _ask(client, "GET", "/sync/v1/standing"))
        found: dict[str, str] = msgspec.json.decode(answer)
        return found

    def renewal_due(self, now: datetime) -> bool:
        """Tell whether two thirds of the certificate's life are over (system clock)."""
        shown = self._identity.shown
        return now >= ca.renew_from(shown.not_before, shown.not_after)

    def renew(self, entropy: Entropy) -> datetime:
        """Get the next certificate and go on with it; return until when it holds (T3, T4).

        Raises:
            TowerRefused, TowerUnreachable: the present one stays; ask again later.
            BadSuccession: what certifies there is not vouched for by the authority that this node knows.
        """
        with self._renewing:
            key = files.next_key(self._folder, entropy)
            asked = RenewAsked(ca.make_request(key).decode())
            answer = self._with_client(lambda client: _ask(client, "POST", "/sync/v1/renew", asked))
            granted = _granted(answer)
            known = certified_by(self._identity.tower, granted)
            tower = msgspec.structs.replace(known, signing_keys=granted.signing_keys)
            self._identity = files.keep_certificate(self._folder, key, granted.certificate, tower)
            self._swap(self._connect())
            return self._identity.shown.not_after

    def forget_before(self) -> None:
        """Trust the authority before no more, once this node's own certificate is by the present one."""
        with self._renewing:
            tower = self._identity.tower
            if tower.before:
                self._identity = files.keep_tower(self._folder, msgspec.structs.replace(tower, before=""))
                self._swap(self._connect())

    def close(self) -> None:
        """Close the connections; those under way end when they are done."""
        with self._lock:
            self._closed = True
        self._swap(None)

    # --- connections --------------------------------------------------------------------

    def _connect(self) -> httpx.Client:
        identity = self._identity
        context = pinned_context(identity.tower.trusted_pem, identity.chain)
        return _client(identity.tower.url, context, {"coldgrid-run": run_header(self._run)})

    def _with_client(self, ask: Callable[[httpx.Client], bytes]) -> bytes:
        """Ask with the present certificate; where it was renewed meanwhile and so refused, ask again (T4)."""
        client = self._borrow()
        try:
            return ask(client)
        except TowerRefused as refused:
            if refused.code != "certificate_superseded" or client is self._client:
                raise
        finally:
            self._give_back(client)
        return self._with_client(ask)

    def _borrow(self) -> httpx.Client:
        with self._lock:
            if self._closed:
                raise TowerUnreachable("the link is closed")
            self._users[id(self._client)] = self._users.get(id(self._client), 0) + 1
            return self._client

    def _give_back(self, client: httpx.Client) -> None:
        with self._lock:
            left = self._users[id(client)] - 1
            if left:
                self._users[id(client)] = left
                return
            del self._users[id(client)]
            unused = self._closed or client is not self._client
        if unused:
            client.close()

    def _swap(self, fresh: httpx.Client | None) -> None:
        with self._lock:
            old = self._client
            if fresh is not None:
                self._client = fresh
            unused = id(old) not in self._users
        if unused:
            old.close()
