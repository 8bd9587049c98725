"""What is simulated: days, volumes, shares and faults, as options or a YAML file give them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from contracts.pqrs import Channel, PqrsType, Priority
from lakehouse.errors import InputError
from lakehouse.run import DEFAULT_SEED

FIRST_DAY = date(2025, 9, 1)
LAST_DAY = date(2026, 2, 28)
TICKETS_A_DAY = 1150

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class Spike(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days on which far more comes in. What is not given is drawn from the seed."""

    start: date | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=366)] | None = None
    tickets: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Outage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel that delivers nothing from its first day to its last, both included."""

    channel: Channel
    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")


class Drift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What citizens write changes, from a day on.

    `topics` are new weights of topics, by name; those left out keep weight 1. `new_topic` is the
    share of texts about a matter nobody wrote about before. `length` multiplies how much is said.
    """

    first: date = msgspec.field(name="from")
    topics: dict[str, Weight] = {}
    new_topic: Share = 0.25
    length: Annotated[float, msgspec.Meta(ge=0.25, le=4)] = 1.5


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong. Shares are of events; of `invalid_transitions`, of tickets."""

    bad_rows: Share = 0
    duplicates: Share = 0
    late: Share = 0
    invalid_transitions: Share = 0
    outages: tuple[Outage, ...] = ()
    drift: Drift | None = None


class Simulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides the bytes. `events` None goes on to the last day; `spike` None has none.

    `terms` are business days to answer. Weights of channels, types and priorities need not add up
    to one.
    """

    first: date = msgspec.field(name="from", default=FIRST_DAY)
    last: date = msgspec.field(name="to", default=LAST_DAY)
    seed: int = DEFAULT_SEED
    scale: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = TICKETS_A_DAY
    events: Annotated[int, msgspec.Meta(ge=1)] | None = None
    spike: Spike | None = Spike()
    channels: dict[Channel, Weight] = msgspec.field(
        default_factory=lambda: {
            Channel.EMAIL: 0.38,
            Channel.WEBFORM: 0.31,
            Channel.CHAT: 0.14,
            Channel.CALL: 0.11,
            Channel.OTHER_DIGITAL: 0.06,
        }
    )
    types: dict[PqrsType, Weight] = msgspec.field(
        default_factory=lambda: {
            PqrsType.PETICION: 0.30,
            PqrsType.QUEJA: 0.25,
            PqrsType.RECLAMO: 0.30,
            PqrsType.SUGERENCIA: 0.15,
        }
    )
    priorities: dict[Priority, Weight] = msgspec.field(
        default_factory=lambda: {
            Priority.ALTA: 0.10,
            Priority.MEDIA: 0.50,
            Priority.BAJA: 0.40,
        }
    )
    terms: dict[PqrsType, Annotated[int, msgspec.Meta(ge=2, le=60)]] = msgspec.field(
        default_factory=lambda: {
            PqrsType.PETICION: 15,
            PqrsType.QUEJA: 10,
            PqrsType.RECLAMO: 8,
            PqrsType.SUGERENCIA: 20,
        }
    )
    late_answers: Share = 0.095
    faults: Faults = Faults()

    def __post_init__(self) -> None:
        if self.first > self.last:
            msg = f"the first day {self.first} lies after the last {self.last}; turn them round"
            raise InputError(msg)
        for name in ("channels", "types", "priorities"):
            if not sum(getattr(self, name).values()):
                msg = f"{name}: every weight is 0, expected one above 0"
                raise InputError(msg)
        if set(self.terms) != set(PqrsType):
            msg = f"terms: expected one for each of {', '.join(PqrsType)}"
            raise InputError(msg)

    @property
    def days(self) -> int:
        """How many days there are."""
        return (self.last - self.first).days + 1


def read_simulation(file: Path | None, options: dict[str, Any]) -> Simulation:
    """Read the file, if any, and let `options` win; both use the names of the YAML file."""
    values: Any = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            msg = f"'{file}' cannot be read as YAML: {' '.join(str(error).split())}"
            raise InputError(msg) from error
        if not isinstance(values, dict):
            msg = f"'{file}' holds no settings: expected lines such as 'scale: 200'"
            raise InputError(msg)
    faults = {**(values.get("faults") or {}), **options.pop("faults", {})}
    merged = {**values, **options, **({"faults": faults} if faults else {})}
    try:
        return msgspec.convert(merged, Simulation)
    except msgspec.ValidationError as error:
        msg = f"{file or 'the options'}: {error}"
        raise InputError(msg) from None


def per_million(share: float) -> int:
    """Return a share as a whole number of millionths, which is what chance is counted in."""
    return round(share * 1_000_000)
