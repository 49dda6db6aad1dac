"""What Python's msgpack makes of values and bytes, asked over stdin.

A question is a letter, four bytes of length, and so many bytes; an answer is
"+" or "-" (an exception, and its text), four bytes of length, and so many
bytes. "e" evaluates a Python expression and packs it; "u" unpacks bytes, makes
strings of the keys that are bytes, and packs the result.
"""

import struct
import sys

import msgpack


def string_keys(value):
    if isinstance(value, dict):
        return {
            key.decode() if isinstance(key, bytes) else key: string_keys(element)
            for key, element in value.items()
        }
    if isinstance(value, list):
        return [string_keys(element) for element in value]
    return value


def answer(letter, body):
    if letter == b"e":
        return msgpack.packb(eval(body.decode()))
    return msgpack.packb(string_keys(msgpack.unpackb(body)))


while header := sys.stdin.buffer.read(5):
    body = sys.stdin.buffer.read(struct.unpack(">I", header[1:])[0])
    try:
        status, result = b"+", answer(header[:1], body)
    except Exception as error:
        status, result = b"-", repr(error).encode()
    sys.stdout.buffer.write(status + struct.pack(">I", len(result)) + result)
    sys.stdout.buffer.flush()
