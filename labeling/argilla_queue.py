"""The door to Argilla: a workspace for each tenant, in it a dataset for each task.

What Argilla shows is written here in Spanish, for the people who review. What it holds can be read
back whole: a record's name and its metadata say all that a label must know. The client is used for
what it models; records travel over the same REST interface that it speaks, because the client
leaves out the time of an answer and reports progress on standard error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import argilla as rg
import httpx
from argilla._exceptions import ArgillaAPIError, ArgillaCredentialsError, ArgillaError

from labeling.errors import ForeignCaseError, QueueMismatchError, QueueRefusedError
from labeling.queue import (
    Answer,
    CaseId,
    CaseOrigin,
    CaseStatus,
    QueuedCase,
    QueueSpec,
    Reason,
    ReviewCase,
    Reviewer,
    require_own,
)
from lakehouse.errors import ConfigurationError, PlataError, ServiceUnavailableError
from lakehouse.tenancy import TenantContext

_TEXT, _WHY = "text", "why"
_LABEL, _COMMENT = "label", "comment"
_VECTOR = "meaning"
_UNKNOWN = "sin dato"

_REASONS = {Reason.DOUBT: "duda", Reason.AUDIT: "auditoría"}
_REASON_OF = {word: reason for reason, word in _REASONS.items()}
_WHY_HERE = {
    Reason.DOUBT: "**Duda.** El modelo no está seguro de su respuesta.",
    Reason.AUDIT: "**Auditoría.** El modelo está seguro; el caso se sorteó para comprobarlo.",
}
_METADATA = {
    "reason": "Motivo",
    "suggestion": "Sugerencia",
    "day": "Día",
    "channel": "Canal",
    "region": "Región",
    "model": "Modelo",
    "bundle": "Paquete",
    "guideline": "Guía",
    "source": "Fuente",
}
_SCORE = "score"

_BATCH = 50
"""Records a request: half a second of Argilla's time, and all or nothing."""
_PAGE = 500
_READ_ATTEMPTS = 3
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!])")


class ArgillaQueue:
    """`ReviewQueue` over a running Argilla server. Nothing is asked of it before it is used."""

    def __init__(self, url: str, api_key: str, *, timeout_seconds: int = 60) -> None:
        self._url, self._api_key, self._timeout = url.rstrip("/"), api_key, timeout_seconds

    def open(self, spec: QueueSpec, tenant: TenantContext) -> str:
        """Make the dataset ready; see `ReviewQueue.open`. A new guideline replaces the old one."""
        with self._talking():
            workspace = self._workspace(tenant) or self._new_workspace(tenant)
            dataset = self._dataset(spec.task, workspace)
            if dataset is None:
                dataset = self._new_dataset(spec, workspace)
            else:
                _require_labels(dataset, spec)
                _refresh_guideline(dataset, spec)
            return f"{self._url}/dataset/{dataset.id}/annotation-mode"

    def put(self, cases: Sequence[ReviewCase], spec: QueueSpec, tenant: TenantContext) -> int:
        """Add what is not there, in batches; see `ReviewQueue.put`."""
        require_own(cases, tenant)
        if not cases:
            return 0
        with self._talking():
            dataset = self._require_dataset(spec.task, tenant)
            there = {record["external_id"] for record in self._records(dataset.id)}
            new = {str(case.id): case for case in cases if str(case.id) not in there}
            question = str(dataset.settings.questions[_LABEL].id)
            size = _dimensions(dataset)
            items = [_record(case, spec, question, size) for case in new.values()]
            for start in range(0, len(items), _BATCH):
                self._send(
                    "PUT",
                    f"/api/v1/datasets/{dataset.id}/records/bulk",
                    json={"items": items[start : start + _BATCH]},
                )
            return len(items)

    def cases(self, task: str, tenant: TenantContext) -> list[QueuedCase]:
        """Read every record with its answers; see `ReviewQueue.cases`."""
        with self._talking():
            workspace = self._workspace(tenant)
            dataset = None if workspace is None else self._dataset(task, workspace)
            if dataset is None:
                return []
            records = self._records(dataset.id)
            names = self._usernames(records)
        found = [_queued(record, names) for record in records]
        return sorted(found, key=lambda case: str(case.id))

    def enrol(self, reviewer: Reviewer, tenant: TenantContext) -> None:
        """Make the account, or give it that password, and let it into the workspace."""
        with self._talking():
            workspace = self._workspace(tenant) or self._new_workspace(tenant)
            user = next((u for u in self._client.users if u.username == reviewer.username), None)
            if user is None:
                user = rg.User(
                    username=reviewer.username,
                    first_name=reviewer.username,
                    role="annotator",
                    password=reviewer.password,
                    client=self._client,
                ).create()
            else:
                known = {"password": reviewer.password}
                self._send("PATCH", f"/api/v1/users/{user.id}", json=known)
            if reviewer.username not in {member.username for member in workspace.users}:
                user.add_to_workspace(workspace)

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

    def _dataset(self, task: str, workspace: rg.Workspace) -> rg.Dataset | None:
        """Find a dataset that is whole; one whose making was cut short holds nothing and goes."""
        dataset = next((d for d in workspace.list_datasets() if d.name == task), None)
        if dataset is None:
            return None
        if dataset.api_model().status != "ready":
            dataset.delete()
            return None
        dataset.settings.get()
        return dataset

    def _require_dataset(self, task: str, tenant: TenantContext) -> rg.Dataset:
        workspace = self._workspace(tenant)
        dataset = None if workspace is None else self._dataset(task, workspace)
        if dataset is None:
            msg = f"tenant '{tenant.tenant_id}' has no review queue for '{task}'; open it first"
            raise QueueRefusedError(msg)
        return dataset

    def _new_dataset(self, spec: QueueSpec, workspace: rg.Workspace) -> rg.Dataset:
        client = self._client
        settings = rg.Settings(
            guidelines=spec.guideline.text,
            fields=[
                rg.TextField(_TEXT, title="Texto de la solicitud", client=client),
                rg.TextField(_WHY, title="Por qué está aquí", use_markdown=True, client=client),
            ],
            questions=[
                rg.LabelQuestion(
                    _LABEL, spec.titles, title=f"¿Qué {spec.task} corresponde?", client=client
                ),
                rg.TextQuestion(
                    _COMMENT, title="Comentario (opcional)", required=False, client=client
                ),
            ],
            metadata=[
                *(
                    rg.TermsMetadataProperty(n, title=t, client=client)
                    for n, t in _METADATA.items()
                ),
                rg.FloatMetadataProperty(_SCORE, title="Confianza del modelo", client=client),
            ],
            vectors=[rg.VectorField(_VECTOR, spec.dimensions, title="Casos similares")]
            if spec.dimensions
            else [],
        )
        dataset = rg.Dataset(spec.task, workspace=workspace, settings=settings, client=client)
        return dataset.create()

    def _records(self, dataset_id: UUID) -> list[dict[str, Any]]:
        """Read every record once.

        Pages are ordered by time alone, so two records of one instant may change places between
        two pages; then the count does not come out, and all is read again.
        """
        for _ in range(_READ_ATTEMPTS):
            found: dict[str, dict[str, Any]] = {}
            offset, total = 0, 1
            while offset < total:
                page = self._send(
                    "GET",
                    f"/api/v1/datasets/{dataset_id}/records",
                    params={"offset": offset, "limit": _PAGE, "include": "responses"},
                )
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
        return response.json()

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
    have = dataset.settings.questions[_LABEL].labels
    if set(have) != set(spec.titles):
        raise QueueMismatchError.of(dataset.name, have, spec.titles)


