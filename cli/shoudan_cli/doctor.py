"""`shoudan doctor`: what is wrong with a system and what to do about it, and a report to send away."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from shoudan_cli.clients import Failed, answered, console, resolved, run
from shoudan_cli.observability.alerts import ALERTS
from shoudan_cli.systems import described
from shoudan_kit.process.replicas import Look, addresses, get, look

LOG_BYTES_MAX: Final = 1 << 18  # the end of each log
GIB: Final = 1 << 30
FREE_GIB_MIN: Final = 2
SOON_S: Final = 3 * 86_400
# A figure above its limit is what the alert of this name is about; its page says what to do.
LIMITS: Final = {
    "shoudan_law_broken": (0, "LawBroken"),
    "shoudan_tasks_dead": (0, "TasksDead"),
    "shoudan_tasks_due_age_seconds": (60, "TasksLate"),
    "shoudan_outbox_lag_seconds": (60, "EventsLate"),
    "shoudan_orders_parked": (0, "OrdersParked"),
    "shoudan_open_work": (0, "OpenWork"),
    "shoudan_parts_missing": (0, "PartsMissing"),
    "shoudan_suppliers_balance_low": (0, "SupplierBalanceLow"),
    "shoudan_card_kinds_low": (0, "CardsLow"),
    "shoudan_finance_sources_failed": (0, "ReconcileRunFailed"),
    "shoudan_audit_log_unsealed_age_seconds": (60, "AuditLogUnsealed"),
    "shoudan_shard_map_refused": (0, "ShardMapRefused"),
}
_OPENS: Final = "passw|secret|token|sign|authorization|cookie|credential|api.?key"
# What says which person it is, or opens something. Numbers of orders (18, 19 digits) stay: they are needed.
_MASKS: Final = (
    (re.compile(r"(?i)\bbearer\s+\S+"), "Bearer ***"),
    (re.compile(r"(?<![\w.-])\d{3,13}(\d{4})(?![\w-]|\.\d)"), r"***\1"),
    (re.compile(rf"(?i)([\w-]*(?:{_OPENS})[\w-]*[\"']?\s*[=:]\s*)[^\s,&}}]+"), r"\1***"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "***@"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), "***@***"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and the next step."""

    where: str
    what: str
    then: str


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(help="New file, .tar.gz: the report, metrics and last log lines, masked."),
    ] = None,
) -> None:
    """Say what is wrong with a system and what to do; exit code 1 if anything is."""
    if bundle is not None and bundle.exists():
        raise typer.BadParameter(f"{bundle} exists: name a new file")
    report = run(_report)
    console.print(report["system"], markup=False, highlight=False, soft_wrap=True)
    findings = [Finding(**one) for one in report["findings"]]
    if findings:
        table = Table("where", "what", "next step")
        for one in findings:
            table.add_row(one.where, one.what, one.then)
        console.print(table)
    else:
        console.print("nothing is wrong that can be seen from here")
    if bundle is not None:
        count = run(lambda: asyncio.to_thread(write, bundle, report))
        console.print(
            f"{bundle}: {count} files; account numbers, addresses and secrets are masked, look into it before"
            " you send it",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(1 if findings else 0)


async def _report() -> dict[str, Any]:
    """Everything that is asked for; what is away is part of it."""
    found, system = resolved()
    answers = await answered(system, found)
    looks = await look(found.ops_urls)
    home = Path(system.home) if system else None
    status, words = await asyncio.to_thread(get, f"{found.gateway_url}/openapi.json")
    findings = [
        *(_away(answers)),
        *(
            []
            if status == 200
            else [_finding("gateway", f"answers {status or words}", "GatewayErrors")]
        ),
        *(finding for one in looks for finding in judged(one, time.time())),
        *_machine(home),
    ]
    return {
        "system": described(answers[0])
        if answers
        else f"no service answers ({found.order_target}, …)",
        "made": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "shoudan": version("shoudan"),
        "python": platform.python_version(),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "memory_free_gib": round(_memory_free() / GIB, 1),
        "replicas": [
            {
                "service": one.service,
                "address": one.address,
                "state": one.state,
                "reasons": dict(one.reasons),
            }
            for one in looks
        ],
        "home": str(home or ""),
        "ops": {name: addresses(url) for name, url in found.ops_urls.items()},
        "findings": [asdict(one) for one in findings],
    }


def _away(answers: Sequence[object]) -> Iterator[Finding]:
    if not answers:
        yield _finding("services", "none answers", "ReplicaAway")


def judged(one: Look, now: float) -> Iterator[Finding]:
    """What is wrong with a replica, by its own figures."""
    where = f"{one.service} {one.address}"
    if not one.ok:
        yield _finding(where, one.state, "ReplicaAway")
    for metric, (limit, alert) in LIMITS.items():
        if (worst := one.worst(metric)) is not None and worst > limit:
            yield _finding(where, f"{metric} is {worst:g}", alert)
    held = one.samples.get("shoudan_ledger_invariant_ok", {})
    if held and min(held.values()) < 1:
        yield _finding(where, "the ledger's proof failed", "LedgerBroken")
    ends = one.samples.get("shoudan_certificate_expires_timestamp_seconds", {})
    if ends and min(ends.values()) - now < SOON_S:
        yield _finding(where, "its certificate ends within three days", "CertificateEnds")


def _finding(where: str, what: str, alert: str) -> Finding:
    (page,) = (one.anchor for one in ALERTS if one.name == alert)
    return Finding(where, what, page)


def _machine(home: Path | None) -> Iterator[Finding]:
    if home is not None and home.is_dir():
        free = shutil.disk_usage(home).free / GIB
        if free < FREE_GIB_MIN:
            yield Finding(str(home), f"{free:.1f} GiB free", "docs/operations.md#postgresql")


def _memory_free() -> int:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(free) * 1024


def write(file: Path, report: Mapping[str, Any]) -> int:
    """The report as a file (0600), whole or not at all; how many files are in it. Raises Failed."""
    new = file.with_name(f".{file.name}.new")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
            count = 0
            for name, text in _parts(report):
                _add(archive, name, masked(text))
                count += 1
        new.rename(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise Failed(f"{file} cannot be written: {error.strerror}") from None
    return count


def _parts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "report.json", json.dumps(report, indent=1, ensure_ascii=False)
    yield (
        "variables.txt",
        "\n".join(sorted(name for name in os.environ if name.startswith("SHOUDAN_"))),
    )
    for service, urls in report["ops"].items():
        for number, url in enumerate(urls, 1):
            for page in ("readyz", "metrics"):
                yield f"{service}-{number}/{page}.txt", get(f"{url}/{page}")[1]
    logs = Path(report["home"]) / "logs"
    for log in sorted(logs.glob("*.log")) if report["home"] else ():
        yield f"logs/{log.name}", _end(log)


def _end(log: Path) -> str:
    with log.open("rb") as opened:
        opened.seek(max(0, log.stat().st_size - LOG_BYTES_MAX))
        return opened.read(LOG_BYTES_MAX).decode("utf-8", "replace")


def masked(text: str) -> str:
    """The text without what says which person it is or opens something."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode("utf-8", "replace")
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), int(time.time())
    archive.addfile(member, io.BytesIO(content))
