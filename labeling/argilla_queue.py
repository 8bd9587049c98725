"""The door to Argilla: a workspace for each tenant, in it the datasets of each task.

The client is used for what it models; records travel over the same REST interface that it speaks,
because the client leaves out the time of an answer and reports progress on standard error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import argilla as rg
import httpx
from argilla._exceptions import ArgillaAPIError, ArgillaCredentialsError, ArgillaError

from labeling.argilla_parts import Part
from labeling.argilla_records import (
    COMMENT,
    LABEL,
    METADATA,
    SCORE,
    TEXT,
    VECTOR,
    WHY,
    as_queued,
    as_record,
    moment,
)
from labeling.errors import QueueMismatchError, QueueRefusedError
from labeling.observed import subject_of
from labeling.queue import CaseId, QueuedCase, QueueSpec, ReviewCase, Reviewer, require_own
from lakehouse.errors import ConfigurationError, PlataError, ServiceUnavailableError
from lakehouse.tenancy import TenantContext

DATASET_SIZE = 5_000
"""Records after which a task's next case goes to another dataset."""

_BATCH = 50
"""Records a request: half a second of Argilla's time, and all or nothing."""
_PAGE = 500
_DELETED_AT_ONCE = 100
_READ_ATTEMPTS = 3
_ANNOTATOR = "annotator"

Parts = dict[Part, rg.Dataset]


