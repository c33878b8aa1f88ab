"""Signals as something to wait for: one select() hears children that end, signals and the clock."""

import os
import select
import signal

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bell_of_signals():
    """A pipe that gets the number of every signal that matters."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *STOPPING):
        if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores HUP: so do we
            signal.signal(number, lambda *_: None)
    return reader


def stop_heard(bell, seconds):
    """Wait for a signal, at most so long; the number of the first one that asks this program to end, else None."""
    select.select([bell], [], [], seconds)
    try:
        numbers = os.read(bell, 4096)
    except BlockingIOError:
        return None
    return next((number for number in numbers if number in STOPPING), None)
