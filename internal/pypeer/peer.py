"""Runs channels_redis for a Go test: see peer.go.

Each line of stdin is a JSON object, {"id": n, "op": name, "args": {...}}; each
line of stdout answers one, {"id": n, "ok": result} or {"id": n, "error": type,
"text": message}, in the order in which they are done. End of input ends it.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import sys


def load(v):
    """A value from its tagged form."""
    if isinstance(v, list):
        return [load(e) for e in v]
    if not isinstance(v, dict):
        return v
    (tag, inner), = v.items()
    if tag == "map":
        return {load(k): load(e) for k, e in inner}
    if tag == "bytes":
        return base64.b64decode(inner)
    if tag == "float":
        return float(inner)
    if tag == "source":
        return eval(inner)
    raise ValueError(tag)


def dump(v):
    """The tagged form of a value."""
    if isinstance(v, (list, tuple)):
        return [dump(e) for e in v]
    if isinstance(v, dict):
        return {"map": [[dump(k), dump(e)] for k, e in v.items()]}
    if isinstance(v, bytes):
        return {"bytes": base64.b64encode(v).decode()}
    if isinstance(v, float):
        return {"float": repr(v)}
    return v


layers = {}
workers = {}
serial = itertools.count()


def fernet(key):
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))


def serializer(format, keys):
    from channels_redis.serializers import registry

    return registry.get_serializer(format, symmetric_encryption_keys=keys)


def register_own():
    """The format "own": JSON in base64."""
    from channels_redis.serializers import BaseMessageSerializer, registry

    class Own(BaseMessageSerializer):
        def as_bytes(self, message, *args, **kwargs):
            return base64.b64encode(json.dumps(message).encode())

        def from_bytes(self, message, *args, **kwargs):
            return json.loads(base64.b64decode(message, validate=True))

    registry.register_serializer("own", Own)


class Ops:
    async def layer(self, kind, options):
        if kind == "core":
            from channels_redis.core import RedisChannelLayer as Layer
        else:
            from channels_redis.pubsub import RedisPubSubChannelLayer as Layer
        if options.get("serializer_format") == "own":
            register_own()
        if isinstance(options["hosts"], str):
            options["hosts"] = eval(options["hosts"])
        name = str(next(serial))
        layers[name] = Layer(**options)
        return name

    async def capacity(self, layer, channel):
        return layers[layer].get_capacity(channel)

    async def new_channel(self, layer, prefix):
        return await (layers[layer].new_channel(prefix) if prefix else layers[layer].new_channel())

    async def send(self, layer, channel, message):
        await layers[layer].send(channel, load(message))

    async def receive(self, layer, channel, timeout):
        return dump(await asyncio.wait_for(layers[layer].receive(channel), timeout))

    async def group_add(self, layer, group, channel):
        await layers[layer].group_add(group, channel)

    async def group_discard(self, layer, group, channel):
        await layers[layer].group_discard(group, channel)

    async def group_send(self, layer, group, message):
        await layers[layer].group_send(group, load(message))

    async def flush(self, layer):
        await layers[layer].flush()

    async def send_many(self, layer, channel, group, first, count, message):
        message = load(message)
        for n in range(first, first + count):
            if group:
                await layers[layer].group_send(group, dict(message, n=n))
            else:
                await layers[layer].send(channel, dict(message, n=n))

    async def receive_many(self, layer, channel, count, timeout):
        """The field n of each message, until there are count or none came for timeout."""
        got = []
        while len(got) < count:
            try:
                message = await asyncio.wait_for(layers[layer].receive(channel), timeout)
            except asyncio.TimeoutError:
                break
            got.append(message.get("n"))
        return got

    async def start_worker(self, layer, channel):
        """Receives on the channel until it is stopped. A message with a field
        reply_to is answered there, with its n."""
        got = []

        async def work():
            while True:
                message = await layers[layer].receive(channel)
                got.append(message)
                if "reply_to" in message:
                    await layers[layer].send(message["reply_to"], {"type": "reply", "n": message.get("n")})

        name = str(next(serial))
        workers[name] = asyncio.ensure_future(work()), got
        return name

    async def received(self, worker):
        return len(workers[worker][1])

    async def stop_worker(self, worker):
        task, got = workers.pop(worker)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        return [dump(m) for m in got]

    async def packb(self, value):
        import msgpack

        return dump(msgpack.packb(load(value), use_bin_type=True))

    async def unpackb(self, value):
        import msgpack

        return dump(msgpack.unpackb(load(value), raw=False))

    async def dumps(self, value):
        return dump(json.dumps(load(value)).encode())

    async def loads(self, value):
        return dump(json.loads(load(value)))

    async def serialize(self, format, keys, value):
        return dump(serializer(format, keys).serialize(load(value)))

    async def deserialize(self, format, keys, value):
        return dump(serializer(format, keys).deserialize(load(value)))

    async def encrypt(self, key, value):
        return dump(fernet(key).encrypt(load(value)))

    async def decrypt(self, key, value, ttl):
        return dump(fernet(key).decrypt(load(value), ttl))


async def serve(line, out):
    request = json.loads(line)
    answer = {"id": request["id"]}
    try:
        answer["ok"] = await getattr(Ops(), request["op"])(**request["args"])
    except asyncio.TimeoutError as e:
        answer.update(error="TimeoutError", text=str(e))
    except Exception as e:
        answer.update(error=type(e).__name__, text=str(e))
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


async def main():
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get among the answers
    reader = asyncio.StreamReader(limit=1 << 30)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.ensure_future(serve(line, out))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)


asyncio.run(main())