class ArgillaQueue:
    """`ReviewQueue` over a running Argilla server. Nothing is asked of it before it is used."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        dataset_size: int = DATASET_SIZE,
        timeout_seconds: int = 60,
    ) -> None:
        self._url, self._api_key, self._timeout = url.rstrip("/"), api_key, timeout_seconds
        self._size = dataset_size

    def open(self, spec: QueueSpec, tenant: TenantContext) -> str:
        """Make the first dataset ready; see `ReviewQueue.open`. A new guideline replaces the old.

        The address is that of the newest dataset in which one person answers each record.
        """
        with self._talking():
            workspace = self._workspace(tenant) or self._new_workspace(tenant)
            parts = self._parts(spec.task, workspace)
            for dataset in parts.values():
                dataset.settings.get()
                _require_labels(dataset, spec)
                _refresh_guideline(dataset, spec)
            newest = _newest(parts, spec.task, wanted=1)
            shown = parts.get(newest) or self._new_dataset(newest, spec, workspace)
            return f"{self._url}/dataset/{shown.id}/annotation-mode"

    def put(self, cases: Sequence[ReviewCase], spec: QueueSpec, tenant: TenantContext) -> int:
        """Add what is not there, in batches; see `ReviewQueue.put`."""
        require_own((case.id for case in cases), tenant)
        if not cases:
            return 0
        with self._talking():
            workspace, parts = self._require_parts(spec.task, tenant)
            held = {part: self._records(dataset.id) for part, dataset in parts.items()}
            there = {record["external_id"] for records in held.values() for record in records}
            new = {str(case.id): case for case in cases if str(case.id) not in there}
            for wanted in sorted({case.wanted for case in new.values()}):
                part = _newest(parts, spec.task, wanted=wanted)
                waiting = [case for case in new.values() if case.wanted == wanted]
                room = max(0, self._size - len(held.get(part, ())))
                while waiting:
                    if room:
                        dataset = parts.get(part) or self._new_dataset(part, spec, workspace)
                        self._add(waiting[:room], dataset, spec)
                    waiting, part, room = waiting[room:], part.next, self._size
            return len(new)

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        """Read every record with its answers; see `ReviewQueue.cases`."""
        with self._talking():
            workspace = self._workspace(tenant)
            parts = {} if workspace is None else self._parts(task, workspace)
            held = [(_wanted(found), self._records(found.id)) for found in parts.values()]
            names = self._usernames([record for _, records in held for record in records])
        found = [as_queued(record, names, wanted) for wanted, records in held for record in records]
        return sorted(found, key=lambda case: str(case.id))

    def withdraw(self, case_ids: Collection[CaseId], task: str, tenant: TenantContext) -> int:
        """Delete the records that nobody answered; see `ReviewQueue.withdraw`.

        Argilla deletes a record whatever answers it has, so what a page shows as unanswered goes
        before the next page is read: an answer given in that moment goes with it.
        """
        require_own(case_ids, tenant)
        names = frozenset(str(case_id) for case_id in case_ids)
        if not names:
            return 0
        with self._talking():
            workspace = self._workspace(tenant)
            parts = {} if workspace is None else self._parts(task, workspace)
            return sum(self._delete_unanswered(found.id, names) for found in parts.values())

    def enrol(self, reviewer: Reviewer, tenant: TenantContext) -> None:
        """Make the account, or give it that password, and let it into the workspace.

        An account of Argilla that may do more than annotate is nobody's to review with.
        """
        with self._talking():
            workspace = self._workspace(tenant) or self._new_workspace(tenant)
            user = self._user(reviewer.username)
            if user is None:
                user = rg.User(
                    username=reviewer.username,
                    first_name=reviewer.username,
                    role=_ANNOTATOR,
                    password=reviewer.password,
                    client=self._client,
                ).create()
            else:
                _require_annotator(user)
                known = {"password": reviewer.password}
                self._send("PATCH", f"/api/v1/users/{user.id}", json=known)
            if reviewer.username not in {member.username for member in workspace.users}:
                user.add_to_workspace(workspace)

    def dismiss(self, username: str, tenant: TenantContext) -> None:
        """Shut the workspace to the account; it stays, because its answers would go with it."""
        with self._talking():
            workspace = self._workspace(tenant)
            if workspace is None or username not in {u.username for u in workspace.users}:
                return
            user = self._user(username)
            if user is not None:
                user.remove_from_workspace(workspace)

    def accounts(self, tenant: TenantContext) -> Mapping[str, datetime]:
        """List all accounts of the server; see `ReviewQueue.accounts`."""
        with self._talking():
            users = self._send("GET", "/api/v1/users")["items"]
        return {user["username"]: moment(user["inserted_at"]) for user in users}

    def close(self) -> None:
        """Hang up, where anything was ever asked."""
        if "_client" in self.__dict__:
            self._client.http_client.close()

    @cached_property
    def _client(self) -> rg.Argilla:
        return rg.Argilla(
            api_url=self._url, api_key=self._api_key, timeout=self._timeout, retries=0
        )

    def _workspace(self, tenant: TenantContext) -> rg.Workspace | None:
        known = self._client.workspaces
        return next((w for w in known if w.name == tenant.tenant_id), None)

    def _new_workspace(self, tenant: TenantContext) -> rg.Workspace:
        return rg.Workspace(name=tenant.tenant_id, client=self._client).create()

    def _user(self, username: str) -> rg.User | None:
        return next((user for user in self._client.users if user.username == username), None)

    def _parts(self, task: str, workspace: rg.Workspace) -> Parts:
        """Find a task's datasets; one whose making was cut short holds nothing and goes."""
        found: Parts = {}
        for dataset in workspace.list_datasets():
            part = Part.parse(dataset.name, task)
            if part is None:
                continue
            if dataset.api_model().status == "ready":
                found[part] = dataset
            else:
                dataset.delete()
        return found

    def _require_parts(self, task: str, tenant: TenantContext) -> tuple[rg.Workspace, Parts]:
        workspace = self._workspace(tenant)
        parts = {} if workspace is None else self._parts(task, workspace)
        if workspace is None or not parts:
            msg = f"tenant '{tenant.tenant_id}' has no review queue for '{task}'; open it first"
            raise QueueRefusedError(msg)
        return workspace, parts

    def _new_dataset(self, part: Part, spec: QueueSpec, workspace: rg.Workspace) -> rg.Dataset:
        client = self._client
        settings = rg.Settings(
            guidelines=spec.guideline.text,
            distribution=rg.TaskDistribution(min_submitted=part.wanted),
            fields=[
                rg.TextField(TEXT, title="Texto de la solicitud", client=client),
                rg.TextField(WHY, title="Por qué está aquí", use_markdown=True, client=client),
            ],
            questions=[
                rg.LabelQuestion(
                    LABEL,
                    spec.titles,
                    title=f"¿Qué {subject_of(spec.task)} corresponde?",
                    client=client,
                ),
                rg.TextQuestion(
                    COMMENT, title="Comentario (opcional)", required=False, client=client
                ),
            ],
            metadata=[
                *(rg.TermsMetadataProperty(n, title=t, client=client) for n, t in METADATA.items()),
                rg.FloatMetadataProperty(SCORE, title="Confianza del modelo", client=client),
            ],
            vectors=[rg.VectorField(VECTOR, spec.dimensions, title="Casos similares")]
            if spec.dimensions
            else [],
        )
        dataset = rg.Dataset(str(part), workspace=workspace, settings=settings, client=client)
        return dataset.create()

    def _add(self, cases: Sequence[ReviewCase], dataset: rg.Dataset, spec: QueueSpec) -> None:
        dataset.settings.get()
        question = str(dataset.settings.questions[LABEL].id)
        size = _dimensions(dataset)
        items = [as_record(case, spec, question, size) for case in cases]
        for start in range(0, len(items), _BATCH):
            self._send(
                "PUT",
                f"/api/v1/datasets/{dataset.id}/records/bulk",
                json={"items": items[start : start + _BATCH]},
            )

    def _delete_unanswered(self, dataset_id: UUID, names: AbstractSet[str]) -> int:
        gone, offset, total = 0, 0, 1
        while offset < total:
            page = self._page(dataset_id, offset)
            idle = [
                record["id"]
                for record in page["items"]
                if record["external_id"] in names and not record["responses"]
            ]
            for start in range(0, len(idle), _DELETED_AT_ONCE):
                ids = ",".join(idle[start : start + _DELETED_AT_ONCE])
                self._send("DELETE", f"/api/v1/datasets/{dataset_id}/records", params={"ids": ids})
            gone += len(idle)
            offset, total = offset + _PAGE - len(idle), page["total"] - len(idle)
        return gone

    def _page(self, dataset_id: UUID, offset: int) -> Any:
        return self._send(
            "GET",
            f"/api/v1/datasets/{dataset_id}/records",
            params={"offset": offset, "limit": _PAGE, "include": "responses"},
        )

    def _records(self, dataset_id: UUID) -> list[dict[str, Any]]:
        """Read every record once.

        Pages are ordered by time alone, so two records of one instant may change places between
        two pages; then the count does not come out, and all is read again.
        """
        for _ in range(_READ_ATTEMPTS):
            found: dict[str, dict[str, Any]] = {}
            offset, total = 0, 1
            while offset < total:
                page = self._page(dataset_id, offset)
                found.update({record["id"]: record for record in page["items"]})
                offset, total = offset + _PAGE, page["total"]
            if len(found) == total:
                return list(found.values())
        raise ServiceUnavailableError.of(
            "Argilla", self._url, "its records change as they are read"
        )

    def _usernames(self, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        if not any(record.get("responses") for record in records):
            return {}
        return {str(user.id): user.username for user in self._client.users}

    def _send(self, method: str, path: str, **request: Any) -> Any:
        response = self._client.http_client.request(method, path, **request)
        response.raise_for_status()
        return response.json() if response.content else None

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Translate what client and wire raise: their words may quote a ticket, ours never."""
        try:
            yield
        except (httpx.HTTPError, ArgillaError) as error:
            raise self._translated(error) from error

    def _translated(self, error: httpx.HTTPError | ArgillaError) -> PlataError:
        code = _status_code(error)
        if isinstance(error, ArgillaCredentialsError) or code in (401, 403):
            return ConfigurationError(
                f"Argilla at {self._url} does not accept the API key; "
                "set PLATA_ARGILLA_API_KEY to an owner's key"
            )
        if isinstance(error, httpx.TransportError) or (code is not None and code >= 500):
            cause = type(error).__name__ if code is None else f"HTTP {code}"
            return ServiceUnavailableError.of("Argilla", self._url, cause)
        what = type(error).__name__ if code is None else f"HTTP {code}"
        return QueueRefusedError(
            f"Argilla at {self._url} refused a request ({what}); see `plata logs argilla`"
        )


def _status_code(error: httpx.HTTPError | ArgillaError) -> int | None:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code
    return error.status_code if isinstance(error, ArgillaAPIError) else None


def _require_labels(dataset: rg.Dataset, spec: QueueSpec) -> None:
    have = dataset.settings.questions[LABEL].labels
    if set(have) != set(spec.titles):
        raise QueueMismatchError.of(dataset.name, have, spec.titles)


def _refresh_guideline(dataset: rg.Dataset, spec: QueueSpec) -> None:
    if dataset.settings.guidelines != spec.guideline.text:
        dataset.settings.guidelines = spec.guideline.text
        dataset.settings.update()


def _dimensions(dataset: rg.Dataset) -> int | None:
    found = next((v for v in dataset.settings.vectors if v.name == VECTOR), None)
    return None if found is None else int(found.dimensions)


def _newest(parts: Parts, task: str, *, wanted: int) -> Part:
    """Return the part that takes the next case, whether it is there yet or not."""
    return max((part for part in parts if part.wanted == wanted), default=Part(task, wanted))


def _wanted(dataset: rg.Dataset) -> int:
    """How many answers end a record, as Argilla has it, whatever the dataset's name says."""
    distribution = dataset.api_model().distribution
    return 1 if distribution is None else int(distribution.min_submitted)


def _question(spec: QueueSpec) -> str:
    return f"¿Qué {subject_of(spec.task)} corresponde?"


def _require_annotator(user: rg.User) -> None:
    if user.role != _ANNOTATOR:
        msg = (
            f"account '{user.username}' in Argilla is of role {user.role.value}, and reviewers are "
            f"of role {_ANNOTATOR}; choose another name"
        )
        raise QueueRefusedError(msg)
