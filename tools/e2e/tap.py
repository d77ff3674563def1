# SPDX-License-Identifier: GPL-2.0
"""Results of tests as TAP."""
import os
import sys
import time
import traceback

from guest import GuestError, GuestGone


class Tap:
    """Numbered results."""

    def __init__(self, plan):
        self.number = self.failed = 0
        self.gone = False
        print(f"TAP version 13\n1..{plan}", flush=True)

    def test(self, title, function, *arguments):
        """Calls a function, which says what there is to say or raises; whether it was good."""
        self.number += 1
        begin = time.monotonic()
        try:
            said = function(*arguments) or f"{time.monotonic() - begin:.0f} s"
        except (GuestError, AssertionError, OSError, ValueError, KeyError) as error:
            self.failed += 1
            self.gone |= isinstance(error, GuestGone)
            print(f"not ok {self.number} {title}")
            for line in f"{type(error).__name__}: {error}".splitlines():
                print(f"#   {line}")
            for frame in traceback.extract_tb(error.__traceback__)[-3:]:
                print(f"#     {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}")
        else:
            print(f"ok {self.number} {title}\n# {said}", flush=True)
            return True
        sys.stdout.flush()
        return False

    def not_run(self, title):
        """A test that stands on one that failed."""
        self.number += 1
        print(f"not ok {self.number} {title}: not run", flush=True)

    @staticmethod
    def comment(text):
        """Lines for people."""
        print("#   " + text.replace("\n", "\n#   "), flush=True)

    def end(self):
        """Ends the program: 0, 1 where a test failed, 255 where the emulator did."""
        if self.gone:
            print(f"# {GuestGone.SENTENCE}", flush=True)
        sys.exit(255 if self.gone else bool(self.failed))
