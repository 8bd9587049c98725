"""On whose behalf: the tenant that every touch of data names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from lakehouse.errors import InputError

TenantId = NewType("TenantId", str)

_TENANT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAX_LENGTH = 40


class Isolation(StrEnum):
    """How far apart a tenant's resources are kept."""

    LOGICAL = "logical"
    NAMESPACE = "namespace"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class TenantContext:
    """One tenant, already validated: made once, at the edge."""

    tenant_id: TenantId
    isolation: Isolation = Isolation.LOGICAL

    @classmethod
    def parse(cls, name: str, isolation: Isolation = Isolation.LOGICAL) -> TenantContext:
        """Accept lower-case words joined by hyphens; the name becomes a path, a role and a label.

        >>> TenantContext.parse("alcaldia-norte").tenant_id
        'alcaldia-norte'
        """
        if len(name) > _MAX_LENGTH or not _TENANT.fullmatch(name):
            msg = (
                f"'{name}' is not a tenant name: expected up to {_MAX_LENGTH} lower-case letters, "
                "digits and single hyphens, beginning with a letter, such as 'alcaldia-norte'"
            )
            raise InputError(msg)
        return cls(TenantId(name), isolation)
