"""People. A user may be a member of several organisations."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from kit.ids import new_id


class UserManager(BaseUserManager["User"]):
    """Users are found by e-mail, whatever its case."""

    def get_by_natural_key(self, username: str | None) -> "User":
        """Case-insensitive, so that Ada@x and ada@x are one account."""
        return self.get(email__iexact=username)

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """A person who signs in with an e-mail address."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """A member of staff with every right in the admin console."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who can sign in."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(_("e-mail"), max_length=254, unique=True)
    name = models.CharField(_("name"), max_length=100, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    single_keys = models.BooleanField(_("single-key shortcuts"), default=True)
    job_mail = models.BooleanField(_("e-mail about jobs"), default=True, db_default=True)
    """Whether they hear by e-mail how the jobs they start in the console end."""
    date_joined = models.DateTimeField(default=now)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="tenants_user_email_once")]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """The name if there is one, else the e-mail."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """First word of the name, else what stands before the @."""
        return self.name.split(" ")[0] if self.name else self.email.split("@")[0]
