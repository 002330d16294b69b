"""Links that sign in once: signed, good for an hour, and spent by the first use.

A token names its user and when that user last logged in; signing in changes that, so every older token is spent too.
No table is needed, and of two browsers that come at the same time one is refused.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core import signing
from django.utils import timezone

SALT = "document_intake.sign_in"
SECONDS = 3600
NAME = "demo"


def the_user() -> User:
    """The demo's one user; there is no password."""
    user, is_new = User.objects.get_or_create(username=NAME)
    if is_new:
        user.set_unusable_password()
        user.save()
    return user


def token_for(user: User) -> str:
    """A token that signs this user in, once."""
    return signing.dumps([user.pk, _stamp(user)], salt=SALT)


def spend(token: str) -> User | None:
    """Whom the token signs in; None if it was used, is old, or is not ours."""
    try:
        pk, stamp = signing.loads(token, salt=SALT, max_age=SECONDS)
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=pk, is_active=True).first()
    if user is None or _stamp(user) != stamp:
        return None
    known = User.objects.filter(pk=pk, last_login=user.last_login)
    return user if known.update(last_login=timezone.now()) else None


def _stamp(user: User) -> str | None:
    return user.last_login.isoformat() if user.last_login else None
