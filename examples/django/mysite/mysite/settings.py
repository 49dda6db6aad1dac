"""A Django project as small as a chat on a shared bus can be."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

# Made at every start: nothing here signs anything that should outlive it.
SECRET_KEY = get_random_secret_key()
DEBUG = False

# Also the origins whose pages may open a WebSocket (see asgi.py).
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = ["channels", "chat"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "mysite.security.content_security_policy",
]
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
TIME_ZONE = "UTC"

# The bus. What stands here is what channelsredis.Options says on the Go side.
#
# A read waits 5 seconds at most. redis-py 8 gives up just then by default,
# hence the timeout in the URL.
REDIS_URL = os.environ["REDIS_URL"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [REDIS_URL + ("&" if "?" in REDIS_URL else "?") + "socket_timeout=60"],
            "prefix": "asgi",
            "expiry": 60,
            "group_expiry": 86400,
            "capacity": 100,
        },
    }
}