def _refresh_guideline(dataset: rg.Dataset, spec: QueueSpec) -> None:
    if dataset.settings.guidelines != spec.guideline.text:
        dataset.settings.guidelines = spec.guideline.text
        dataset.settings.update()


def _dimensions(dataset: rg.Dataset) -> int | None:
    found = next((v for v in dataset.settings.vectors if v.name == _VECTOR), None)
    return None if found is None else int(found.dimensions)


def _record(
    case: ReviewCase, spec: QueueSpec, label_question: str, dimensions: int | None
) -> dict[str, Any]:
    """Shape a case; a vector of another length than the dataset was made for is left out."""
    origin = case.origin
    vector = [round(value, 6) for value in case.vector or ()]
    return {
        "external_id": str(case.id),
        "fields": {_TEXT: case.text, _WHY: _why(case, spec)},
        "metadata": {
            "reason": _REASONS[origin.reason],
            "suggestion": origin.suggestion,
            "day": origin.day.isoformat(),
            "channel": case.channel or _UNKNOWN,
            "region": case.region or _UNKNOWN,
            "model": f"{origin.model_name}/{origin.model_version}",
            "bundle": case.id.bundle_id,
            "guideline": spec.guideline.version,
            "source": origin.source,
            _SCORE: origin.score,
        },
        "vectors": {_VECTOR: vector} if vector and len(vector) == dimensions else {},
        "suggestions": [
            {
                "question_id": label_question,
                "value": origin.suggestion,
                "score": origin.score,
                "agent": f"{origin.model_name}/{origin.model_version}",
                "type": "model",
            }
        ],
    }


def _why(case: ReviewCase, spec: QueueSpec) -> str:
    origin = case.origin
    suggested = _plain(spec.titles.get(origin.suggestion, origin.suggestion))
    model = _plain(f"{origin.model_name}, versión {origin.model_version}")
    lines = [
        _WHY_HERE[origin.reason],
        f"Sugiere **{suggested}** con una confianza de {origin.score * 100:.0f} %.",
    ]
    if case.explanation:
        lines.append(f"En qué se fijó: {_plain(case.explanation)}")
    lines.append(f"Modelo: {model}" if case.link is None else f"Modelo: [{model}]({case.link})")
    return "\n\n".join(lines)


def _plain(text: str) -> str:
    """Keep a text from being read as Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", text)


def _queued(record: Mapping[str, Any], names: Mapping[str, str]) -> QueuedCase:
    name, metadata = str(record["external_id"]), record.get("metadata") or {}
    case_id = CaseId.parse(name)
    try:
        origin = CaseOrigin(
            source=metadata["source"],
            day=date.fromisoformat(metadata["day"]),
            reason=_REASON_OF[metadata["reason"]],
            suggestion=metadata["suggestion"],
            score=float(metadata[_SCORE]),
            model_name=metadata["model"].rpartition("/")[0],
            model_version=metadata["model"].rpartition("/")[2],
        )
        guideline = str(metadata["guideline"])
    except (KeyError, ValueError) as error:
        msg = (
            f"record '{name}' in Argilla lost its metadata ({error}); "
            "delete it there, and the next push adds it anew"
        )
        raise ForeignCaseError(msg) from error
    answers = [_answer(response, names) for response in record.get("responses") or []]
    return QueuedCase(case_id, origin, guideline, tuple(answers))


def _answer(response: Mapping[str, Any], names: Mapping[str, str]) -> Answer:
    values = response.get("values") or {}
    at = datetime.fromisoformat(response["updated_at"])
    return Answer(
        reviewer=names.get(str(response["user_id"]), str(response["user_id"])),
        status=CaseStatus(response["status"]),
        label=(values.get(_LABEL) or {}).get("value"),
        comment=(values.get(_COMMENT) or {}).get("value"),
        at=at if at.tzinfo is not None else at.replace(tzinfo=UTC),
    )
