from django.urls import path, re_path

from . import views
from .routing import ROOM

urlpatterns = [
    path("", views.index, name="index"),
    re_path(rf"^chat/{ROOM}/$", views.room, name="room"),
    path("chat.js", views.Asset.as_view(template_name="chat/chat.js", content_type="text/javascript")),
    path("chat.css", views.Asset.as_view(template_name="chat/chat.css", content_type="text/css")),
]
