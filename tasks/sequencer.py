"""The thread that links entries of the audit log, in each web and worker process: where one writes, one links."""

import logging
import threading

from adapters.process.logs import LogThrottle
from services.kernel.unit_of_work import Database
from services.log.sequencer import Sequencer
from tasks.task import tolerating_outage

log = logging.getLogger(__name__)

# An entry waits half of this on average. A process with nothing to link spends a tenth of a millisecond on a look.
EVERY_SECONDS = 1.0
WARN_EVERY = 60.0


class SequencerThread(threading.Thread):
    """Starts itself, and ends with the process or once it is `stopped`."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="sequencer", daemon=True)
        self.stopped = threading.Event()
        self._sequencer = Sequencer(database)
        self.start()

    def run(self) -> None:
        warning = LogThrottle(WARN_EVERY)
        while not self.stopped.wait(EVERY_SECONDS):
            try:
                with tolerating_outage("the linking of the audit log"):
                    self._sequencer.run()
            except Exception:
                if warning.now():
                    log.exception("entries of the audit log could not be linked")
