"""The `coldgrid` command. Data goes to stdout, words and progress to stderr; `--json` prints JSON alone.

Commands import what they run when they run it, so that `coldgrid --help` answers at once.
"""

# ruff: noqa: PLC0415 (imports inside commands, see above)

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from coldgrid.cli.history_app import history_app
from coldgrid.cli.options import Json, Where
from coldgrid.cli.output import Output, print_rejection
from coldgrid.cli.sensor_commands import sensors_app
from coldgrid.cli.upkeep import UPKEEP
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.rejections import Rejected

# How many more objects than before make the collector look. With Python's own 700 it looks time and again at
# all that a command imports, and all of that stays.
YOUNG_MAX = 100_000

app = App(
    name="coldgrid", help="Run many small cold-chain sites as one network.", version_flags=["--version"]
)
scenario_app = App(name="scenario", help="Play a night in virtual time through the real code.")
app.command(scenario_app)
tower_app = App(name="tower", help="Serve the tower, and the port that the sites' nodes come to.")
app.command(tower_app)
node_app = App(name="node", help="Serve the node of one site, which works on with the WAN down.")
app.command(node_app)
for upkeep in UPKEEP:
    app.command(upkeep)
app.command(history_app)
app.command(sensors_app)


@app.command
def demo(
    *,
    host: str | None = None,
    port: int | None = None,
    scale: float = 60.0,
    folder: Path = Path(".coldgrid/demo"),
) -> None:
    """Serve the live demo network: twelve sites, real goods, and a freezer that fails at night.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        scale: How many times faster than real time the business clock runs.
        folder: Where the demo keeps its database; it is made anew at every start.
    """
    from coldgrid.tower.demo.serve import serve_demo

    serve_demo(os.environ, folder=folder, scale=scale, host=host, port=port)


@app.command
def network_demo(
    *,
    port: int = 8090,
    tower_port: int = 8080,
    folder: Path = Path(".coldgrid/network"),
) -> None:
    """Serve a tower and three nodes as processes of their own, and a page with a switch for each.

    Args:
        port: Port of the page with the switches.
        tower_port: Port of the tower; the nodes, the lines between them and the tower take those after it.
        folder: Where the demo keeps its databases; it is made anew at every start.
    """
    from coldgrid.tower.demo.network import serve_network

    serve_network(os.environ, folder=folder, port=port, tower_port=tower_port)


@app.command
def serve(*, host: str | None = None, port: int | None = None, database: Where = None) -> None:
    """Serve the tower on its database, on the wall clock.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        database: Which database.
    """
    from coldgrid.tower.serve import serve_live

    serve_live(os.environ, host=host, port=port, database=database)


@tower_app.default
def tower(
    *, host: str | None = None, port: int | None = None, database: Where = None, workers: int = 1
) -> None:
    """Serve the tower on its database, on the wall clock, and listen for nodes.

    Args:
        host: Address to listen on for people.
        port: Port to listen on for people.
        database: Which database.
        workers: How many processes serve here, on PostgreSQL; one decides, any takes over.
    """
    from coldgrid.tower.serve import serve_live

    serve_live(os.environ, host=host, port=port, database=database, nodes=True, workers=workers)


@tower_app.command(name="setup")
def tower_setup() -> None:
    """Print a new address to set the network up at, good for an hour; the one before opens nothing."""
    from coldgrid.cli.asking import ask_tower

    ask_tower(os.environ, "setup")


@tower_app.command(name="code")
def tower_code(site_id: str, *, node: str = "") -> None:
    """Make the one-time code that a site's node joins with; the tower must be serving. Good for an hour.

    Args:
        site_id: The node's site.
        node: The node that comes back with it; without it, a new one comes.
    """
    from coldgrid.cli.asking import ask_tower

    ask_tower(os.environ, "code", site=site_id, node=node)


@tower_app.command(name="take-back")
def tower_take_back(site_id: str, *, lost: bool = False) -> None:
    """Take a site back to the tower, which must be serving: its node closes its log and hands over.

    Args:
        site_id: The site.
        lost: Its node never comes back: cut it off for ever, and go on with what the tower has.
    """
    from coldgrid.cli.asking import ask_tower

    ask_tower(os.environ, "take-back", site=site_id, lost="yes" if lost else "no")


@tower_app.command(name="rotate-ca")
def tower_rotate_ca(*, now: bool = False) -> None:
    """Replace the authority that certifies nodes; the tower must be serving. Nodes go over by themselves.

    Args:
        now: End the authority before now, not after 120 days; a node that did not go over needs a new code.
    """
    from coldgrid.cli.asking import ask_tower

    ask_tower(os.environ, "rotate-ca", now="yes" if now else "no")


