"""A client that lives through the death of its server: `python survivor.py URL KIND`.

KIND is `v2` or `v1`, the lines of the official SDK (each in an environment of its own), or `fastmcp`. Lists tools, prints
"ready", waits for a line on stdin, and lists twice more; prints "ok" if that worked.
"""

import asyncio
import contextlib
import sys


@contextlib.asynccontextmanager
async def lister(url, kind):
    """Gives a function that counts the server's tools."""
    if kind == "v1":
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()

            async def count():
                return len((await session.list_tools()).tools)

            yield count
        return
    if kind == "fastmcp":
        from fastmcp import Client

        async with Client(url) as client:

            async def count():
                return len(await client.list_tools())

            yield count
        return
    from mcp import Client

    async with Client(url, mode="legacy") as client:

        async def count():
            return len((await client.list_tools()).tools)

        yield count


async def main(url, kind):
    async with lister(url, kind) as count:
        before = await count()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(2):
            after = await count()
            assert after == before, f"{before} tools became {after}"
        print("ok", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2]))
