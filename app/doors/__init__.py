"""Doors: the protocols of other clients. Each translates to the use cases of pauses, and has no rules of its own."""

from app.doors.aap.door import aap
from app.doors.awaithumans.door import awaithumans
from app.doors.door import Door
from app.doors.gohumanloop.door import gohumanloop
from app.doors.gotohuman.door import gotohuman
from app.doors.humanlayer.door import humanlayer
from app.doors.mcp import mcp

DOORS: tuple[Door, ...] = (aap, awaithumans, gohumanloop, gotohuman, humanlayer, mcp)
