"""The chat consumer of Django's tutorial, with the messages of the Go chat.

Everybody in a room is a channel in one group, whichever program holds it. The
type of a message names the method that handles it: "chat.said" is chat_said().
"""

import time
import uuid
from urllib.parse import parse_qs

from autobahn.exception import Disconnected
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer

# The same bounds as in the Go chat, in characters.
MAX_NAME = 32
MAX_TEXT = 2000


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        query = parse_qs(self.scope["query_string"].decode())
        name = query.get("name", [""])[0].strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            await self.close()
            return
        # id is a person, conn a socket of theirs. The Go chat's pages have the
        # same id after they reconnect; here it is simply a new one.
        self.person = {"id": uuid.uuid4().hex, "conn": uuid.uuid4().hex, "name": name}
        self.group = "chat." + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.tell_room("chat.joined", **self.person)
        await self.tell_room("chat.who", reply_to=self.channel_name)

    async def __call__(self, scope, receive, send):
        """The life of a WebSocket. disconnect() is not called after an error; this goes on."""
        self.group = None
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.group:
                await self.channel_layer.group_discard(self.group, self.channel_name)
                await self.tell_room("chat.left", **self.person)

    async def receive_json(self, content):
        """From the WebSocket: {"text": "..."}."""
        text = content.get("text") if isinstance(content, dict) else None
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
            return
        await self.tell_room(
            "chat.said",
            **{"from": self.person["id"]},
            name=self.person["name"],
            text=text.strip(),
            at=int(time.time() * 1000),
        )

    async def tell_room(self, message_type, **fields):
        await self.channel_layer.group_send(self.group, {"type": message_type, **fields})

    # From the group. A Django consumer needs a method for every type that may
    # come: one without ends its WebSocket.

    async def tell_page(self, event):
        try:
            await self.send_json(event)
        except Disconnected:
            pass  # the page left a moment ago, of which we shall be told next

    chat_said = chat_joined = chat_left = chat_here = tell_page

    async def chat_who(self, event):
        """Somebody came in, here or in Go, and asks each of us to answer."""
        if event["reply_to"] == self.channel_name:
            return
        try:
            await self.channel_layer.send(event["reply_to"], {"type": "chat.here", **self.person})
        except ChannelFull:
            pass  # whoever asked has answers enough
