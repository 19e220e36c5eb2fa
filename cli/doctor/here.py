"""The checks that need no Sagahold server: settings, the servers they name, programs and the file of keys."""

import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from alembic.script import ScriptDirectory
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

import migrations
import settings
from adapters.redis.connection import connect, why_unusable
from cli.client import CREDENTIALS, ServerUnreachable, read_credentials
from cli.devstack import StackError
from cli.devstack.datadir import DataDir
from cli.devstack.external_servers import why_absent, with_fix
from cli.devstack.postgres import PostgresServer
from cli.devstack.redis import find_redis_server
from cli.doctor.check import Check
from domain.identity.access import Role
from services.kernel.connection_pool import open_engine
from services.kernel.pooler import PoolerUnsuitable, parameters_of, shares_sessions
from services.kernel.unit_of_work import Database, NoPublisher
from services.operations.health import readiness
from settings import Settings

# The database's clock decides. With more skew, expiries look wrong here and signatures look stale.
SKEW_SECONDS = 5.0
SHARED = (
    "a pooler that shares sessions is in front of PostgreSQL; run `sagahold release` with PostgreSQL's own address in"
    " DATABASE_URL"
)
# Values for `settings.load` in place of servers that `sagahold up` starts.
STAND_INS = {"DATABASE_URL": "postgresql://embedded", "REDIS_URL": "unix://embedded"}


def checks_here(environ: Mapping[str, str], data_dir: Path) -> Iterator[Check]:
    embedded = [name for name in STAND_INS if not environ.get(name)]
    try:
        loaded = settings.load({**environ, **{name: STAND_INS[name] for name in embedded}})
    except settings.SettingsError as error:
        yield Check("settings", False, str(error))
    else:
        left = f"; {' and '.join(embedded)} not set: `sagahold up` starts its own" if embedded else ""
        yield Check("settings", True, f"valid{left}")
        if "DATABASE_URL" not in embedded:
            yield from _database(loaded)
        if "REDIS_URL" not in embedded:
            yield _redis(loaded)
    if embedded:
        yield _programs(data_dir)
    yield _keys(environ, data_dir / CREDENTIALS)


def _database(loaded: Settings) -> Iterator[Check]:
    engine = open_engine(loaded.database_url, pool_size=1, name="doctor")
    try:
        version, skew = _clock(engine)
        pooled, shared = _pooler(engine, loaded.database_url)
    except SQLAlchemyError as error:
        fix = "" if isinstance(error.__cause__, PoolerUnsuitable) else ": start it, or correct DATABASE_URL"
        yield Check("database", False, f"{why_absent(error)}{fix}")
        return
    else:
        yield Check("database", True, f"PostgreSQL {version} answers")
        if pooled:
            yield Check("pooler", True, SHARED if shared else "a pooler is in front of PostgreSQL; it keeps sessions")
        head = ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() or ""
        migrated = readiness(Database(engine, NoPublisher(), loaded.public_url), head).migrated
        todo = "not migrated: run `sagahold release`"
        yield Check("migrations", migrated, f"current ({head})" if migrated else todo)
        off = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        good = abs(skew) <= SKEW_SECONDS
        yield Check(
            "clock",
            good,
            "the database's clock agrees with ours" if good else f"the database's clock is {off}: run NTP",
        )
    finally:
        engine.dispose()


def _pooler(engine: Engine, url: str) -> tuple[bool, bool]:
    """Return whether a pooler is in front of PostgreSQL, and whether it shares sessions."""
    with engine.connect() as conn:
        pooled = bool(parameters_of(conn.info))
    return pooled, pooled and shares_sessions(url)


def _clock(engine: Engine) -> tuple[str, float]:
    """Return the server's version and how many seconds its clock is ahead of ours."""
    with engine.connect() as conn:
        before = datetime.now(UTC)
        there = conn.execute(select(func.clock_timestamp())).scalar_one()
        here = before + (datetime.now(UTC) - before) / 2
        version = conn.execute(select(func.current_setting("server_version"))).scalar_one()
    return str(version), (there - here).total_seconds()


def _redis(loaded: Settings) -> Check:
    with connect(loaded.redis_url) as client:
        if why := why_unusable(client):
            return Check("redis", False, with_fix(why))
        try:
            version = client.info("server").get("redis_version", "")
            policy = client.info("memory").get("maxmemory_policy", "noeviction")
        except RedisError as error:
            return Check("redis", True, f"Redis answers; whether it evicts keys is not checked ({error})")
    if policy != "noeviction":
        return Check("redis", False, f"evicts keys (maxmemory-policy {policy}): set it to noeviction")
    return Check("redis", True, f"Redis {version} answers")


def _programs(data_dir: Path) -> Check:
    """Check the programs that `sagahold up` starts."""
    try:
        server = PostgresServer(DataDir(data_dir), os.environ)
        redis = find_redis_server()
    except StackError as error:
        return Check("programs", False, str(error))
    return Check("programs", True, f"found PostgreSQL {server.major} and {redis.name} for `sagahold up`")


def _keys(environ: Mapping[str, str], file: Path) -> Check:
    if environ.get("SAGAHOLD_API_KEY"):
        return Check("keys", True, "SAGAHOLD_API_KEY is set")
    try:
        found = read_credentials(file)
        if not found:
            return Check("keys", False, f"no {file}: run `sagahold up`, which writes it, or set SAGAHOLD_API_KEY")
        mode = stat.S_IMODE(file.stat().st_mode)
    except (ServerUnreachable, OSError) as error:
        return Check("keys", False, str(error))
    if mode & 0o077:
        return Check(
            "keys", False, f"other users may read {file} ({mode:04o}): chmod 600 it, and rotate its keys if they did"
        )
    if missing := [role for role in Role if f"{role}_key" not in found]:
        return Check("keys", False, f"{file} has no key for {', '.join(missing)}: run `sagahold up`, which adds it")
    return Check("keys", True, f"{file} has a key for each role and is private to its owner")
