"""The guard against forged forms: a token derived from a cookie that other sites cannot read."""

import hmac
from hashlib import sha256

from flask import request

from domain.values.errors import Forbidden

FIELD = "csrf_token"


def csrf_token(secret: str) -> str:
    return hmac.new(secret.encode(), b"csrf", sha256).hexdigest()


def check_csrf(secret: str) -> None:
    given = request.form.get(FIELD, "")
    if not hmac.compare_digest(given.encode(), csrf_token(secret).encode()):
        raise Forbidden("this form has expired: go back, reload the page and send the form again")
