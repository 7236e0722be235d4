"""A line to the database that breaks in the midst of a commit: `python -m tests.workers.cut PORT HOST PORT`.

A transaction that writes `lose-request-N` loses its COMMIT on the way there: nothing of it is kept. One that
writes `lose-answer-N` loses the answer on the way back: all of it is kept. Each once, so that what is sent
again comes through. Who sent it cannot tell the two apart.
"""

from __future__ import annotations

import asyncio
import re
import sys

MARK = re.compile(rb"lose-(request|answer)-\d+")
# Of the protocol: a statement that is prepared under a name, or "", and one that is carried out.
PREPARED = re.compile(rb"P.{4}([^\0]*)\0COMMIT\0", re.DOTALL)
CARRIED_OUT = re.compile(rb"B.{4}\0([^\0]*)\0", re.DOTALL)
CHUNK = 65_536


class Line:
    """The connections of one port, and the marks that have broken one already."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._done: set[bytes] = set()

    async def through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        answering = asyncio.create_task(pump(there, writer))
        try:
            await self._requests(reader, back, answering)
        except OSError:
            pass
        finally:
            answering.cancel()
            writer.close()
            back.close()

    async def _requests(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, answering: asyncio.Task[None]
    ) -> None:
        mark, before, commits = None, b"", set[bytes]()
        while data := await reader.read(CHUNK):
            whole = before + data
            mark = mark or next((one for one in MARK.finditer(whole) if one[0] not in self._done), None)
            prepared = set(PREPARED.findall(data))
            if mark is not None and (commits | prepared) & set(CARRIED_OUT.findall(data)):
                self._done.add(mark[0])
                if mark[1] == b"answer":
                    answering.cancel()
                    back.write(data)
                    await back.drain()
                    await asyncio.sleep(0.5)  # the server commits
                return
            commits |= prepared - {b""}
            back.write(data)
            await back.drain()
            before = data[-40:]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(port: int, host: str, target: int) -> None:
    server = await asyncio.start_server(Line(host, target).through, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