@tower_app.command(name="choose")
def tower_choose(site_id: str, *, keep: Literal["tower", "node"], reason: str) -> None:
    """Choose which copy of a site's log is kept while it is in quarantine; the tower must be serving.

    Args:
        site_id: The site.
        keep: Whose copy; what only the other has is set aside, to be read.
        reason: Why; it is recorded.
    """
    from coldgrid.cli.asking import ask_tower

    ask_tower(os.environ, "choose", site=site_id, keep=keep, reason=reason)


@tower_app.command(name="recover")
def tower_recover(*, database: Where = None) -> None:
    """Begin anew after the tower's database was put back from a copy: once, before it serves again.

    Args:
        database: Which database.
    """
    from coldgrid.cli.maintenance import recover_tower

    recover_tower(os.environ, database, Output(json=False))


Folder = Annotated[Path, Parameter(name="--data", help="The node's folder: database, keys, settings.")]


@node_app.default
def node(
    *,
    data: Folder = Path(".coldgrid/node"),
    host: str | None = None,
    port: int | None = None,
    drills: bool = False,
) -> None:
    """Serve the node in a folder: its site's pages on the LAN, and the talk with its tower.

    Args:
        data: The node's folder.
        host: Address to listen on.
        port: Port to listen on.
        drills: Let the operator of this machine make its clock wrong and its disk full, to see what happens.
    """
    from coldgrid.cli.nodes import run_node

    run_node(os.environ, data, host=host, port=port, drills=drills)


@node_app.command(name="join")
def node_join(
    tower: str,
    *,
    code: str,
    data: Folder = Path(".coldgrid/node"),
    replace: bool = False,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Enrol this machine as the node of a site, and take the site over. Interrupted, ask again.

    Args:
        tower: The tower's address for nodes, https://host:port.
        code: The one-time code from the tower's page of nodes.
        data: The node's folder; made when missing.
        replace: Take the place of the node that the site has. One that is lost is cut off at the tower first.
        host: Address that the node will listen on.
        port: Port that the node will listen on.
    """
    from coldgrid.cli.nodes import join
    from coldgrid.node.serve_node import Invited

    join(os.environ, data, Invited(tower, code, replace), host=host, port=port)


@scenario_app.command(name="run")
def scenario_run(
    plan: Path,
    *,
    json: Json = False,
    seed: int | None = None,
    pack: Path | None = None,
    database: Where = None,
) -> None:
    """Play a plan and report what happened, when, and what it proves.

    Args:
        plan: A YAML file, such as scenarios/freezer-2am.yaml.
        json: Print the report as JSON.
        seed: Another seed than the plan's.
        pack: Where to write the incident's evidence pack; default beside the report in a temporary folder.
        database: Play on this database, which must be empty, instead of a temporary file.
    """
    from coldgrid.tower.scenario.play import play_file

    out = Output(json=json)
    report = play_file(plan, seed=seed, pack=pack, database=database, tell=out.progress)
    out.report(report)
    sys.exit(0 if report.ok else 1)


@app.command
def verify(pack: Path, *, trust: Path | None = None, json: Json = False) -> None:
    """Check an evidence pack offline: no database, no network. Names every altered file.

    Args:
        pack: The zip file.
        trust: A file with the public key you trust; without it a sound pack is only self-signed.
        json: Print the findings as JSON.
    """
    from coldgrid.cli.verify import verify_pack_file

    sys.exit(verify_pack_file(pack, trust=trust, json=json))


@app.command
def rebuild(*, database: Where = None, json: Json = False) -> None:
    """Rebuild every projection from the log beside the live ones, compare, and swap. Stop the server first.

    Args:
        database: Which database.
        json: Print the differences as JSON.
    """
    from coldgrid.cli.maintenance import rebuild_database

    rebuild_database(os.environ, database, Output(json=json))


@app.command
def export(target: Path, *, database: Where = None) -> None:
    """Write all history in open formats: events as JSON lines, readings as Parquet (CSV without pyarrow).

    Args:
        target: A folder; made when missing.
        database: Which database.
    """
    from coldgrid.cli.maintenance import export_history

    export_history(os.environ, database, target, Output(json=False))


@app.command
def settings() -> None:
    """List every setting with its present value; secrets are not shown."""
    from coldgrid.cli.maintenance import show_settings

    show_settings(os.environ, Output(json=False))


def main() -> None:
    """Run the command line; a rejection is printed as what is wrong and what to do."""
    gc.set_threshold(YOUNG_MAX, 10, 10)
    configure_logs("warning", json=False)  # the log is for stderr; a server sets its own level
    try:
        app()
    except Rejected as rejected:
        print_rejection(rejected)
        sys.exit(1)
    except Exception as error:
        from coldgrid.kernel.driver import DatabaseUnfit, DatabaseUnread, DriverError

        if not isinstance(error, DriverError):
            raise
        told = {"found": str(error)}
        print_rejection(DatabaseUnfit(**told, do=error.todo) if error.todo else DatabaseUnread(**told))
        sys.exit(1)
