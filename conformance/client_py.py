"""A tour with the official Python SDK (v2): `python client_py.py URL PROFILE MODE`.

PROFILE is example, everything or time; MODE is legacy, auto or 2026-07-28. Prints the steps it took as JSON, and those
that the mode does not have; exits 1 at the first that fails.
"""

import asyncio
import json
import sys
import traceback

from mcp import Client
from mcp import types

URL, PROFILE, MODE = sys.argv[1:4]

PROFILES = {
    "example": {
        "call": ("add", {"a": 2, "b": 40}, "42"),
        "progress": ("slow", {"steps": 4, "delay_ms": 20}),
        "long": ("slow", {"steps": 600, "delay_ms": 100}),
        "resource": "test://watched-resource",
        "update": ("touch", {}),
        "elicit": ("elicit", {}),
    },
    "everything": {
        "call": ("echo", {"message": "hi"}, "Echo: hi"),
        "progress": ("trigger-long-running-operation", {"duration": 1, "steps": 4}),
        "long": ("trigger-long-running-operation", {"duration": 60, "steps": 60}),
        "resource": "demo://resource/dynamic/text/1",
        "update": ("toggle-subscriber-updates", {}),
        "elicit": ("trigger-elicitation-request", {}),
    },
    "time": {
        "call": ("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "UTC"}, "12:00"),
    },
}


class Asked:
    """What the server asked of the client, and told it."""

    def __init__(self):
        self.elicitations = 0
        self.updated = asyncio.Event()

    async def elicit(self, context, params):
        self.elicitations += 1
        return types.ElicitResult(action="accept", content={"name": "Ada", "firstLine": "x"})

    async def sample(self, context, params):
        content = types.TextContent(type="text", text="sampled by the tour")
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def hear(self, message):
        if isinstance(message, Exception):
            raise message
        root = getattr(message, "root", message)
        if isinstance(root, types.ResourceUpdatedNotification):
            self.updated.set()


def text_of(result):
    return next(content.text for content in result.content if content.type == "text")


class Tour:
    def __init__(self, client, asked, profile):
        self.client, self.asked, self.profile = client, asked, profile
        self.steps, self.skipped = [], []

    async def take(self):
        modern = self.client.protocol_version == "2026-07-28"
        await self.step("lists", self.lists())
        await self.step("call", self.call())
        if "progress" in self.profile:
            await self.step("progress", self.progress())
        if "resource" in self.profile:
            await self.step("subscription", self.listen() if modern else self.subscription())
        if "elicit" in self.profile:
            await self.step("elicitation", self.elicitation())
        if "long" in self.profile:
            await self.step("cancellation", self.cancellation())

    async def step(self, name, run):
        self.failed = name
        await asyncio.wait_for(run, 20)
        self.steps.append(name)

    async def lists(self):
        tools = (await self.client.list_tools()).tools
        assert any(tool.name == self.profile["call"][0] for tool in tools), [tool.name for tool in tools]
        if self.client.server_capabilities.resources:
            await self.client.list_resources()
        if self.client.server_capabilities.prompts:
            await self.client.list_prompts()

    async def call(self):
        name, arguments, expect = self.profile["call"]
        text = text_of(await self.client.call_tool(name, arguments))
        assert expect in text, text

    async def progress(self):
        seen = []

        async def hear(progress, total, message):
            seen.append(progress)

        name, arguments = self.profile["progress"]
        await self.client.call_tool(name, arguments, progress_callback=hear)
        assert len(seen) >= 2 and seen == sorted(seen), seen

    async def subscription(self):
        await self.client.subscribe_resource(self.profile["resource"])
        await self.client.call_tool(*self.profile["update"])
        await self.asked.updated.wait()
        await self.client.unsubscribe_resource(self.profile["resource"])

    async def listen(self):
        async with self.client.listen(resource_subscriptions=[self.profile["resource"]]) as subscription:
            await self.client.call_tool(*self.profile["update"])
            event = await anext(aiter(subscription))
            assert self.profile["resource"] in repr(event), event

    async def elicitation(self):
        result = await self.client.call_tool(*self.profile["elicit"])
        assert self.asked.elicitations == 1
        assert "Ada" in repr(result.content), result

    async def cancellation(self):
        call = asyncio.create_task(self.client.call_tool(*self.profile["long"]))
        await asyncio.sleep(0.3)
        call.cancel()
        try:
            await call
            raise AssertionError("the call was not cancelled")
        except asyncio.CancelledError:
            pass
        await self.call()


async def main():
    asked = Asked()
    tour = None
    try:
        async with Client(
            URL,
            mode=MODE,
            elicitation_callback=asked.elicit,
            sampling_callback=asked.sample,
            message_handler=asked.hear,
        ) as client:
            tour = Tour(client, asked, PROFILES[PROFILE])
            await tour.take()
            version = client.protocol_version
        print(json.dumps({"ok": True, "version": version, "steps": tour.steps}))
        return 0
    except BaseException:
        steps, failed = (tour.steps, tour.failed) if tour else ([], "connect")
        print(json.dumps({"ok": False, "steps": steps, "failed": failed, "error": traceback.format_exc()}))
        return 1


sys.exit(asyncio.run(main()))
