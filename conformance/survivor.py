"""A client that lives through the death of its server: `python survivor.py URL`.

Lists tools, prints "ready", waits for a line on stdin, and lists twice more; prints "ok" if that worked.
"""

import asyncio
import sys

from mcp import Client


async def main(url):
    async with Client(url, mode="legacy") as client:
        before = len((await client.list_tools()).tools)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(2):
            after = len((await client.list_tools()).tools)
            assert after == before, f"{before} tools became {after}"
        print("ok", flush=True)


asyncio.run(main(sys.argv[1]))
