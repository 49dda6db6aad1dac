from urllib.parse import urlencode

from django import forms
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.generic import TemplateView

from .consumers import MAX_NAME


class EnterForm(forms.Form):
    name = forms.CharField(label="Your name", max_length=MAX_NAME)
    room = forms.SlugField(
        label="Room",
        max_length=64,
        initial="lobby",
        error_messages={"invalid": "A room's name has letters from a to z, digits, - and _ only."},
    )


class Asset(TemplateView):
    """A script or a style. Django serves static files only while DEBUG is on."""


def index(request):
    form = EnterForm(request.GET) if request.GET else EnterForm()
    if form.is_valid():
        room = reverse("room", kwargs={"room": form.cleaned_data["room"]})
        return redirect(room + "?" + urlencode({"name": form.cleaned_data["name"]}))
    return render(request, "chat/index.html", {"form": form})


def room(request, room):
    name = request.GET.get("name", "").strip()
    if not name or len(name) > MAX_NAME:
        return redirect("index")
    return render(request, "chat/room.html", {"room": room, "name": name})
