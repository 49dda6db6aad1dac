from django.urls import re_path

from .consumers import ChatConsumer

# ROOM is such that "chat." and the room make a group name that is valid here,
# and that the Go chat uses for the same room.
ROOM = r"(?P<room>[-a-zA-Z0-9_]{1,64})"

websocket_urlpatterns = [re_path(rf"^ws/chat/{ROOM}/$", ChatConsumer.as_asgi())]
