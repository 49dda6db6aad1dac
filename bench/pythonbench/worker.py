"""A worker in Python: the counterpart of worker_test.go, command by command.

Reads a command a line, {"Do": name, "With": {...}}, and answers each with a
line, {"Result": ..., "Error": ""}. Ends when its standard input does.
"""

import asyncio
import json
import mmap
import random
import resource
import sys
import time

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

STALL = 60  # seconds without progress after which a message is taken for lost

TEXT = "A sentence of the length that people write when they talk to each other about the plans for their day."


def message():
    return {"type": "chat.message", "room": "the lobby", "name": "Ada Lovelace", "text": TEXT, "at": time.time_ns()}


def group_name(group):
    return f"group.{group}"


class Window:
    """The window of window_test.go. A word has one writer: this needs no atomic add."""

    def __init__(self, file, slots, slot, generation, ahead, fan, members):
        with open(file, "r+b") as f:
            self.words = memoryview(mmap.mmap(f.fileno(), 0)).cast("Q")
        self.slots, self.slot = range(slots), slot
        self.generation, self.ahead, self.fan, self.members = generation, ahead, fan, members
        self.next = self.open = 0
        self.lock = asyncio.Lock()
        self.finished = {}  # generation -> members that have all of it

    def got(self, count):
        """A member has received so many messages."""
        if self.fan:
            self.words[8 * self.slot] += 1
        elif count % self.generation == 0:
            generation = count // self.generation
            finished = self.finished.get(generation, 0) + 1
            self.finished[generation] = finished
            if finished == self.members:
                del self.finished[generation]
                self.words[8 * self.slot] = generation

    def delivered(self):
        words = [self.words[8 * slot] for slot in self.slots]
        return sum(words) // self.fan if self.fan else min(words) * self.generation

    def begin(self, deadline):
        self.deadline, self.stopped = deadline, False

    async def may_begin(self):
        ticket = self.next
        self.next += 1
        if ticket < self.open:
            return True
        async with self.lock:
            began = time.monotonic()
            while ticket >= self.open:
                now = time.monotonic()
                if self.stopped or now > self.deadline:
                    self.stopped = True
                    return False
                if self.open + self.generation <= self.delivered() + self.ahead:
                    self.open += self.generation
                elif now > began + STALL:
                    raise RuntimeError(f"messages were lost: {self.delivered()} of {self.open} were delivered")
                else:
                    await asyncio.sleep(50e-6)
        return True

    async def end(self):
        self.next = self.open
        began = time.monotonic()
        while self.delivered() < self.open:
            if time.monotonic() > began + STALL:
                raise RuntimeError(f"messages were lost: {self.delivered()} of {self.open} were delivered")
            await asyncio.sleep(50e-6)


class Worker:
    def __init__(self):
        self.latencies = asyncio.Queue()
        self.tasks = []

    async def open(self, Layer, Addr, Prefix, Capacity, Window_):
        self.window = Window(**{name.lower(): value for name, value in Window_.items()})
        hosts = [f"redis://{Addr}"]
        if Layer == "core":
            self.layer = RedisChannelLayer(hosts=hosts, prefix=Prefix, capacity=Capacity)
        else:
            self.layer = RedisPubSubChannelLayer(hosts=hosts, prefix=Prefix)

    async def join(self, Groups, Members, Stamped):
        addresses = []
        for group in range(max(Groups, 1)):
            for _ in range(Members):
                channel = await self.layer.new_channel()
                if Groups:
                    await self.layer.group_add(group_name(group), channel)
                else:
                    addresses.append(channel)
                receive = self.receive_stamped(channel, Stamped) if Stamped else self.receive(channel)
                self.tasks.append(asyncio.ensure_future(receive))
        await asyncio.sleep(0)  # lets them begin to receive
        return addresses

    async def receive(self, channel):
        count = 0
        while True:
            (await self.layer.receive(channel))["at"]
            count += 1
            self.window.got(count)

    async def receive_stamped(self, channel, count):
        while True:
            latencies = []
            for _ in range(count):
                received = await self.layer.receive(channel)
                latencies.append(time.time_ns() - received["at"])
            self.latencies.put_nowait(sorted(latencies))

    async def send(self, Address, Groups, Senders, For):
        began = time.monotonic()
        self.window.begin(began + For / 1e9)
        await asyncio.gather(*[self.send_until_end(Address, Groups) for _ in range(Senders)])
        before = getattr(self, "sent", 0)
        self.sent = self.window.open
        await self.window.end()
        return {"Sent": self.sent - before, "Took": int((time.monotonic() - began) * 1e9)}

    async def send_until_end(self, address, groups):
        while await self.window.may_begin():
            if address:
                await self.layer.send(address, message())
            else:
                await self.layer.group_send(group_name(random.randrange(groups)), message())

    async def paced(self, Address, Count, Interval):
        due = time.monotonic()
        for _ in range(Count):
            due += Interval / 1e9
            await asyncio.sleep(max(0, due - time.monotonic()))
            await self.layer.send(Address, message())

    async def collect(self):
        return await asyncio.wait_for(self.latencies.get(), STALL)

    async def cpu(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        return int((used.ru_utime + used.ru_stime) * 1e9)


async def main():
    worker = Worker()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        arguments = command["With"] or {}
        if "Window" in arguments:
            arguments["Window_"] = arguments.pop("Window")
        result, error = None, ""
        try:
            result = await getattr(worker, command["Do"])(**arguments)
            for task in worker.tasks:
                if task.done():
                    task.result()
        except Exception as e:
            error = repr(e)
        print(json.dumps({"Result": result, "Error": error}), flush=True)
    for task in worker.tasks:
        task.cancel()
    await asyncio.gather(*worker.tasks, return_exceptions=True)


asyncio.run(main())
